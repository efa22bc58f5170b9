"""What a trainer says of its values while it runs and at its end; reads its files and its log."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
import json
from pathlib import Path
import re
from typing import Any

from objectives.settings.own.value import JsonValue
from objectives.settings.own.value import PrintedValue
from objectives.settings.own.value import TrainerState
from objectives.settings.own.words import fill
from objectives.settings.own.words import OUTPUT


__all__ = ["Reader", "Reading", "reader"]

STATE = "trainer_state.json"
PIECE = 2**20  # bytes of a file that are in memory at a time
LARGEST = 2**31 - 1  # of a step in a database


@dataclass(frozen=True)
class Reading:
    """A value.

    Attributes:
        part: What trials are compared by: the step that the user has named, else how many values
            there were, since trials of different batches differ in steps.
        value: May be nan.
        steps: Optimizer steps until then, where they are known.
        steps_in_all: Those of the whole training, where they are known.
    """

    part: int
    value: float
    steps: int | None = None
    steps_in_all: int | None = None


class Reader(ABC):
    """Follows one training."""

    def __init__(self) -> None:
        self._count = 0

    @abstractmethod
    def new(self, *, ended: bool) -> list[Reading]:
        """What has come since.

        Args:
            ended: Whether nothing will follow.
        """

    @abstractmethod
    def missing(self) -> str:
        """Why there is no value, where there is none."""

    def _part(self, step: Any = None) -> int:
        self._count += 1
        number = _whole(step)
        return self._count if number is None else number


def reader(value: Any, output: Path, log: Path) -> Reader:
    """What reads a trial's values.

    Args:
        value: How, `[command] value`.
        output: The trial's own folder.
        log: What the trainer prints.
    """
    own = {OUTPUT: output}
    if isinstance(value, TrainerState):
        return _States(Path(fill(value.folder, own)), value.metric)
    if isinstance(value, PrintedValue):
        return _Printed(log, value.pattern)
    assert isinstance(value, JsonValue)
    file = Path(fill(value.file, own))
    return _JsonLines(file, value) if value.lines else _Document(file, value.key)


class _Document(Reader):
    """A JSON file, written at the end."""

    def __init__(self, file: Path, key: str) -> None:
        super().__init__()
        self._file, self._key = file, key

    def new(self, *, ended: bool) -> list[Reading]:
        number = _number(_under(_json(self._file), self._key)) if ended else None
        return [] if number is None else [Reading(self._part(), number)]

    def missing(self) -> str:
        if not self._file.is_file():
            return f"there is no {self._file}"
        return f"{self._file} has no number under {self._key}"


class _Lines(Reader):
    """A file that grows by lines."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file, self._read, self._rest = file, 0, b""

    def new(self, *, ended: bool) -> list[Reading]:
        return [found for line in self._lines(ended) for found in self._in(line)]

    @abstractmethod
    def _in(self, line: str) -> Iterator[Reading]: ...

    def _lines(self, ended: bool) -> Iterator[str]:
        """Those that are whole, each once; of a very long one the end."""
        with suppress(OSError), self._file.open("rb") as file:
            file.seek(self._read)
            while piece := file.read(PIECE):
                self._read += len(piece)
                more = piece.replace(b"\r", b"\n")  # a progress bar returns
                *whole, rest = (self._rest + more).split(b"\n")
                self._rest = rest[-PIECE:]
                yield from (line.decode(errors="replace") for line in whole)
        if ended:
            yield self._rest.decode(errors="replace")


class _Printed(_Lines):
    def __init__(self, log: Path, pattern: str) -> None:
        super().__init__(log)
        self._pattern = re.compile(pattern)
        names = self._pattern.groupindex
        step = names.get("step")
        others = [group for group in range(1, self._pattern.groups + 1) if group != step]
        self._value = names.get("value") or others[0]

    def _in(self, line: str) -> Iterator[Reading]:
        for found in self._pattern.finditer(line):
            number = _number(found[self._value])
            if number is not None:
                yield Reading(self._part(found.groupdict().get("step")), number)

    def missing(self) -> str:
        return f"nothing that it printed matches {self._pattern.pattern} with a number"


class _JsonLines(_Lines):
    def __init__(self, file: Path, value: JsonValue) -> None:
        super().__init__(file)
        self._key, self._step = value.key, value.step

    def _in(self, line: str) -> Iterator[Reading]:
        said: Any = None
        with suppress(ValueError, RecursionError):
            said = json.loads(line)
        number = _number(_under(said, self._key))
        if number is not None:
            yield Reading(self._part(_under(said, self._step) if self._step else None), number)

    def missing(self) -> str:
        if not self._file.is_file():
            return f"there is no {self._file}"
        return f"no line of {self._file} has a number under {self._key}"


class _States(Reader):
    """transformers' state, written beside each checkpoint and perhaps at the end."""

    def __init__(self, folder: Path, metric: str) -> None:
        super().__init__()
        self._folder, self._metric = folder, metric
        self._seen: tuple[int, Path] | None = None

    def new(self, *, ended: bool) -> list[Reading]:
        newest = max(self._files(), default=None)
        if newest is None or newest == self._seen:
            return []
        state = _json(newest[1])
        if not isinstance(state, dict):  # it is being written
            return []
        self._seen = newest
        history = state.get("log_history")
        entries = history if isinstance(history, list) else []
        logs = [log for log in entries if isinstance(log, dict) and self._metric in log]
        return [self._reading(state, log) for log in logs[self._count :]]

    def _reading(self, state: Mapping[str, Any], log: Mapping[str, Any]) -> Reading:
        number = _number(log[self._metric])
        value = float("nan") if number is None else number
        return Reading(
            self._part(), value, _whole(log.get("step")), _whole(state.get("max_steps"))
        )

    def _files(self) -> Iterator[tuple[int, Path]]:
        for file in (self._folder / STATE, *self._folder.glob(f"checkpoint-*/{STATE}")):
            with suppress(OSError):
                yield file.stat().st_mtime_ns, file

    def missing(self) -> str:
        if not any(self._files()):
            return (
                f"there is no {STATE} in {self._folder} nor in a checkpoint there; have the "
                "trainer save one when it evaluates"
            )
        return f"no {STATE} in {self._folder} has {self._metric} in its log_history"


def _json(file: Path) -> Any:
    """None where there is nothing to read, or not yet."""
    with suppress(OSError, ValueError, RecursionError):
        return json.loads(file.read_text(encoding="utf-8"))
    return None


def _under(said: Any, key: str) -> Any:
    """The value under a key, or a dotted path of keys and places."""
    if isinstance(said, dict) and key in said:
        return said[key]
    first, dot, rest = key.partition(".")
    if isinstance(said, dict) and dot:
        return _under(said.get(first), rest)
    if isinstance(said, list) and first.isdecimal() and int(first) < len(said):
        return _under(said[int(first)], rest) if dot else said[int(first)]
    return None


def _number(found: Any) -> float | None:
    """Also of a text; a truth value is no number."""
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    with suppress(ValueError, OverflowError):
        return float(found)
    return None


def _whole(found: Any) -> int | None:
    """A step that every storage holds."""
    number = _number(found)
    return None if number is None or not abs(number) <= LARGEST else int(number)
