"""Searches of others over our clock, a file for each package; each imports its own when made."""
