"""What a model of all trials says of the best ones, as a report shows it: plain values."""

from __future__ import annotations

from dataclasses import dataclass


__all__ = ["Belief"]


@dataclass(frozen=True)
class Belief:
    """A trial whose value is believed as far as the other trials bear it out.

    Attributes:
        trial: Its number.
        value: As observed; of several trials with the same parameters the mean.
        mean: What is expected of another evaluation.
        low: Lower end of the 95 % interval of that.
        high: Its upper end.
        repeats: How many trials have the same parameters.
    """

    trial: int
    value: float
    mean: float
    low: float
    high: float
    repeats: int
