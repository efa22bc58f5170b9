"""What `previous` of a sampler holds: studies, and where their trials lie in a space."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any
from typing import final

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._known.units import MIDDLE
from optuna_partition._known.units import unit_of
from optuna_partition._rules.source import Earlier
from optuna_partition._rules.source import Source
from optuna_partition._study.attributes import is_ours
from optuna_partition._study.fold.readings import is_feasible
from optuna_partition._study.fold.readings import is_interrupted
from optuna_partition._study.fold.readings import sign_of
from optuna_partition._study.optuna import trials_of


__all__ = ["Previous", "read_previous"]

_FEWEST = 3  # points of a study that says something


@dataclass(frozen=True)
class _Found:
    """What an earlier study found.

    Args:
        params: Of its trials.
        values: Theirs, smaller being better.
    """

    params: tuple[Mapping[str, Any], ...]
    values: tuple[float, ...]

    def source(self, distributions: Mapping[str, BaseDistribution]) -> Source | None:
        """In a space's coordinates; None where that says nothing.

        A trial does not count whose choice is none of the space's. A number outside its range is
        told of as far as one range away, and all numbers lie where one is fixed.
        """
        rows = [_units(distributions, params) for params in self.params]
        known = [(x, y) for x, y in zip(rows, self.values, strict=True) if x is not None]
        if len({x for x, _ in known}) < _FEWEST or len({y for _, y in known}) < 2:
            return None
        return Earlier(tuple(x for x, _ in known), tuple(y for _, y in known))


@final
@dataclass(frozen=True)
class Previous:
    """Earlier studies.

    Args:
        found: What each has found.
    """

    found: tuple[_Found, ...]

    def __call__(self, distributions: Mapping[str, BaseDistribution]) -> list[Source]:
        """What they say in a space; those that say nothing are left out."""
        sources = (each.source(distributions) for each in self.found)
        return [source for source in sources if source is not None]

    def best(self, name: str, distribution: BaseDistribution) -> float | None:
        """Where the best trial of the first study with a parameter has it, in [0, 1]."""
        for found in self.found:
            for params, _ in sorted(
                zip(found.params, found.values, strict=True), key=lambda trial: trial[1]
            ):
                if name in params and (x := unit_of(name, distribution, params[name])) is not None:
                    return min(max(x, 0.0), 1.0)
        return None


def read_previous(studies: Sequence[Study], *, as_published: bool) -> Previous:
    """The complete trials of each, and the worst of them for those that died or are infeasible.

    Raises:
        ValueError: One of them is no study, or has several objectives; or the model is the
            published one, which takes none.
    """
    if isinstance(studies, Study | str) or not isinstance(studies, Sequence):
        raise ValueError(
            f"`previous` must be a list of studies, but got ({studies!r}); write "
            "previous=[study], or leave it out."
        )
    if as_published and studies:
        raise ValueError(
            "`previous` must be empty with `as_published=True`, whose model is the paper's; leave "
            "one of the two out."
        )
    return Previous(tuple(map(_read, studies)))


def _read(study: Study) -> _Found:
    if not isinstance(study, Study):
        raise ValueError(
            f"`previous` must be a list of studies, but got ({study!r}) in it; "
            "`optuna.load_study` gives one."
        )
    if len(study.directions) > 1:
        raise ValueError(
            "`previous` must be a list of studies with one objective, but "
            f"({study.study_name!r}) has {len(study.directions)}."
        )
    sign, trials = sign_of(study.direction), trials_of(study)
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    known = [(t.params, sign * t.values[0]) for t in complete if is_feasible(t)]
    worst = max((y for _, y in known if math.isfinite(y)), default=math.inf)
    bad = [t for t in complete if not is_feasible(t)]
    bad += [t for t in trials if t.state is TrialState.FAIL and not _was_interrupted(t)]
    found = [(params, y) for params, y in [*known, *((t.params, worst) for t in bad)] if params]
    return _Found(tuple(params for params, _ in found), tuple(y for _, y in found))


def _was_interrupted(trial: FrozenTrial) -> bool:
    """Only a sampler of ours tells: of other samplers' trials that failed each is a bad one."""
    return is_ours(trial) and is_interrupted(trial)


def _units(
    distributions: Mapping[str, BaseDistribution], params: Mapping[str, Any]
) -> tuple[float, ...] | None:
    """Where parameters lie in the cube or beside it; None if one is another choice."""
    found = []
    for name, distribution in distributions.items():
        x = unit_of(name, distribution, params[name]) if name in params else MIDDLE
        if x is None:
            return None
        found.append(x)
    return tuple(found)
