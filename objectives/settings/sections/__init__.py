"""The sections of an experiment file but `[search]`: types, defaults, checks."""
