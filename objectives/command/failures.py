"""Why a trial of a trainer has failed, in a line; and whether all of them fail alike."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import re
import signal

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from objectives.record import FAILURE


__all__ = ["FAULT", "KILLED", "alike", "fault_of", "how_it_ended", "out_of_memory"]

FAULT = "fault"
"""User attribute: a failure that need not be the hyperparameters', as others would have it too."""
ALIKE = 3  # first trials with one fault are the command's
LONGEST = 300  # characters of a line in a message
BY_SIGNAL = 128  # see guard.py
KILLED = BY_SIGNAL + signal.SIGKILL  # the system does so where memory runs out
_MEMORY = re.compile(
    "out of memory|OutOfMemoryError|MemoryError|(?:cannot|unable to) allocate|std::bad_alloc",
    re.IGNORECASE,
)
_ERROR = re.compile(
    r"^[ \t]*(?:\[\w+\]:\s*)?[\w.]*(?:Error|Exception)\b.*|^.*\berror: .*", re.MULTILINE
)
_OF_LAUNCHER = re.compile("CalledProcessError|ChildFailedError")  # accelerate's, torchrun's
_COLOURS = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d[\d.]*(?:e[-+]?\d+)?")
_CLEANING_UP = re.compile(r"^Exception ignored in", re.MULTILINE)  # Python, after the end


def out_of_memory(said: str) -> str | None:
    """The line that says so: an error, or one that no other error follows."""
    lines = _lines(said)
    errors = [i for i, line in enumerate(lines) if _is_error(line)]
    last = max(errors, default=0)
    found = [i for i, line in enumerate(lines) if _MEMORY.search(line)]
    told = [lines[i] for i in found if i in errors or i >= last]
    return told[-1] if told else None


def _is_error(line: str) -> bool:
    return bool(_ERROR.search(line)) and not _OF_LAUNCHER.search(line)


def how_it_ended(status: int, said: str) -> str:
    """For a trainer that did not end well."""
    errors = _errors(_CLEANING_UP.split(_plain(said), maxsplit=1)[0]) or _errors(_plain(said))
    own = [error for error in errors if not _OF_LAUNCHER.search(error)]
    lines = own or errors or _lines(said)
    words = f": {lines[-1]}" if lines else ", and said nothing"
    if status <= BY_SIGNAL:
        return f"exited {status}{words}"
    try:
        name = signal.Signals(status - BY_SIGNAL).name
    except ValueError:
        return f"exited {status}{words}"
    hint = " (the system does so where memory runs out)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}{words}"


def _errors(plain: str) -> list[str]:
    return [found.strip()[:LONGEST] for found in _ERROR.findall(plain)]


def fault_of(failure: str, space: Mapping[str, BaseDistribution]) -> str:
    """The failure without what differs between trials: numbers, and all choices of a parameter."""
    categories = [d for d in space.values() if isinstance(d, CategoricalDistribution)]
    choices = {re.escape(str(choice)) for each in categories for choice in each.choices}
    words = rf"(?<!\w)(?:{'|'.join(sorted(choices, key=len, reverse=True))})(?!\w)"
    return _NUMBER.sub("#", re.sub(words, "#", failure) if choices else failure)


def alike(done: Sequence[FrozenTrial]) -> str | None:
    """The failure that all trials of a study have, several at least; None where there is none.

    Args:
        done: The finished trials, of all workers.
    """
    faults = {trial.user_attrs.get(FAULT) for trial in done}
    if len(done) < ALIKE or len(faults) > 1 or None in faults:
        return None
    return str(done[-1].user_attrs[FAILURE])


def _plain(said: str) -> str:
    return _COLOURS.sub("", said).replace("\r", "\n")


def _lines(said: str) -> list[str]:
    """Those with a word in them."""
    lines = (line.strip() for line in _plain(said).splitlines())
    return [line[:LONGEST] for line in lines if re.search(r"\w", line)]
