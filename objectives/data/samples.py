"""Token ids -> samples: cut to length, and labelled where they count."""

from __future__ import annotations

import numpy as np

from objectives.data.corpus import Asked
from objectives.data.corpus import IGNORED
from objectives.data.corpus import Preference
from objectives.data.corpus import Sample
from objectives.data.tokens import Tokens
from objectives.errors import UserError
from objectives.settings.sections.data import DataSettings


__all__ = ["asked_in", "preferences_of", "samples_of"]


def _rows_of(tokens: Tokens, data: DataSettings, masks: bool) -> list[Sample | None]:
    """Samples cut to length; None without a label behind the first token, which none predicts."""
    begins = np.concatenate([[0], tokens.ends[:-1]])
    stops = np.minimum(tokens.ends, begins + data.max_length)
    labels = np.where(tokens.answers | (not masks), tokens.ids, IGNORED)
    samples: list[Sample | None] = []
    for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True):
        is_learned = (labels[begin + 1 : stop] != IGNORED).any()
        sample = Sample(tokens.ids[begin:stop], labels[begin:stop]) if is_learned else None
        samples.append(sample)
    return samples


def samples_of(tokens: Tokens, data: DataSettings, masks: bool, part: str) -> tuple[Sample, ...]:
    """The rows of which something that counts is left."""
    rows = _rows_of(tokens, data, masks)
    samples = tuple(sample for sample in rows if sample is not None)
    _check_left(len(samples), len(rows), data, part)
    return samples


def preferences_of(
    tokens: Tokens, data: DataSettings, masks: bool, part: str
) -> tuple[Preference, ...]:
    """Pairs of which something of both answers is left."""
    rows = _rows_of(tokens, data, masks)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    found = tuple(Preference(a, b) for a, b in pairs if a is not None and b is not None)
    _check_left(len(found), len(rows) // 2, data, part)
    return found


def asked_in(tokens: Tokens, data: DataSettings, per_row: int, most: int) -> tuple[Asked, ...]:
    """A few prompts that leave room for an answer, evenly from all rows.

    Args:
        tokens: Of the rows.
        data: A prompt as long as `max_length` is left out.
        per_row: Samples that a row makes; of a preference two, whose first is the better answer.
        most: How many at most.
    """
    begins = np.concatenate([[0], tokens.ends[:-1]])
    spans = list(zip(begins.tolist(), tokens.ends.tolist(), strict=True))[::per_row]
    asked = []
    for begin, stop in spans[:: max(1, len(spans) // most)]:
        ids, is_answer = tokens.ids[begin:stop].tolist(), tokens.answers[begin:stop].tolist()
        first = is_answer.index(True) if True in is_answer else 0
        if 1 < first < data.max_length:  # behind more than a BOS
            end = (is_answer[first:] + [False]).index(False) + first
            asked.append(Asked(tuple(ids[:first]), tuple(ids[first:end])))
    return tuple(asked[:most])


def _check_left(left: int, total: int, data: DataSettings, part: str) -> None:
    if not left:
        raise UserError(
            f"[data] max_length = {data.max_length}: cuts off the whole answer of {total} of "
            f"{total} {part} rows, so none is left; raise it"
        )
