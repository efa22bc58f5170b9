"""A trial that looks for its point: it claims, and learns from what it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import Any
from typing import final

from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_partition._core import cells
from optuna_partition._core.cells import Point
from optuna_partition._core.slices import on_slice
from optuna_partition._rules.source import KnowledgeOf
from optuna_partition._study.attributes import claim_of
from optuna_partition._study.attributes import Completion
from optuna_partition._study.attributes import KEY
from optuna_partition._study.attributes import shown
from optuna_partition._study.claims import Claimant
from optuna_partition._study.claims import claims_on
from optuna_partition._study.fold.history import History
from optuna_partition._study.fold.readings import is_asking
from optuna_partition._study.guesses import good_point_on_slice
from optuna_partition._study.optuna import show


__all__ = ["Asking"]


@final
@dataclass
class Asking:
    """A trial that looks for its point, among workers who do the same.

    Of many workers most meet a point that another one has, and a look at the trials reads all that
    run. So a refusal is learnt from the look that it came of.

    Args:
        study: The study.
        trial: The trial.
        history: What it knows; of every point it is refused it learns that another has it.
    """

    study: Study
    trial: FrozenTrial
    history: History[Any]
    _seen: Sequence[FrozenTrial] = field(default_factory=list, init=False)  # at the last look

    def try_claim(self, point: Point, carried: dict[str, Any], repeat: int = 0) -> bool:
        """Claims a point; whether it is the trial's, which then carries what it is to carry.

        Args:
            point: The point.
            carried: What the trial's attribute is to say.
            repeat: Which repeat of it the trial is to be; each is claimed by itself.
        """
        name = self.history.space.point_name(point)
        claimed = f"{name} repeat {repeat}" if repeat else name
        holds = partial(self._holds, point, repeat)
        taken_by = partial(self._taken_by, point, repeat)
        claimant = Claimant(self.trial, claimed, carried, holds, taken_by)
        holder = claims_on(self.study, KEY).take(claimant)
        if holder is not None:
            self.history.hold(holder, point, asking=self.trial.number, repeat=repeat)
        return holder is None

    def next_point(self, *, partial: bool, shows_cell: bool) -> Point | None:
        """Chooses points until one is this trial's; None when every point is taken.

        The trial carries what all of these choices did to the tree, for they build on each other.

        Args:
            partial: Whether some parameters are fixed, so that this is not the study's whole tree.
            shows_cell: Whether the trial is to show its cell to people.
        """
        others, choice = 0, None
        while True:
            found = self.history.choose(others)
            choice = found if choice is None else found.after(choice)
            if choice.cell is None or choice.evaluated is None:
                return None
            point = cells.centre(self.history.space.axes, choice.evaluated)
            ask = self.history.log(choice, point, partial=partial)
            if self.try_claim(point, ask.to_json(), ask.repeat):
                if shows_cell:
                    depth = self.history.space.depth(choice.cell)
                    show(self.study, self.trial, KEY, shown(ask, depth))
                return point
            others = self._others()

    def point_on_slice(self, params: dict[str, Any], known: KnowledgeOf | None) -> Point | None:
        """The best point of a slice that is this trial's; None where all are taken.

        Args:
            params: What is decided, which is the slice.
            known: Before the first trial.
        """
        space, tree, but = self.history.space, self.history.tree, self.trial.number
        decided = space.decided(params)
        if decided is None:  # a value from outside lies on no slice
            return None
        carried = Completion.of(self.trial)  # where another process has begun to suggest it
        point = None if carried is None else space.whole(carried.space, carried.point)
        point = point or good_point_on_slice(known, space, params)
        while True:
            if point is None or tree.has(point, but=but):
                point = next(on_slice(tree, decided, but=but), None)
            if point is None:
                return None
            if self.try_claim(point, Completion.to(space, point).to_json()):
                return point

    def _holds(
        self, point: Point, repeat: int, trials: Sequence[FrozenTrial], number: int
    ) -> bool:
        """Whether a trial that once claimed a point has it still, by what trials say now."""
        if self._taken_by(point, repeat, trials) is not None:
            return True  # meanwhile; perhaps by the retry of that trial
        return number < len(trials) and self.history.holds(trials[number], point, repeat)

    def _taken_by(self, point: Point, repeat: int, trials: Sequence[FrozenTrial]) -> int | None:
        """Another trial that has a point by where it lies; what one announces is no place yet.

        It reads the trials into the history: what a refusal teaches is learnt from this look.
        """
        self._seen = trials
        self.history.update(trials)
        if repeat:
            return None
        there = (n for n in self.history.tree.at(point) if n != self.trial.number)
        return max((n for n in there if n < 0 or claim_of(trials[n], KEY)[1]), default=None)

    def _others(self) -> int:
        """How many workers chose before this one and said nothing when it was last refused."""
        return sum(map(is_asking, self._seen[: self.trial.number]))
