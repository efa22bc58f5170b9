"""Trials -> tree: what a trial says, where it lies, and the history of them all."""
