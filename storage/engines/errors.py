"""What is wrong with an engine, as one message."""

from __future__ import annotations


__all__ = ["EngineError"]


class EngineError(ValueError):
    """An engine that cannot be used so; the message names the rule, the value and the way out."""
