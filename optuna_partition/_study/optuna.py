"""All that leans on Optuna's insides, for the day of an upgrade; knows nothing of ours.

Samplers need more of a study than Optuna offers them: all trials rather than one bracket's, its
storage, whether a failure ends the run. No other file of the library names what begins with an
underscore there, but for `_space/values.py`, which asks a distribution what it contains.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import auto
from enum import Enum
import sys
from types import FrameType
from typing import Any
from typing import TypeAlias
import weakref

from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.study._optimize import _run_trial
from optuna.study._tell import _tell_with_warning
from optuna.trial import FrozenTrial


__all__ = [
    "CONSTRAINTS",
    "Identity",
    "RunEnd",
    "TrialIdentity",
    "enqueued",
    "fixed_by",
    "id_of",
    "identity",
    "is_enqueued",
    "is_optimizing",
    "end_of_run",
    "mark_study",
    "says",
    "show",
    "storage_of",
    "study_id",
    "trials_of",
    "write",
]


Identity: TypeAlias = tuple["weakref.ref[BaseStorage]", int]
TrialIdentity: TypeAlias = tuple[Identity, int]

CONSTRAINTS = _CONSTRAINTS_KEY
"""The attribute in which Optuna's samplers keep what a `constraints_func` returned."""


def trials_of(study: Study) -> list[FrozenTrial]:
    """All trials by number. `study.get_trials` shows one bracket's only, under Hyperband.

    Optuna's cache reads trials first and lists them later. In between another thread may add one,
    and lack one before it that is of another process: what follows such a gap is of a later look.
    """
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
    if not trials or trials[-1].number == len(trials) - 1:
        return trials
    gap = next(place for place, trial in enumerate(trials) if trial.number != place)
    return trials[:gap]


def study_id(study: Study) -> int:
    """What tells a study from others in its storage."""
    return study._study_id


def identity(study: Study) -> Identity:
    """What tells a study from others in this process: ids begin anew in every storage.

    A reference, for the address of a storage that is gone may be the next one's.
    """
    return weakref.ref(study._storage), study._study_id


def id_of(study: Study, trial: FrozenTrial) -> TrialIdentity:
    """What tells a trial from others in this process."""
    return identity(study), trial._trial_id


def storage_of(study: Study) -> BaseStorage:
    """The storage behind Optuna's cache."""
    backend: BaseStorage = getattr(study._storage, "_backend", study._storage)
    return backend


def write(study: Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Writes a system attribute, as only samplers can: optuna-dashboard does not show it."""
    study._storage.set_trial_system_attr(trial._trial_id, key, value)


def show(study: Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Writes a user attribute of a trial that has not begun."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def mark_study(study: Study, key: str) -> None:
    """Says something of a study to all samplers that work on it."""
    study._storage.set_study_system_attr(study._study_id, key, True)


def says(study: Study, key: str) -> bool:
    """Whether that has been said of a study; read from the storage itself."""
    return key in study._storage.get_study_system_attrs(study._study_id)


def enqueued(trial: FrozenTrial) -> Mapping[str, Any]:
    """The parameters that a trial was enqueued with, which Optuna suggests without a sampler."""
    fixed: Mapping[str, Any] = trial.system_attrs.get("fixed_params", {})
    return fixed


def is_enqueued(trial: FrozenTrial) -> bool:
    """Whether a trial was enqueued, perhaps with no parameter."""
    return "fixed_params" in trial.system_attrs


def fixed_by(sampler: BaseSampler) -> Mapping[str, Any]:
    """The parameters that PartialFixedSampler takes out of all search spaces.

    It may have another one for its base, whose parameters it does not ask for where both have one.
    """
    fixed: dict[str, Any] = {}
    while isinstance(sampler, PartialFixedSampler):
        fixed = {**sampler._fixed_params, **fixed}
        sampler = sampler._base_sampler
    return fixed


def is_optimizing(study: Study) -> bool:
    """Whether it is `study.optimize` that runs in this thread, which `study.stop` ends.

    HyperbandPruner gives samplers a study of a bracket, which is never said to run.
    """
    whole: Study = getattr(study, "_study", study)
    return whole._thread_local.in_optimize_loop


class RunEnd(Enum):
    """Why a trial's run has ended with it: somebody has stopped it, or it is lost."""

    STOPPED = auto()
    LOST = auto()


def end_of_run() -> RunEnd | None:
    """What ended the run whose failure is being told; None where the failure is of the point.

    Of `study.optimize` it is Ctrl-C, or an error not in `catch`: the study ends, and the point is
    evaluated again when it goes on. In ask and tell it is `state=FAIL`, which is how a lost job is
    reported; `tell(trial, nan)` says that the objective has no value there. Optuna tells
    `after_trial` only that the trial failed, so this looks at the frames that tell it.
    """
    frame: FrameType | None = sys._getframe()
    found = None
    while frame is not None:
        if frame.f_code is _tell_with_warning.__code__:
            found = RunEnd.LOST if frame.f_locals["value_or_values"] is None else None
        elif frame.f_code is _run_trial.__code__:
            error, catch = frame.f_locals["func_err"], frame.f_locals["catch"]
            if error is None or isinstance(error, catch):
                return None
            return RunEnd.STOPPED if isinstance(error, KeyboardInterrupt) else RunEnd.LOST
        frame = frame.f_back
    return found
