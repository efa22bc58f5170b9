"""The lines about a study that others run, also when its database breaks off."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
import pytest
import sqlalchemy as sa

from objectives.progress import finished
from objectives.progress import Progress


def test_a_look_that_breaks_off_is_made_again(tmp_path: Path) -> None:
    database = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db")
    study = optuna.create_study(storage=database)
    lines: list[str] = []
    progress = Progress(3, "loss", write=lines.append)
    study.tell(study.ask(), 1.0)
    assert progress.look(study) == 1
    study.tell(study.ask(), 0.5)
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE trials RENAME TO gone"))
    with pytest.raises(StorageInternalError):
        finished(study)
    assert progress.look(study) == 1
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO trials"))
    assert progress.look(study) == 2
    assert [line[:28] for line in lines] == [
        f"trial   {number} of 3   loss {value}" for number, value in ((1, "1.0000"), (2, "0.5000"))
    ]
    database.engine.dispose()
