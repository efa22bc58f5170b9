"""Energy and CO2-equivalent of what this host does, measured by codecarbon, offline; no torch.

    with host_meter(gpus, country) as meter:
        with kept_in_trial(trial, meter):
            ...                                 trial.user_attrs["energy_kwh"], ["co2eq_kg"]

codecarbon measures the whole machine, so two trackers on one host would count everything twice.
The first process to ask gets the meter until it ends, and the others get none. A command that
starts workers or trains in packs measures for the study; its trials share the machine and keep
no figure.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
import fcntl
from importlib.util import find_spec
import os
from pathlib import Path
import socket
import tempfile
from threading import Event
from threading import Thread
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from objectives.errors import UserError


__all__ = ["Meter", "check_can_measure", "host_meter", "kept_in_study", "kept_in_trial"]

TASK_SECONDS = 60.0  # a processor's counter begins anew after several minutes at full load
Used = dict[str, float]
"""What a trial keeps: `energy_kwh`, of processors, memory and GPUs, and `co2eq_kg`, kilograms of
CO2-equivalent for the electricity of the country."""


class Meter:
    """codecarbon's tracker; one span at a time.

    codecarbon reads the processors' counter where a task of its own begins and ends. The counter
    begins anew after some minutes, and that is seen once. So a span is many short tasks.
    """

    def __init__(self, gpus: Sequence[str], country: str | None) -> None:
        """Looks at the machine, which takes seconds.

        Args:
            gpus: Numbers of those that count; none: all there are. (codecarbon knows no UUID.)
            country: Of the electricity, three letters (ISO 3166); None is the world's average.
        """
        _silence()
        from codecarbon import OfflineEmissionsTracker

        chosen: dict[str, Any] = {"gpu_ids": list(gpus)} if gpus else {}
        self._tracker: Any = OfflineEmissionsTracker(
            country_iso_code=country,
            # its own lock is left behind by a process that is killed, and takes SIGTERM over
            allow_multiple_runs=True,
            output_methods=[],
            log_level="critical",
            **chosen,
        )
        self._used: Used = {}

    def start(self) -> None:
        """Begins a span."""
        self._used, self._over = {}, Event()
        self._tracker.start_task()
        self._splitting = Thread(target=self._split, args=(self._over,), daemon=True)
        self._splitting.start()

    def stop(self) -> Used:
        """Ends it; what was used in it, less that of tasks in which codecarbon hides an error."""
        self._over.set()
        self._splitting.join()
        self._end_task()
        return self._used

    def _split(self, over: Event) -> None:
        while not over.wait(TASK_SECONDS):
            self._end_task()
            self._tracker.start_task()

    def _end_task(self) -> None:
        measured = self._tracker.stop_task()
        if measured is None:
            return
        used = {"energy_kwh": measured.energy_consumed, "co2eq_kg": measured.emissions}
        self._used = {name: self._used.get(name, 0.0) + more for name, more in used.items()}

    def close(self) -> None:
        """Ends codecarbon's threads."""
        self._tracker.stop()


def check_can_measure(country: str | None) -> None:
    """Before anything is loaded.

    Raises:
        UserError: codecarbon is missing, or does not know the country.
    """
    if find_spec("codecarbon") is None:
        raise UserError(
            '`[study] energy` = true: needs codecarbon; pip install "codecarbon>=3.3", '
            "or leave energy out"
        )
    if country is not None and country not in _countries():
        raise UserError(
            f"`[study] country` = {country!r}: codecarbon does not know it, and would take the "
            'world\'s average; give its code in ISO 3166, for example "DEU" for Germany'
        )


def _countries() -> Collection[str]:
    _silence()
    from codecarbon.input import DataSource

    source: Any = DataSource
    found: Mapping[str, Any] = source().get_global_energy_mix_data()
    return found.keys()


def _silence() -> None:
    """codecarbon speaks while it is imported."""
    os.environ.setdefault("CODECARBON_LOG_LEVEL", "critical")


@contextmanager
def host_meter(gpus: Sequence[str], country: str | None) -> Iterator[Meter | None]:
    """The host's meter; None where another process of this user has it."""
    with _lock().open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        meter = Meter(gpus, country)
        try:
            yield meter
        finally:
            meter.close()


def _lock() -> Path:
    return Path(tempfile.gettempdir()) / f"optuna-partition-energy-{os.getuid()}.lock"


@contextmanager
def kept_in_trial(trial: optuna.Trial, meter: Meter | None) -> Iterator[None]:
    """Writes to the trial what the block has used, however it ends."""
    used: Used = {}
    try:
        with _spent(meter, used):
            yield
    finally:
        with suppress(UpdateFinishedTrialError):  # another worker has failed the trial meanwhile
            for name, value in used.items():
                trial.set_user_attr(name, value)


@contextmanager
def kept_in_study(study: optuna.Study, meter: Meter | None) -> Iterator[None]:
    """Adds what the block has used to the study's user attribute `energy <host>`."""
    used: Used = {}
    try:
        with _spent(meter, used):
            yield
    finally:
        if used:
            key = f"energy {socket.gethostname()}"
            before = study.user_attrs.get(key, {})
            now = {name: before.get(name, 0.0) + more for name, more in used.items()}
            study.set_user_attr(key, now)


@contextmanager
def _spent(meter: Meter | None, used: Used) -> Iterator[None]:
    """Adds to `used` what the block has used."""
    if meter is None:
        yield
        return
    meter.start()
    try:
        yield
    finally:
        used.update(meter.stop())
