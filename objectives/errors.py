"""The one exception for a user's mistake: the command line prints it and exits with status 2."""

from __future__ import annotations


__all__ = ["UserError"]


class UserError(ValueError):
    """Something the user can mend: the message names the rule, the value and the way out."""
