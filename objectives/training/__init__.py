"""One training: an adapter, its steps, its checkpoints."""
