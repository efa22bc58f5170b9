"""Which trials in flight are not waited for; from the states and numbers of trials, no clock.

A trial whose worker died where nobody notices it runs for ever. So may one that is slow, and
nothing tells the two apart but how many others come and go meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_partition._study.fold.readings import is_asking


__all__ = ["overdue_of"]

_TIMES = 20
"""How much longer than the others a trial may take, before its cell is gone on with."""


def overdue_of(unended: Sequence[FrozenTrial], n_trials: int) -> frozenset[int]:
    """The running trials after which twenty times as many have begun and ended as are in flight.

    Args:
        unended: All trials that have not ended, by number.
        n_trials: How many there are in all.
    """
    in_flight = [t for t in unended if t.state is TrialState.RUNNING and not is_asking(t)]
    last = len(unended) - 1
    ended_since = {t.number: n_trials - 1 - t.number - (last - i) for i, t in enumerate(unended)}
    most = _TIMES * len(in_flight)
    return frozenset(t.number for t in in_flight if ended_since[t.number] >= most)
