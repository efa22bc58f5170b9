"""Rows of several sources -> records to learn from and to validate on, drawn by seeds."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
import random

from objectives.data.reading.rows import Rows
from objectives.data.records import Record
from objectives.data.records import records_of
from objectives.errors import UserError
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.data import MOST_VALIDATION_ROWS
from objectives.settings.sections.sources import shown
from objectives.settings.sections.sources import Sources
from objectives.settings.sections.sources import sources_of


__all__ = ["Entry", "once", "split"]


@dataclass(frozen=True)
class Entry:
    """A record, how often it is taken, and where it comes from."""

    record: Record
    weight: float
    place: tuple[str, int]  # a source and a row's number


def split(read: Mapping[str, Sequence[Rows]], data: DataSettings) -> dict[str, list[Entry]]:
    """The records of both parts, in an order that only split_seed decides.

    Args:
        read: Rows of "train", and of "validation" where it has sources of its own.
        data: How much of them is taken.

    Raises:
        UserError: There are too few of them.
    """
    train = _shuffled(read["train"], data, data.train)
    if data.validation is not None:
        validation = _repeated(_shuffled(read["validation"], data, data.validation), data)
    else:
        # Before the limits: every limit is validated on the same rows.
        taken = _taken(len(train), data)
        validation, train = train[:taken], train[taken:]
    train = _repeated(train, data)[: data.limit]
    train = train[: max(1, round(data.share * len(train)))]
    return {"train": train, "validation": validation[: data.validation_limit]}


def _taken(rows: int, data: DataSettings) -> int:
    """How many of the training rows are for validation."""
    taken = data.validation_rows or max(1, min(MOST_VALIDATION_ROWS, rows // 5))
    if data.validation_rows is None and rows < 2:
        raise UserError(
            f"[data] train: of {shown(data.train)} there is one row to learn from and none to "
            "validate on; give more rows or a larger weight, or give validation a file"
        )
    if taken >= rows:
        raise UserError(
            f"[data] validation_rows = {taken}: must be less than the {rows} rows of "
            f"{shown(data.train)}; lower it, or give validation a file"
        )
    return taken


def _shuffled(read: Sequence[Rows], data: DataSettings, given: Sources) -> list[Entry]:
    entries = []
    for rows, source in zip(read, sources_of(given), strict=True):
        places = [(rows.source, number) for number in rows.numbers]
        records = zip(records_of(rows, data), places, strict=True)
        entries += _part([Entry(r, source.weight, place) for r, place in records], data)
    random.Random(data.split_seed).shuffle(entries)
    return entries


def _part(entries: list[Entry], data: DataSettings) -> list[Entry]:
    """A random part of the entries of a source whose weight is below 1."""
    weight = entries[0].weight
    if weight >= 1:
        return entries
    return random.Random(data.split_seed).sample(entries, max(1, round(weight * len(entries))))


def _repeated(entries: list[Entry], data: DataSettings) -> list[Entry]:
    """Entries of a weight above 1 more than once: behind the split, so that none is in both."""
    rng = random.Random(data.split_seed)
    more = [
        entry
        for entry in entries
        for _ in range(floor(entry.weight - 1 + rng.random()) if entry.weight > 1 else 0)
    ]
    if not more:
        return entries
    entries = entries + more
    rng.shuffle(entries)
    return entries


def once(entries: Sequence[Entry]) -> list[Record]:
    """Each row's record once, however often its weight takes it."""
    return list({id(entry): entry.record for entry in entries}.values())
