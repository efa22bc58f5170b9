"""What an experiment file and a command line say, checked; knows no model."""
