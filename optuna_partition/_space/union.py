"""All parameters that some of the trials have, as one cube for a model; knows no cell and no tree.

Ranges may differ between trials, and then an axis has all of them. Where a trial lacks a parameter
it lies in the middle of an ordered axis, and has a category of its own on one without order.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeAlias

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial

from optuna_partition._core.axes import Axis
from optuna_partition._core.axes import Grid
from optuna_partition._space.values import axis_of
from optuna_partition._space.values import coordinate_of


__all__ = ["Union"]

_MIDDLE = 0.5
_Range: TypeAlias = FloatDistribution | IntDistribution


@dataclass(frozen=True)
class _Column:
    """One parameter as an axis.

    Args:
        name: The parameter.
        distribution: Of all values that trials have.
        axis: The same for a model; on an axis without order, the last is that of lacking it.
    """

    name: str
    distribution: BaseDistribution
    axis: Axis

    @classmethod
    def of(cls, name: str, trials: Sequence[FrozenTrial]) -> _Column | None:
        """None where no axis has all values that trials have."""
        having = [trial for trial in trials if name in trial.params]
        kinds: list[BaseDistribution] = []
        for trial in having:  # choices may be lists, and have no hash then
            if trial.distributions[name] not in kinds:
                kinds.append(trial.distributions[name])
        distribution = _widest(kinds, [trial.params[name] for trial in having])
        if distribution is None:
            return None
        try:
            axis = axis_of(name, distribution)
        except ValueError:  # a range too long, or of integers that no float is
            return None
        if len(having) < len(trials) and isinstance(axis, Grid) and not axis.ordered:
            axis = Grid(axis.count + 1, ordered=False)
        return cls(name, distribution, axis)

    def unit(self, trial: FrozenTrial) -> float:
        """Where a trial lies on the axis."""
        if self.name not in trial.params:
            return self._lacking()
        x = coordinate_of(self.distribution, trial.params[self.name])
        return self._lacking() if x is None else self.axis.unit(x)

    def _lacking(self) -> float:
        if isinstance(self.axis, Grid) and not self.axis.ordered:
            return self.axis.unit(self.axis.count - 1)
        return _MIDDLE


@dataclass(frozen=True)
class Union:
    """The cube in which some trials differ.

    Args:
        axes: Of the parameters of which trials have more than one value.
        units: For each trial its coordinates, in [0, 1].
    """

    axes: tuple[Axis, ...]
    units: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial]) -> Union:
        """The cube of all parameters that can be made axes."""
        found = (_Column.of(name, trials) for name in _names(trials))
        columns = [(c.axis, [c.unit(trial) for trial in trials]) for c in found if c is not None]
        columns = [(axis, units) for axis, units in columns if len(set(units)) > 1]
        rows = zip(*(units for _, units in columns), strict=True)
        return cls(tuple(axis for axis, _ in columns), tuple(rows))


def _names(trials: Iterable[FrozenTrial]) -> list[str]:
    return sorted({name for trial in trials for name in trial.params})


def _widest(kinds: Sequence[BaseDistribution], values: Sequence[Any]) -> BaseDistribution | None:
    """The distribution of all values of some distributions, and of those enqueued beside them."""
    first = kinds[0]
    choosing = [each for each in kinds if isinstance(each, CategoricalDistribution)]
    ranges = [each for each in kinds if isinstance(each, FloatDistribution | IntDistribution)]
    if len(choosing) == len(kinds):
        choices = [choice for each in choosing for choice in each.choices]
        return CategoricalDistribution(choices) if len(kinds) > 1 else first
    if len(ranges) < len(kinds) or len({type(each) for each in ranges}) > 1:
        return None
    return _range(ranges, values)


def _range(kinds: Sequence[_Range], values: Sequence[float]) -> _Range:
    low = min(*(each.low for each in kinds), *values)
    high = max(*(each.high for each in kinds), *values)
    first = kinds[0]
    if len(kinds) == 1 and (low, high) == (first.low, first.high):
        return first
    log = all(each.log for each in kinds)
    if isinstance(first, IntDistribution):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)
