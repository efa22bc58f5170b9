"""Rows of text -> tokens, and what is lost on the way in counts."""
