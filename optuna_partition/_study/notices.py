"""What a sampler tells the people who use it: reads trials, writes to the log alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import final

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_partition._space.space import AnySpace
from optuna_partition._study.attributes import Ask
from optuna_partition._study.optuna import Identity
from optuna_partition._study.optuna import identity
from optuna_partition._study.outside.by_trial import name_of


__all__ = ["Notices", "in_words"]

_logger = optuna.logging.get_logger(f"optuna.{__name__}")


@final
class Notices:
    """Notices of one sampler, some of which are given once for each study.

    Args:
        sampler: Its name.
    """

    def __init__(self, sampler: str) -> None:
        self._sampler = sampler
        self._told: dict[str, Identity] = {}  # what -> the study that was told last

    def __getstate__(self) -> dict[str, object]:
        return {"_sampler": self._sampler}

    def __setstate__(self, state: dict[str, str]) -> None:
        self._sampler, self._told = state["_sampler"], {}

    def _once(self, what: str, study: Study, text: str) -> None:
        """Tells a study something, unless it has been told."""
        if self._is_news(what, study):
            self._told[what] = identity(study)
            _logger.warning(text)

    def _is_news(self, what: str, study: Study) -> bool:
        return self._told.get(what) != identity(study)

    def constraints(self, study: Study, trial: FrozenTrial) -> None:
        """That a trial which ends has constraints, and the sampler uses none."""
        if not trial.constraints:
            return
        names = ", ".join(f"`{name}`" for name in trial.constraints)
        self._once(
            "constraints",
            study,
            f"`{self._sampler}` does not use constraints, and trial {trial.number} has "
            f"{names}: points that violate them count as all others do. Take `BaMSOOSampler`, "
            "`DIRECTSampler` or `SOOSampler`, or return a penalty: a value that is the worse the "
            "more is violated.",
        )

    def misfits(self, study: Study, rule: str, words: Callable[[], str]) -> None:
        """That some trials of a study have a log that is another tree's.

        Args:
            study: The study.
            rule: Name of the rule of this one.
            words: Says which trials, if there are some, for which it looks at all of them.
        """
        if self._is_news("misfits", study) and (found := words()):
            self._once(
                "misfits",
                study,
                f"{found}; `{self._sampler}` asks by `{rule}`. Its partition begins anew, from "
                "where trials lie.",
            )

    def overdue(self, study: Study, numbers: Collection[int]) -> None:
        """That trials run for so long that nobody may be left to end them."""
        if not numbers:
            return
        of = f"trial {min(numbers)}"
        if len(numbers) > 1:
            of = f"trials {', '.join(map(str, sorted(numbers)))}"
        self._once(
            "overdue",
            study,
            f"`{self._sampler}` goes on around {of}, running while many later trials have begun "
            "and ended: the cell takes a value from its neighbours until there is one. Where the "
            f"worker is gone, say so, and the point is asked for again: `study.tell({min(numbers)}"
            ", state=optuna.trial.TrialState.FAIL)`.",
        )

    def unsuggested(self, study: Study, trial: FrozenTrial, names: Iterable[str]) -> None:
        """That the tree cuts axes that no trial moves along, and points come again."""
        self._once(
            "unsuggested",
            study,
            f"`search_space` has {', '.join(f'`{name}`' for name in names)}, which trial "
            f"{trial.number} did not suggest, so that points may be evaluated again: correct the "
            "name, and leave out parameters that not every trial suggests.",
        )

    def independent(self, trial: FrozenTrial, name: str, by: BaseSampler) -> None:
        """That a parameter is in no partition."""
        _logger.warning(
            f"The parameter `{name}` in trial {trial.number} is sampled independently by "
            f"`{name_of(by)}`, outside the partition, because it is not in the search space "
            f"of `{self._sampler}`: give it in `search_space`, or suggest it in every trial with "
            "the same distribution. `warn_independent_sampling=False` silences this."
        )

    def nothing_shared(self, study: Study, trial: FrozenTrial) -> None:
        """That the partition has no axis, since trials have no parameter in common."""
        self._once(
            "nothing shared",
            study,
            f"`{self._sampler}` has nothing to search in trial {trial.number}, which is sampled "
            "independently, because the trials before it share no parameter: give `search_space`, "
            "and begin a new study where parameters have other names now. New ranges of the old "
            "names are searched as soon as two trials in a row have them.",
        )

    def nomad_ended(self, study: Study, trial: FrozenTrial, to: BaseSampler, why: str) -> None:
        """That the method has nothing to suggest for a trial, as may be for later ones."""
        self._once(
            f"left, because {why}",
            study,
            f"`{self._sampler}` leaves trial {trial.number} to `{name_of(to)}`: NOMAD suggests "
            f"nothing more because {why}. Later trials are left in silence.",
        )

    def repeat(self, trial: FrozenTrial) -> None:
        """That a point comes again."""
        _logger.warning(
            f"`{self._sampler}` evaluates a point again in trial {trial.number} because every "
            "point of the search space is evaluated or in flight."
        )


def in_words(misfits: Iterable[int], trials: Sequence[FrozenTrial], space: AnySpace) -> str:
    """How many trials were asked for by whom, and over what where that is not the space.

    Args:
        misfits: The numbers of those trials.
        trials: All of the study, by number.
        space: The search space now.
    """
    found = Counter(_origin(trials[number], space) for number in misfits)
    if not found:
        return ""
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
