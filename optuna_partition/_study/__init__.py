"""Trials -> tree -> point: what is read from a study, claimed in it and written to it."""
