"""What an experiment file says of a trainer of the user's own, checked; runs nothing."""
