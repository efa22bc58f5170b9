"""The lines about a study that others run, also when its database breaks off."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
import pytest
import sqlalchemy as sa

from objectives.tune.progress import Progress
from objectives.tune.progress import told


class Break:
    """Lets some statements of a database pass and fails those after them."""

    def __init__(self, engine: sa.Engine) -> None:
        self.passing: int | None = None
        sa.event.listen(engine, "before_cursor_execute", self)

    def __call__(self, _: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if self.passing == 0:
            raise sa.exc.OperationalError(statement, None, Exception("server closed"))
        if self.passing is not None:
            self.passing -= 1


def test_a_look_that_breaks_off_anywhere_is_made_again(tmp_path: Path) -> None:
    database = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    cut = Break(database.engine)
    study = optuna.create_study(storage=database)
    lines: list[str] = []
    progress = Progress(3, "loss", write=lines.append)
    study.tell(study.ask(), 1.0)
    assert progress.look(study) == 1
    study.tell(study.ask(), 0.5)
    for passing in itertools.count():
        cut.passing = passing
        try:
            now = progress.look(study)
        except StorageInternalError:
            assert len(lines) == 1
        else:
            break
    assert passing > 2 and now == 2
    assert lines[0].startswith("trial   1 of 3   number 0: loss 1.0000 (")
    assert lines[1].startswith("trial   2 of 3   number 1: loss 0.5000 (")
    assert "best 0.5000 (number 1)" in lines[1]
    database.engine.dispose()


def test_a_look_at_nothing_new_writes_nothing() -> None:
    lines: list[str] = []
    study = optuna.create_study()
    progress = Progress(3, "loss", write=lines.append)
    assert progress.look(study) == progress.look(study) == 0 and not lines


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.2346"),
        (-0.98, "-0.9800"),
        (0.0, "0.0000"),
        (0.0123456, "0.012346"),
        (3.04e-7, "3.04e-7"),
        (-2.5e9, "-2.5e9"),
        (float("inf"), "inf"),
    ],
)
def test_a_value_keeps_its_digits(value: float, text: str) -> None:
    """Also where four decimals have none of them."""
    lines: list[str] = []
    study = optuna.create_study()
    study.tell(study.ask(), value)
    Progress(3, "loss", write=lines.append).look(study)
    assert told(value) == text
    assert f"loss {text} (" in lines[0] and f"best {text} (number 0)" in lines[0]
