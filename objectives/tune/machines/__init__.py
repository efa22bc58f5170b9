"""Who runs what where, shown while a search runs. Part of the composition root."""
