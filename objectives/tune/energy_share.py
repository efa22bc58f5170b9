"""A host's energy among the trials that run on it at once: an equal part each, at every moment.

    with shared_out(study, meter, running) as look:     the process that starts the workers
        ...                                             look() now and then
    with kept_in_trial(trial, Share.given()):           a worker

One process measures (see `energy`) and writes to a small file what a trial would have
used that ran all the time: the sum of what each second took by the number of trials in it. What a
trial has used is the difference between that file at its end and at its start, to a second.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import tempfile
import time

import optuna

from objectives.tune.energy import add_to_study
from objectives.tune.energy import Energy
from objectives.tune.energy import Spans


__all__ = ["SHARE_FILE", "Share", "shared_out"]

SHARE_FILE = "ENERGY_SHARE_FILE"
"""Environment variable: the file, where somebody writes one."""
_SECONDS = 1.0  # between two readings


class Share:
    """A trial's part of the host's energy; a `Meter` for `kept_in_trial`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._began = Energy(0.0, 0.0)

    @classmethod
    def given(cls) -> Share | None:
        """Of the file that the environment names; None where it names none."""
        name = os.environ.get(SHARE_FILE)
        return None if name is None else cls(Path(name))

    def start(self) -> None:
        """Begins a span."""
        self._began = _read(self._file)

    def stop(self) -> Energy:
        """Ends it; this trial's part of what was used in it."""
        return _read(self._file) - self._began


@contextmanager
def shared_out(
    study: optuna.Study, meter: Spans | None, running: Callable[[], int]
) -> Iterator[Callable[[], None]]:
    """Measures, for processes that are started in the block; adds all of it to the study.

    Args:
        study: Whose user attribute `energy <host>` gets the whole.
        meter: The host's; None measures nothing.
        running: How many trials share the energy now.

    Yields:
        What to call several times a second.
    """
    if meter is None:
        yield lambda: None
        return
    with tempfile.TemporaryDirectory(prefix="energy-") as folder:
        sharing = _Sharing(meter, Path(folder) / "share.json", running)
        os.environ[SHARE_FILE] = str(sharing.file)
        try:
            yield sharing.look
        finally:
            del os.environ[SHARE_FILE]
            add_to_study(study, sharing.close())


class _Sharing:
    """The measuring side: spans of a second, one after the other."""

    def __init__(self, meter: Spans, file: Path, running: Callable[[], int]) -> None:
        self.file = file
        self._meter, self._running = meter, running
        self._whole = self._each = Energy(0.0, 0.0)
        _write(file, self._each)
        self._begin()

    def look(self) -> None:
        if time.monotonic() - self._began >= _SECONDS:
            self._end(max(1, self._running()))
            self._begin()

    def close(self) -> Energy:
        self._end(1)
        return self._whole

    def _begin(self) -> None:
        self._began = time.monotonic()
        self._meter.start()

    def _end(self, running: int) -> None:
        used = self._meter.stop()
        self._whole += used
        self._each += used / running
        _write(self.file, self._each)


def _read(file: Path) -> Energy:
    try:
        return Energy(*json.loads(file.read_text()))
    except FileNotFoundError:  # whoever measured has ended
        return Energy()


def _write(file: Path, energy: Energy) -> None:
    """All at once: others read it."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps([energy.kwh, energy.kg_co2eq]))
    new.replace(file)
