"""What samplers need of a study and Optuna does not offer them; reads, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import sys
from types import FrameType
from typing import Any
import warnings

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.study import Study
from optuna.study._optimize import _run_trial
from optuna.study._tell import _tell_with_warning
from optuna.trial import FrozenTrial

from optuna_partition._space.space import integers
from optuna_partition._space.space import is_single
from optuna_partition._space.space import kinds


__all__ = ["has_one_point", "fixed_outside", "is_interrupted", "searched", "trials_of"]

_FINEST_STEP = sys.float_info.epsilon / 1e-8  # Optuna allows for an error of 1e-8 steps


def trials_of(study: Study) -> list[FrozenTrial]:
    """All trials by number. `study.get_trials` shows one bracket's only, under Hyperband."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def searched(space: dict[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """The parameters there is something to search in; Optuna sets the others by itself.

    Raises:
        ValueError: Optuna would find a parameter's own values outside its distribution.
    """
    for name, distribution in space.items():
        if isinstance(distribution, IntDistribution) and not distribution.single():
            integers(distribution, name)
        if isinstance(distribution, CategoricalDistribution):
            _warn_of_equal_choices(name, distribution)
        if _is_too_fine(distribution):
            raise ValueError(
                f"`step` must be larger than {_FINEST_STEP:.2g} of `low` and `high`, or Optuna "
                "takes its rounded multiples for values outside, but got "
                f"({name}={distribution}); leave `step` out, or suggest what is added to `low`."
            )
    return {name: d for name, d in space.items() if not d.single()}


def _warn_of_equal_choices(name: str, distribution: CategoricalDistribution) -> None:
    found = kinds(distribution)
    if max(found) + 1 < len(found):
        left_out = [c for i, c in enumerate(distribution.choices) if found[i] in found[:i]]
        warnings.warn(
            f"Of equal choices Optuna keeps the first, so that {left_out} of "
            f"({name}={distribution}) will not be tried: use texts that differ, and let the "
            "objective make values of them.",
            stacklevel=3,
        )


def _is_too_fine(distribution: BaseDistribution) -> bool:
    if not isinstance(distribution, FloatDistribution) or distribution.step is None:
        return False
    largest = max(abs(distribution.low), abs(distribution.high))
    return not distribution.single() and distribution.step <= _FINEST_STEP * largest


def fixed_outside(study: Study, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The parameters of a space that PartialFixedSampler has fixed, with their values."""
    fixed: dict[str, Any] = getattr(study.sampler, "_fixed_params", {})
    return {n: x for n, x in fixed.items() if n in space and _contains(space[n], x)}


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # not a choice, or not a number
        return False


def has_one_point(trials: Sequence[FrozenTrial]) -> bool:
    """Whether trials suggest parameters, and each of these has a single value.

    Trials that suggest nothing say nothing of a space: there may be none, or more to come.
    """
    return any(trial.distributions for trial in trials) and all(
        is_single(d) for trial in trials for d in trial.distributions.values()
    )


def is_interrupted() -> bool:
    """Whether the failure being told is of the run rather than of the point.

    Of `study.optimize` it is Ctrl-C, or an error not in `catch`: the study ends, and the point is
    evaluated again when it goes on. In ask and tell it is `state=FAIL`, which is how a lost job is
    reported; `tell(trial, nan)` says that the objective has no value there. Optuna tells
    `after_trial` only that the trial failed, so this looks at the frames that tell it.
    """
    frame: FrameType | None = sys._getframe()
    interrupted = False
    while frame is not None:
        if frame.f_code is _tell_with_warning.__code__:
            interrupted = frame.f_locals["value_or_values"] is None
        elif frame.f_code is _run_trial.__code__:
            error, catch = frame.f_locals["func_err"], frame.f_locals["catch"]
            return error is not None and not isinstance(error, catch)
        frame = frame.f_back
    return interrupted
