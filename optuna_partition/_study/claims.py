"""Who may evaluate which point now: where two workers meet; knows storages, no tree and no rule.

A claim is made on the name of a point and held by a trial. The trials are the truth; what is kept
here is only the lock, and whoever finds a claim asks the trials whether it still holds.

===================  ============================================================================
storage              how one worker wins
===================  ============================================================================
in memory            the process's lock is enough
relational database  a row under a UNIQUE key in a table of the study's own database
any other            a bakery (Lamport 1974) on the trials' attributes: announce, look, confirm
===================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import hashlib
import random
import threading
import time
from typing import Any
from typing import Protocol
from weakref import WeakKeyDictionary

import optuna
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import ProgrammingError


__all__ = ["ANNOUNCED", "CLAIM", "Claimant", "Claims", "claims_on", "mutex"]

ANNOUNCED = "announced"
"""In a trial's attribute: its claim is not confirmed yet."""
CLAIM = "claim"
"""In a trial's attribute, where there is no table: the name of the point it claims."""

_TRIES = 12  # of a statement that met a deadlock, a busy file or a lost connection
_LONGEST_PAUSE = 1.0  # seconds between two of them
_PATIENCE = 2.0  # seconds in which a living worker confirms or withdraws what it announced
_LOOK = 0.005  # seconds between two looks

_logger = optuna.logging.get_logger(f"optuna.{__name__}")

_metadata = sa.MetaData()
_table = sa.Table(
    "partition_claims",
    _metadata,
    sa.Column("study_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("point", sa.String(64), primary_key=True),
    sa.Column("trial", sa.Integer, nullable=False),
)


@dataclass(frozen=True)
class Claimant:
    """A trial that wants a point.

    Args:
        study_id: The study's, in its storage.
        number: The trial's.
        point: Name of the point.
        write: Writes the trial's attribute, with these entries added.
        holds: Whether a trial, by number, still holds the point according to the trials.
    """

    study_id: int
    number: int
    point: str
    write: Callable[[dict[str, Any]], None]
    holds: Callable[[int], bool]


class Claims(Protocol):
    """A way to give each point to one trial."""

    def take(self, claimant: Claimant) -> int | None:
        """Claims a point for a trial and writes the trial's attribute.

        Returns:
            None when the point is the trial's; else the number of the trial that holds it.
        """


_mutexes: WeakKeyDictionary[BaseStorage, threading.RLock] = WeakKeyDictionary()
_mutexes_mutex = threading.Lock()


def _backend(storage: BaseStorage) -> BaseStorage:
    """The storage behind Optuna's cache."""
    backend: BaseStorage = getattr(storage, "_backend", storage)
    return backend


def mutex(storage: BaseStorage) -> threading.RLock:
    """One lock per storage object, for all samplers and threads of this process."""
    with _mutexes_mutex:
        return _mutexes.setdefault(_backend(storage), threading.RLock())


def claims_on(storage: BaseStorage, key: str) -> Claims:
    """The way that fits a storage; `key` is the name of the trials' attribute."""
    backend = _backend(storage)
    if isinstance(backend, InMemoryStorage):
        return _Alone()
    if isinstance(backend, RDBStorage):
        return _Table(backend.engine)
    return _Bakery(storage, key)


def _refused(claimant: Claimant, holder: int) -> int:
    """One line of the log for each, so that they can be counted."""
    _logger.debug(f"Trial {claimant.number} leaves its point to trial {holder}, which holds it.")
    return holder


class _Alone:
    """The caller holds the process's lock, and there is no other process."""

    def take(self, claimant: Claimant) -> int | None:
        claimant.write({})
        return None


class _Table:
    """One short INSERT in a transaction of its own; never held over a call to Optuna's storage.

    A row outlives its trial, and on SQLite even its study, whose id is used again: so a row is
    believed only as far as the trials bear it out, and otherwise handed over by a compare-and-set.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def take(self, claimant: Claimant) -> int | None:
        key = hashlib.sha256(claimant.point.encode()).hexdigest()
        holder = self._holder(claimant, key)
        while holder != claimant.number and not claimant.holds(holder):
            self._hand_over(claimant, key, holder)
            holder = self._holder(claimant, key)
        if holder != claimant.number:
            return _refused(claimant, holder)
        claimant.write({})
        return None

    def _holder(self, claimant: Claimant, key: str) -> int:
        """The trial that holds a point: this one if it is the first to ask."""
        place = {"study_id": claimant.study_id, "point": key}
        held = sa.select(_table.c.trial).filter_by(**place)
        row = sa.insert(_table).values(**place, trial=claimant.number)

        def ask(connection: sa.Connection) -> int:
            found = connection.execute(held).scalar()
            if found is not None:  # most losers need no write
                return int(found)
            connection.execute(row)
            return claimant.number

        try:
            return _patiently(self._engine, ask)
        except IntegrityError:  # another worker was faster
            return self._holder(claimant, key)

    def _hand_over(self, claimant: Claimant, key: str, old: int) -> None:
        """Takes a row over from a trial that holds the point no more, unless another has."""
        row = sa.update(_table).filter_by(study_id=claimant.study_id, point=key, trial=old)
        mine = row.values(trial=claimant.number)
        _patiently(self._engine, lambda connection: connection.execute(mine).rowcount)


def _patiently(engine: sa.Engine, work: Callable[[sa.Connection], int]) -> int:
    """Runs a transaction, again after a deadlock, a busy file, a lost connection or a first start.

    A transaction whose answer was lost may have been done: the work must be right when it is done
    twice.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            with engine.begin() as connection:
                return work(connection)
        except IntegrityError:
            raise
        except (OperationalError, ProgrammingError) as error:
            if attempt == _TRIES:
                raise
            if _is_missing_table(error):
                _make_table(engine)
        except DBAPIError as error:
            if attempt == _TRIES or not error.connection_invalidated:
                raise
        time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.02 * 2**attempt)))
    raise AssertionError("the last attempt returns or raises")


