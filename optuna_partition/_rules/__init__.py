"""What to evaluate next: rules over a tree; NumPy at most, no Optuna, no clock, no files."""
