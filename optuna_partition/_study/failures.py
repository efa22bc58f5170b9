"""What a trial says of its failure, beside that it failed; writes to that trial alone."""

from __future__ import annotations

from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_partition._study.attributes import failed
from optuna_partition._study.attributes import STOPPED
from optuna_partition._study.optuna import end_of_run
from optuna_partition._study.optuna import RunEnd
from optuna_partition._study.optuna import write


__all__ = ["write_why"]


def write_why(study: Study, trial: FrozenTrial, key: str) -> None:
    """Writes down whether a failure is the point's own, or somebody has stopped the run.

    A lost trial says nothing, like one whose worker had no time to.

    Args:
        study: Of the trial.
        trial: Its failure is being told.
        key: The attribute that its sampler keeps.
    """
    end = end_of_run()
    if end is RunEnd.STOPPED:
        write(study, trial, STOPPED, True)
    elif end is None and trial.params:
        write(study, trial, *failed(trial, key))
