"""What a study's trials say to NOMAD: pure, from the list of trials; starts no process."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import math
from types import MappingProxyType
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._nomad.process import Problem
from optuna_partition._nomad.run import Answer
from optuna_partition._nomad.run import Coordinates
from optuna_partition._nomad.variables import name_of
from optuna_partition._nomad.variables import Variable
from optuna_partition._nomad.variables import variable
from optuna_partition._space.space import Space
from optuna_partition._space.values import internal_of
from optuna_partition._study.attributes import Poll
from optuna_partition._study.fold.given_up import is_given_up
from optuna_partition._study.fold.readings import is_interrupted
from optuna_partition._study.fold.readings import sign_of
from optuna_partition._study.optuna import enqueued


__all__ = ["Known", "best_value"]

_ANY = 0.0  # NOMAD stops where its first point fails, so in flight it has some value


class Known:
    """What the trials say of the points of a search space.

    A point's name stands for its parameters. A trial's value is NOMAD's answer; a trial that
    failed, was pruned, is infinite or still runs is a failed evaluation. One whose worker died is
    nothing, until that has happened too often at its point.

    Args:
        space: The search space.
        direction: The study's.
        trials: All of the study, by number.
        taken: Points that others hold, though their trials may not say so yet.
        fixed: Parameters taken out of the space, each with its value; trials with another value
            are of another search.
    """

    def __init__(
        self,
        space: dict[str, BaseDistribution],
        direction: StudyDirection,
        trials: Sequence[FrozenTrial],
        taken: Collection[Coordinates] = (),
        fixed: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.space = space
        self._fixed = fixed
        self.taken = frozenset(taken)
        self._sign = sign_of(direction)
        self._variables = {name: variable(d) for name, d in space.items()}
        self.fingerprint = _fingerprint(space, self._variables.values())
        self._values: dict[str, float] = {}
        self._flying = {self.name(point) for point in taken}
        self._failed: set[str] = set()
        self._interrupted: dict[str, list[FrozenTrial]] = {}
        own = [trial for trial in trials if self._is_of_search(trial)]
        for trial in own:
            self._read(trial)
        self._start = self._begin(own)

    def params(self, point: Coordinates) -> dict[str, Any]:
        """The parameters at a point."""
        pairs = zip(self._variables.items(), point, strict=True)
        return {name: variable.value(x) for (name, variable), x in pairs}

    def name(self, point: Coordinates) -> str:
        """The point's name, which two points share where their parameters are the same."""
        name = name_of(self._variables, self.params(point))
        assert name is not None
        return name

    def has(self, point: Coordinates) -> bool:
        """Whether the point is evaluated or in flight."""
        name = self.name(point)
        return name in self._values or name in self._flying or name in self._failed

    def answer(self, point: Coordinates) -> Answer:
        """What NOMAD is told of the point."""
        name = self.name(point)
        if name in self._values:
            return self._values[name]
        first = name in self._flying and name == self.name(self._start)
        return _ANY if first else None

    def holds(self, trial: FrozenTrial, point: Coordinates) -> bool:
        """Whether a trial that once claimed a point may still have it, or has evaluated it."""
        poll = Poll.of(trial)
        if poll is None:  # it has claimed and not yet written down what
            return not trial.state.is_finished()
        is_there = poll.at == point and self._is_of_search(trial)
        return is_there and not is_interrupted(trial)

    def lies_at(self, trial: FrozenTrial, point: Coordinates) -> bool:
        """Whether a trial has the point by where it lies; what it announces is no place yet."""
        is_there = self._name_of(trial) == self.name(point) and self._is_of_search(trial)
        return is_there and not is_interrupted(trial)

    def given(self, trial: FrozenTrial) -> Coordinates | None:
        """A trial's point, if NOMAD gave it in this space."""
        poll = Poll.of(trial)
        if poll is None or poll.announced or poll.space != self.fingerprint:
            return None
        return poll.at

    def poll(self, point: Coordinates) -> Poll:
        """What a trial at the point carries."""
        return Poll(self.fingerprint, point)

    def problem(self, seed: int) -> Problem:
        """What NOMAD is to minimise."""
        return Problem(
            types=[v.kind for v in self._variables.values()],
            low=[float(v.low) for v in self._variables.values()],
            high=[float(v.high) for v in self._variables.values()],
            start=list(self._start),
            seed=seed,
        )

    def _read(self, trial: FrozenTrial) -> None:
        name = self._name_of(trial)
        if name is None:
            return
        if not trial.state.is_finished():
            self._flying.add(name)
        elif self._loss(trial) < math.inf:
            self._values.setdefault(name, self._loss(trial))
        elif is_interrupted(trial):
            here = self._interrupted.setdefault(name, [])
            here.append(trial)
            if is_given_up(here):
                self._failed.add(name)
        else:
            self._failed.add(name)

    def _is_of_search(self, trial: FrozenTrial) -> bool:
        """Whether a trial has no other value of a fixed parameter, as far as it has come."""
        known = trial.distributions
        return all(
            internal_of(known[name], value) == internal_of(known[name], trial.params[name])
            for name, value in self._fixed.items()
            if name in known
        )

    def _name_of(self, trial: FrozenTrial) -> str | None:
        """The name of a trial's point; None if it has none in this space."""
        to_come = {} if trial.state.is_finished() else enqueued(trial)
        name, given = name_of(self._variables, {**to_come, **trial.params}), self.given(trial)
        return self.name(given) if name is None and given is not None else name

    def _begin(self, trials: Sequence[FrozenTrial]) -> Coordinates:
        """The best point before NOMAD's first, else that one, else the centre."""
        given = ((t.number, self.given(t)) for t in trials if self._may_begin(t))
        number, first = next((pair for pair in given if pair[1] is not None), (None, None))
        before = (t for t in trials if number is None or t.number < number)
        done = [t for t in before if self._loss(t) < math.inf and self._name_of(t) is not None]
        if done:
            best = min(done, key=self._loss).params
            pairs = self._variables.items()
            return tuple(variable.coordinate(best[name]) for name, variable in pairs)
        if first is not None:
            return first
        return tuple(variable.centre for variable in self._variables.values())

    def _may_begin(self, trial: FrozenTrial) -> bool:
        return not trial.state.is_finished() or self._loss(trial) < math.inf

    def _loss(self, trial: FrozenTrial) -> float:
        """What is minimised; infinite where there is no value."""
        if trial.state is not TrialState.COMPLETE or trial.value is None:
            return math.inf
        return self._sign * trial.value


def _fingerprint(space: dict[str, BaseDistribution], variables: Iterable[Variable]) -> str:
    """What tells the coordinates in trials' attributes from those of other variables."""
    shares = ["share"] if any(variable.is_share for variable in variables) else []
    return " ".join([Space(space).fingerprint, *shares])


def best_value(
    direction: StudyDirection,
    trials: Sequence[FrozenTrial],
    name: str,
    distribution: BaseDistribution,
) -> Any:
    """A parameter of the best trial that has it; None where there is none."""
    done = [
        (trial.value, trial)
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.distributions.get(name) == distribution
    ]
    sign = sign_of(direction)
    best = min(done, key=lambda pair: sign * (pair[0] or 0.0), default=None)
    return None if best is None else best[1].params[name]
