"""How long a search may take, as `3h` or `20trainings`: text to value, touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
import re

from objectives.settings.config_errors import refuse


__all__ = ["Budget", "checked_budget", "read_budget"]

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_TIME = re.compile("".join(rf"(?:(\d+(?:\.\d+)?) *{unit} *)?" for unit in _UNITS))
_TRAININGS = re.compile(r"(\d+) *trainings?")


@dataclass(frozen=True)
class Budget:
    """One of the two is None.

    Attributes:
        text: As it was written.
        seconds: From the start of the command to its end.
        trainings: What a study may train in all, in trainings from their first step to their last.
    """

    text: str
    seconds: float | None = None
    trainings: int | None = None


def read_budget(text: str) -> Budget | None:
    """The budget that a text says; None where it says none."""
    if found := _TRAININGS.fullmatch(text):
        trainings = int(found[1])
        return Budget(text, trainings=trainings) if trainings > 0 else None
    if found := _TIME.fullmatch(text):
        times = zip(found.groups(), _UNITS.values(), strict=True)
        seconds = sum(float(number) * unit for number, unit in times if number is not None)
        return Budget(text, seconds=seconds) if seconds > 0 else None
    return None


def checked_budget(text: str) -> str:
    """Refuses a text that says no budget."""
    if read_budget(text) is None:
        raise refuse(
            "must be a time, or a number of trainings, and more than nothing",
            "write for example 3h, 1h30m, 2d or 20trainings",
        )
    return text
