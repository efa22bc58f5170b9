"""Ranks in processes of their own that keep the base between trials, and their supervisor."""
