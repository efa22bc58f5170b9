"""A trainer of the user's own as the objective: its process, its output, its values; no torch."""
