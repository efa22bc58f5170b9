"""The results file: JSON lines, appended to by one process; nothing in it is changed."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
from typing import Any


Line = dict[str, Any]
Key = tuple[Any, ...]


def key(line: Line) -> Key:
    """What makes two lines the same run (of whatever budget) or the same reference."""
    names = ("kind", "sampler", "family", "instance", "shift", "seed", "workers")
    return tuple(line.get(name) for name in names)


def read(path: Path) -> Iterator[Line]:
    """The lines of a file; none where there is no file.

    Raises:
        ValueError: A line is not JSON.
    """
    if not path.exists():
        return
    with path.open() as file:
        for number, text in enumerate(file, 1):
            try:
                yield json.loads(text)
            except json.JSONDecodeError:
                rule = (
                    "Each line of a results file is JSON; `run` cuts off a half-written last one"
                )
                raise ValueError(
                    f"{rule}, but line {number} of {path} is {text[:40]!r}."
                ) from None


def cut(path: Path) -> None:
    """Takes away a last line that a killed process left half written."""
    if path.exists():
        text = path.read_bytes()
        if not text.endswith(b"\n"):
            path.write_bytes(text[: text.rfind(b"\n") + 1])


def append(path: Path, line: Line) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def longest(lines: Iterator[Line]) -> dict[Key, Line]:
    """Per run the line with the largest budget."""
    kept: dict[Key, Line] = {}
    for line in lines:
        found = kept.get(key(line))
        if found is None or found["budget"] < line["budget"]:
            kept[key(line)] = line
    return kept
