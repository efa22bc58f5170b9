"""Which trials' outputs stay, and the folder `best/`, which runs the best trial again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
import shlex
import shutil
from typing import Literal

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.command.objective import written
from objectives.settings.own.experiment import OwnExperiment


__all__ = ["keep_outputs", "output_of", "save_best"]

SPARE = 3  # outputs that are kept: the best value may be luck


def keep_outputs(keep: Literal["best", "all", "none"]) -> Callable[..., None]:
    """A callback of `study.optimize` that deletes the outputs which are not to be kept.

    Those of trials without a value, of which nobody has use, go whatever is kept.
    """

    def clear(study: optuna.Study, trial: FrozenTrial) -> None:
        ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        valued = [t for t in ended if t.state is TrialState.COMPLETE]
        ranked = sorted(valued, key=lambda t: (sign * (t.value or 0.0), t.number))
        count = {"best": SPARE, "all": len(ranked), "none": 0}[keep]
        kept = {t.number for t in islice(ranked, count)}
        for each in ended:
            if each.number not in kept and "output" in each.user_attrs:
                shutil.rmtree(each.user_attrs["output"], ignore_errors=True)

    return clear


def output_of(trial: FrozenTrial) -> Path | None:
    """Where what a trial has trained is; None where it was not kept, or is on another machine."""
    found = Path(trial.user_attrs.get("output", "-"))
    return found if found.is_dir() and any(found.iterdir()) else None


def save_best(
    experiment: OwnExperiment, trial: FrozenTrial, *, study: str, home: Path, folder: Path
) -> Path:
    """Writes `best/command.sh`, with the copy of the config that it reads.

    What it trains goes to a folder of the trial's beside it, so that nothing of the study is
    overwritten, and nothing that an earlier best has trained there.

    Args:
        experiment: The study's.
        trial: The best.
        study: Its name.
        home: Where the trainer runs.
        folder: The study's.

    Returns:
        The script.
    """
    place = folder.absolute() / "best"
    words = written(experiment, trial.params, place, f"output-{trial.number}")
    told = f"# trial {trial.number} of {study}: {experiment.value_name} {trial.value}"
    script = place / "command.sh"
    script.write_text(
        f"#!/bin/sh\n{told}\ncd {shlex.quote(str(home))}\nexec {shlex.join(words)}\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    return script
