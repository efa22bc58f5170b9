"""One trial in, one float out, by a trainer of the user's own: starts it, follows it, ends it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import logging
import math
from pathlib import Path
import shlex
import shutil
import subprocess
import time
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from objectives.command.failures import FAULT
from objectives.command.failures import fault_of
from objectives.command.failures import how_it_ended
from objectives.command.failures import KILLED
from objectives.command.failures import out_of_memory
from objectives.command.process import running
from objectives.command.readings import Reader
from objectives.command.readings import reader
from objectives.command.readings import Reading
from objectives.objective import suggest
from objectives.output import writing
from objectives.record import FAILURE
from objectives.settings.own.experiment import OwnExperiment
from objectives.settings.own.words import CONFIG
from objectives.settings.own.words import fill_words
from objectives.settings.own.words import OUTPUT


__all__ = ["OUTPUT_FOLDER", "CommandObjective", "written"]

OUTPUT_FOLDER = "output"
LOOK_SECONDS = 0.5
TAIL = 100_000  # bytes of a log that a failure is looked for in

_logger = logging.getLogger(__name__)


class CommandObjective:
    """What `study.optimize` calls.

    The value is the last one that `[command] value` finds. Those before are reported, the best so
    far each time, and the pruner is asked; what it stops is ended with all its processes. Trials
    are compared by how many values they had, or by the step that `value` names.

    A trial whose trainer exits with another status than 0, runs into the time limit, or leaves no
    value has failed, with the user attribute `failure`; the study goes on.

    User attributes: `command` (as run), `log` (what it printed), `output` (its folder),
    `seconds_training`, `steps`, `steps_in_all`.
    """

    def __init__(
        self, experiment: OwnExperiment, home: Path, folder: Path, *, devices: int = 1
    ) -> None:
        """Starts nothing.

        Args:
            experiment: Its settings and search space.
            home: Where the trainer runs.
            folder: The output of trial 7 goes to its `trials/0007`.
            devices: GPUs that a trainer has, for the report.
        """
        self._experiment, self._home = experiment, home
        self._folder, self._devices = folder.absolute(), devices

    def __call__(self, trial: optuna.Trial) -> float:
        space = self._experiment.search_space()
        params = {name: suggest(trial, name, d) for name, d in space.items()}
        place = self._folder / "trials" / f"{trial.number:04d}"
        with writing(place):
            shutil.rmtree(place, ignore_errors=True)  # of a study that has begun anew
            words = written(self._experiment, params, place)
        log = place / "log.txt"
        _tell(trial, command=shlex.join(words), log=str(log), output=str(place / OUTPUT_FOLDER))
        if self._devices > 1:
            _tell(trial, devices=self._devices)
        follow = reader(self._experiment.command.value, place / OUTPUT_FOLDER, log)
        reports = _Reports(trial, self._experiment.direction == "minimize")
        try:
            with _timed(trial), running(words, home=self._home, log=log) as process:
                status = self._followed(process, follow, reports)
        except optuna.TrialPruned:
            reports.keep(whole=False)
            raise
        value = self._value(trial, status, reports.last, follow, log)
        reports.keep(whole=not math.isnan(value))
        return value

    def _followed(
        self, process: subprocess.Popen[bytes], follow: Reader, report: Callable[[Reading], bool]
    ) -> int | None:
        """Its exit status; None where its time is over."""
        limit, start = self._experiment.study.time_limit or math.inf, time.monotonic()
        while True:
            status = _waited(process)
            for reading in follow.new(ended=status is not None):
                if report(reading) and status is None:
                    raise optuna.TrialPruned
            if status is not None:
                return status
            if time.monotonic() - start > limit:
                return None

    def _value(
        self,
        trial: optuna.Trial,
        status: int | None,
        last: Reading | None,
        follow: Reader,
        log: Path,
    ) -> float:
        said = _tail(log)
        if status is None:
            limit = self._experiment.study.time_limit
            return _failed(trial, f"was not done within the time limit of {limit:g} s", log)
        if status != 0:
            memory = out_of_memory(said)
            if memory is not None:
                return _failed(trial, f"out of memory: {memory}", log, fault=False)
            return _failed(trial, how_it_ended(status, said), log, fault=status != KILLED)
        if last is None:
            return _failed(trial, f"ended without a value: {follow.missing()}", log)
        if not math.isfinite(last.value):
            why = f"{self._experiment.value_name} was {last.value}"
            return _failed(trial, why, log, fault=False)
        return last.value


def written(
    experiment: OwnExperiment, params: dict[str, Any], place: Path, output: str = OUTPUT_FOLDER
) -> list[str]:
    """Makes what a trainer needs; its command.

    Args:
        experiment: With the command.
        params: Its parameters.
        place: An absolute folder; `{output}` and the config's copy are in it.
        output: The name of `{output}`.
    """
    folder, config = place / output, experiment.command.config
    folder.mkdir(parents=True, exist_ok=True)
    values = {**params, OUTPUT: folder}
    if config is not None:
        values[CONFIG] = place / config.path.name
        own = {name: value for name, value in params.items() if name in config.leaves()}
        values[CONFIG].write_text(config.copy(own, folder), encoding="utf-8")
    return fill_words(experiment.command.run, values)


class _Reports:
    """A trial's values on the way, and the pruner's word on them."""

    def __init__(self, trial: optuna.Trial, minimise: bool) -> None:
        self._trial, self._better = trial, min if minimise else max
        self._best: float | None = None
        self._parts: set[int] = set()
        self.last: Reading | None = None

    def __call__(self, reading: Reading) -> bool:
        """Whether the trial is pruned."""
        self.last = reading
        if not math.isfinite(reading.value) or reading.part in self._parts or reading.part < 0:
            return False
        self._parts.add(reading.part)
        known = [reading.value] if self._best is None else [reading.value, self._best]
        self._best = self._better(known)
        self._trial.report(self._best, reading.part)
        done = reading.steps is not None and reading.steps == reading.steps_in_all
        return not done and self._trial.should_prune()

    def keep(self, *, whole: bool) -> None:
        """Writes to the trial how much was trained, of how much.

        Where the trainer does not say it, values are counted, and the whole is the longest of the
        complete trials.

        Args:
            whole: Whether that was all.
        """
        if self.last is None:
            return
        steps, in_all = self.last.steps, self.last.steps_in_all
        if steps is None or in_all is None:
            complete = self._trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            steps = max(self._parts, default=0)
            in_all = max((trial.last_step or 0 for trial in complete), default=0)
        _tell(self._trial, steps=steps, steps_in_all=steps if whole else max(steps, in_all))


def _waited(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return None


@contextmanager
def _timed(trial: optuna.Trial) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        with suppress(UpdateFinishedTrialError):  # another worker has failed the trial meanwhile
            _tell(trial, seconds_training=time.perf_counter() - start)


def _failed(trial: optuna.Trial, why: str, log: Path, *, fault: bool = True) -> float:
    failure = f"{why} (log: {log})"
    _tell(
        trial,
        **{FAILURE: failure},
        **({FAULT: fault_of(failure, trial.distributions)} if fault else {}),
    )
    _logger.warning("Trial %d failed: %s", trial.number, failure)
    return math.nan


def _tail(log: Path) -> str:
    """Its end; nothing where the trainer has removed it."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        return file.read().decode(errors="replace")
    return ""


def _tell(trial: optuna.Trial, **attributes: Any) -> None:
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