def _is_missing_table(error: DBAPIError) -> bool:
    text = str(error.orig).lower()
    return any(words in text for words in ("no such table", "does not exist", "doesn't exist"))


def _make_table(engine: sa.Engine) -> None:
    try:
        _metadata.create_all(engine)
    except (IntegrityError, OperationalError, ProgrammingError):
        pass  # several workers make it at once, and one of them did


class _Bakery:
    """Announce, look at all others, then confirm or withdraw.

    Of two trials on one point, let b have the higher number. If b looks after a announced, b
    withdraws. If not, a looks after b announced, waits for b's word, and withdraws when b
    confirms. So never do both confirm. The wait is for a look, not for a result; a worker that
    died between two steps is waited for once and then left the point.
    """

    def __init__(self, storage: BaseStorage, key: str) -> None:
        self._storage, self._key = storage, key

    def take(self, claimant: Claimant) -> int | None:
        claimant.write({CLAIM: claimant.point, ANNOUNCED: True})
        deadline = time.monotonic() + _PATIENCE
        while others := self._others(claimant):
            settled = [other for other, announced in others.items() if not announced]
            lower = [other for other in others if other < claimant.number]
            if settled or lower or time.monotonic() > deadline:
                claimant.write({ANNOUNCED: True})
                return _refused(claimant, min(settled or lower or others))
            time.sleep(_LOOK)
        claimant.write({CLAIM: claimant.point})
        return None

    def _others(self, claimant: Claimant) -> dict[int, bool]:
        """Other trials on the point, and whether they have only announced it."""
        claimed = {
            trial.number: trial.system_attrs[self._key]
            for trial in self._storage.get_all_trials(claimant.study_id, deepcopy=False)
            if trial.system_attrs.get(self._key, {}).get(CLAIM) == claimant.point
        }
        return {
            other: bool(attribute.get(ANNOUNCED))
            for other, attribute in claimed.items()
            if other != claimant.number and claimant.holds(other)
        }
