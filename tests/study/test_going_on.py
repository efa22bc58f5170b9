"""Studies that an earlier version wrote go on as they would have with it, point by point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
import gzip
import json
import math
import sqlite3
from typing import Any

from data.make_studies import fate_of
from data.make_studies import go_on
from data.make_studies import HERE
from data.make_studies import KINDS
from data.make_studies import NAME
from data.make_studies import next_points
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
import pytest

from optuna_partition._study.attributes import Ask


NEXT: dict[str, list[dict[str, Any]]] = json.loads((HERE / f"{NAME}.json").read_text())["next"]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RDBStorage]:
    """The studies as they were kept, all in one database; a test goes on with one of them."""
    file = tmp_path_factory.mktemp("going on") / "studies.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(gzip.decompress((HERE / f"{NAME}.sql.gz").read_bytes()).decode())
    backend = RDBStorage(f"sqlite:///{file}")
    yield backend
    backend.remove_session()
    backend.engine.dispose()


@pytest.mark.parametrize("name", NEXT)
def test_a_study_goes_on_with_the_points_of_the_version_that_began_it(
    storage: RDBStorage, name: str
) -> None:
    study = go_on(storage, name)
    for found, expected in zip(next_points(study), NEXT[name], strict=True):
        assert found.keys() == expected.keys()
        assert all(is_same(found[key], expected[key]) for key in expected), (found, expected)
    if KINDS[name].n_sure is not None:  # a model's floats differ by processor, and so its points
        free = [n for n in range(KINDS[name].n_trials) if fate_of(n) in ("lost", "died")]
        free += [t.number for t in study.trials if is_repeat(t)]
        points = [t.params for t in study.trials if t.number not in free]
        assert len(points) >= KINDS[name].n_next
        assert all(points.count(point) == 1 for point in points)


def is_repeat(trial: FrozenTrial) -> bool:
    ask = Ask.of(trial)
    return ask is not None and ask.repeat > 0


def is_same(found: Any, expected: Any) -> bool:
    """Whether two values of a parameter are one; an `exp` may be another library's."""
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-12)
    return bool(found == expected)
