"""Losses and lm-eval's tasks of a base with an adapter."""
