"""Exact geometry, and what is known of each cell; integers and the standard library only."""
