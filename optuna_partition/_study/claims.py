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

A worker behind a proxy sees no row and no lock of those on the database itself. So all of them
write the claim into the trial's attribute, and where anybody announces, all do.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import random
import threading
import time
from typing import Any
from typing import final
from weakref import WeakKeyDictionary

import optuna
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import ProgrammingError

from optuna_partition._study.attributes import ANNOUNCED
from optuna_partition._study.attributes import ANNOUNCES
from optuna_partition._study.attributes import CLAIM
from optuna_partition._study.attributes import claim_of
from optuna_partition._study.optuna import mark_study
from optuna_partition._study.optuna import says
from optuna_partition._study.optuna import storage_of
from optuna_partition._study.optuna import study_id
from optuna_partition._study.optuna import trials_of
from optuna_partition._study.optuna import write


__all__ = ["Claimant", "Claims", "claims_on", "mutex"]

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
        trial: The trial.
        point: Name of the point.
        carried: What the trial's attribute says once the point is the trial's.
        holds: Whether a trial, by number, still holds the point according to the trials.
        taken_by: The other trial that has the point by what the trials say, claim or none.
    """

    trial: FrozenTrial
    point: str
    carried: Mapping[str, Any]
    holds: Callable[[Sequence[FrozenTrial], int], bool]
    taken_by: Callable[[Sequence[FrozenTrial]], int | None]

    @property
    def number(self) -> int:
        """The trial's."""
        return self.trial.number


class Claims(ABC):
    """A way to give each point to one trial.

    Args:
        study: Whose points they are.
        key: Name of the trials' attribute.
    """

    def __init__(self, study: Study, key: str) -> None:
        self._study, self._key = study, key

    @abstractmethod
    def take(self, claimant: Claimant) -> int | None:
        """Claims a point for a trial and writes the trial's attribute.

        Returns:
            None when the point is the trial's; else the number of the trial that holds it.
        """

    def _confirm(self, claimant: Claimant) -> int | None:
        """Confirms a claim that a lock has decided.

        Who announces says so in the study first and looks afterwards. So either it is seen here
        that somebody does, or what is written here is seen there.
        """
        if not says(self._study, ANNOUNCES):
            self._write(claimant, {CLAIM: claimant.point})
            if not says(self._study, ANNOUNCES):
                return None
        return self._announce(claimant)

    def _announce(self, claimant: Claimant) -> int | None:
        """Announces a claim, looks at all others, then confirms or withdraws it.

        Of two trials on one point, let b have the higher number. If b looks after a announced, b
        withdraws. If not, a looks after b announced, waits for b's word, and withdraws when b
        confirms. So never do both confirm. The wait is for a look, not for a result; a worker
        that died between two steps is waited for once and then left the point.
        """
        self._write(claimant, {CLAIM: claimant.point, ANNOUNCED: True})
        deadline = time.monotonic() + _PATIENCE
        while others := self._others(claimant):
            settled = [other for other, is_confirmed in others.items() if is_confirmed]
            lower = [other for other in others if other < claimant.number]
            if settled or lower or time.monotonic() > deadline:
                self._write(claimant, {ANNOUNCED: True})
                return _refused(claimant, min(settled or lower or others))
            time.sleep(_LOOK)
        self._write(claimant, {CLAIM: claimant.point})
        return None

    def _others(self, claimant: Claimant) -> dict[int, bool]:
        """Other trials on the point, and whether they have confirmed that or lie there anyway."""
        trials = trials_of(self._study)
        holder = claimant.taken_by(trials)
        claims = {trial.number: claim_of(trial, self._key) for trial in trials}
        others = {
            other: is_confirmed
            for other, (point, is_confirmed) in claims.items()
            if point == claimant.point
            and other != claimant.number
            and claimant.holds(trials, other)
        }
        return others if holder is None else {**others, holder: True}

    def _write(self, claimant: Claimant, more: Mapping[str, Any]) -> None:
        """Writes the trial's attribute, with these fields added."""
        write(self._study, claimant.trial, self._key, {**claimant.carried, **more})


_mutexes: WeakKeyDictionary[BaseStorage, threading.RLock] = WeakKeyDictionary()
_mutexes_mutex = threading.Lock()


def mutex(study: Study) -> threading.RLock:
    """One lock per storage object, for all samplers and threads of this process."""
    with _mutexes_mutex:
        return _mutexes.setdefault(storage_of(study), threading.RLock())


def claims_on(study: Study, key: str) -> Claims:
    """The way that fits a study's storage; `key` is the name of the trials' attribute."""
    storage = storage_of(study)
    if isinstance(storage, InMemoryStorage):
        return _Alone(study, key)
    if isinstance(storage, RDBStorage):
        return _Table(study, key, storage.engine)
    return _Bakery(study, key)


def _refused(claimant: Claimant, holder: int) -> int:
    """One line of the log for each, so that they can be counted."""
    _logger.debug(f"Trial {claimant.number} leaves its point to trial {holder}, which holds it.")
    return holder


@final
class _Alone(Claims):
    """The caller holds the process's lock, and another process has only a proxy."""

    def take(self, claimant: Claimant) -> int | None:
        return self._confirm(claimant)


@final
class _Table(Claims):
    """One short INSERT in a transaction of its own; never held over a call to Optuna's storage.

    A row outlives its trial, and on SQLite even its study, whose id is used again: so a row is
    believed only as far as the trials bear it out, and otherwise handed over by a compare-and-set.
    """

    def __init__(self, study: Study, key: str, engine: sa.Engine) -> None:
        super().__init__(study, key)
        self._engine, self._study_id = engine, study_id(study)

    def take(self, claimant: Claimant) -> int | None:
        key = hashlib.sha256(claimant.point.encode()).hexdigest()
        holder = self._holder(claimant, key)
        while holder != claimant.number and not self._holds(claimant, holder):
            self._hand_over(claimant, key, holder)
            holder = self._holder(claimant, key)
        if holder != claimant.number:
            return _refused(claimant, holder)
        return self._confirm(claimant)

    def _holds(self, claimant: Claimant, holder: int) -> bool:
        return claimant.holds(trials_of(self._study), holder)

    def _holder(self, claimant: Claimant, key: str) -> int:
        """The trial that holds a point: this one if it is the first to ask."""
        place = {"study_id": self._study_id, "point": key}
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
        row = sa.update(_table).filter_by(study_id=self._study_id, point=key, trial=old)
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


@final
class _Bakery(Claims):
    """There is no lock here, and whoever has one elsewhere is told so first."""

    def take(self, claimant: Claimant) -> int | None:
        if not says(self._study, ANNOUNCES):
            mark_study(self._study, ANNOUNCES)
        return self._announce(claimant)
