"""One command compares any Optuna samplers on problem families: `python -m benchmarks.compare`."""
