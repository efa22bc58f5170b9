"""Trials whose log is of another rule or another space, in words; reads trials, writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from optuna_partition._space.space import AnySpace
from optuna_partition._study.record import Ask


__all__ = ["in_words"]


def in_words(misfits: Iterable[int], trials: Sequence[FrozenTrial], space: AnySpace) -> str:
    """How many trials were asked for by whom, and over what where that is not the space.

    Args:
        misfits: The numbers of those trials.
        trials: All of the study, by number.
        space: The search space now.
    """
    found = Counter(_origin(trials[number], space) for number in misfits)
    first, *others = (f"by {origin}" for origin in found)
    counts = list(found.values())
    rest = "".join(f" and {n} {by}" for n, by in zip(counts[1:], others, strict=True))
    return f"{counts[0]} of {len(trials)} trials were asked for {first}{rest}"


def _origin(trial: FrozenTrial, space: AnySpace) -> str:
    ask = Ask.of(trial)
    assert ask is not None
    return f"`{ask.rule}`{_difference(ask.axes, trial.distributions, space.distributions)}"


def _difference(
    axes: Sequence[str],
    theirs: Mapping[str, BaseDistribution],
    ours: Mapping[str, BaseDistribution],
) -> str:
    """What tells another space from ours, as far as the trial's distributions say."""
    changed = [f"{n}={theirs[n]}" for n in axes if n in theirs and theirs[n] != ours.get(n)]
    without = [n for n in ours if n not in axes]
    if changed or without:
        over = [*changed, *(f"without {name}" for name in without)]
        return f" over another space ({', '.join(over)})"
    return "" if tuple(axes) == tuple(ours) else f" over the order {', '.join(axes)}"
