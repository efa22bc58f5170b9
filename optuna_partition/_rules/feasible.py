"""What trials say where some violate constraints or fail: evidence for more models than one.

The value is learnt from all trials that have one, feasible or not. Each constraint that trials
set is learnt from those that set it. Where trials fail, "ends well" is one more constraint: -1
where a trial had a value, 3 where it failed. So a region where trainings die is left after a few
deaths, and nothing is said of the values that they would have had. That 3 is more than 1 puts the
bound nearer to what has ended well: between the two, most of the way is taken to be bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
import math
from typing import TypeAlias

import numpy as np

from optuna_partition._core.axes import Axis
from optuna_partition._core.node import Observation
from optuna_partition._core.node import Reading
from optuna_partition._core.tree import Tree
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import AS_GOOD_AS_INFINITE
from optuna_partition._rules.belief import Evidence
from optuna_partition._rules.belief import MOST_VALUES
from optuna_partition._rules.belief import ranking
from optuna_partition._rules.belief import thinned
from optuna_partition._rules.belief import units


__all__ = ["evidence_of", "told"]

_FEWEST = 2  # values of a constraint that has a model
_ENDED, _DIED = -1.0, 3.0
_SLIGHTEST = 1e-12  # violation: of what is infeasible it is never 0


def evidence_of(tree: Tree) -> Evidence:
    """What a tree knows, for a model of the value and one of each constraint."""
    ended = tree.ended()
    rows = [(o, o.value) for o in ended if o.value is not None]
    is_mixed = any(isinstance(o.reading, Reading) for o, _ in rows)
    about = _About(tree.axes, units(tree.axes, tree.points(Reading.FLYING)))
    constraints = [about.constraint(table) for table in _named(ended) if len(table) >= _FEWEST]
    if endings := _endings(ended):
        constraints.append(replace(about.constraint(endings), is_grave=True))
    apart = _violations([o for o, _ in rows]) if is_mixed else None
    return about.evidence(rows, len(ended), apart, tuple(constraints))


_Table: TypeAlias = Sequence[tuple[Observation, float]]


@dataclass(frozen=True)
class _About:
    """What all evidence of an ask shares: the axes, and where trials run."""

    axes: Sequence[Axis]
    pending: Array

    def evidence(
        self,
        table: _Table,
        n_values: int,
        apart: Array | None = None,
        constraints: tuple[Evidence, ...] = (),
    ) -> Evidence:
        """Rows of a table, thinned out if it is much."""
        y = np.array([value for _, value in table], dtype=np.float64)
        kept = thinned(ranking(y, apart), MOST_VALUES)
        x = units(self.axes, [table[i][0].point for i in kept])
        apart = None if apart is None else apart[kept]
        return Evidence(x, y[kept], self.pending, n_values, apart, constraints)

    def constraint(self, table: _Table) -> Evidence:
        """Of one constraint; what is nearest to its bound matters most."""
        return self.evidence(table, len(table), np.abs([value for _, value in table]))


def told(evidence: Evidence, y: Array) -> tuple[Array, Array, Array | None]:
    """What a function is told that has a model of its own: points, values, constraints.

    Points that failed have the worst value. Constraints are in the order of their names, (n, k),
    and NaN where a trial has not set one; None where no trial has.

    Args:
        evidence: What is known.
        y: The values of its rows, as the function sees them.
    """
    x = evidence.x
    for each in evidence.constraints:
        if each.is_grave:
            died = each.x[each.y > 0]
            x, y = np.concatenate([x, died]), np.concatenate([y, np.full(len(died), y.max())])
    tables = [
        {at.tobytes(): value for at, value in zip(each.x, each.y, strict=True)}
        for each in evidence.constraints
        if not each.is_grave
    ]
    rows = [[table.get(at.tobytes(), math.nan) for table in tables] for at in x]
    return x, y, np.array(rows) if tables else None


def _named(ended: Sequence[Observation]) -> list[_Table]:
    """The values of each constraint, by name, where trials have set it."""
    names = sorted({name for o in ended for name, _ in o.constraints})
    given = [(o, dict(o.constraints)) for o in ended]
    return [[(o, has[name]) for o, has in given if name in has] for name in names]


def _endings(ended: Sequence[Observation]) -> _Table:
    """Whether trials end well; nothing if all do, or none."""
    died = [o.reading is Reading.FAILED for o in ended]
    if all(died) or not any(died):
        return []
    told = [o for o in ended if o.reading is Reading.FAILED or o.value is not None]
    return [(o, _DIED if o.reading is Reading.FAILED else _ENDED) for o in told]


def _violations(rows: Sequence[Observation]) -> Array:
    """How much is violated in all, in deviations of each constraint."""
    found = np.array([_SLIGHTEST if isinstance(o.reading, Reading) else 0.0 for o in rows])
    given = [dict(o.constraints) for o in rows]
    for name in sorted({name for has in given for name in has}):
        values = np.array([has.get(name, -math.inf) for has in given])
        finite = values[np.abs(values) < AS_GOOD_AS_INFINITE]
        spread = float(finite.std()) if len(finite) else 0.0
        found += np.maximum(values, 0) / (spread or 1.0)
    return found
