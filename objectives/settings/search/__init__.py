"""`[search]`: what is searched, within which bounds, and where the best is expected."""
