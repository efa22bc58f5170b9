"""Studies of one name in two storages, which would write to the same folders."""

from __future__ import annotations

from pathlib import Path

from commands import bad
from commands import run
import optuna
from trainers import own
from trainers import trials


def test_a_study_in_another_storage_is_refused(tmp_path: Path) -> None:
    file, other = own(tmp_path), f"sqlite:///{tmp_path}/other.db"
    assert run(file, "--trials", "1").returncode == 0
    log = Path(trials(file)[0].user_attrs["log"])
    before = log.stat().st_mtime_ns
    message = bad(file, "--storage", other)
    assert "own has the outputs of a study in its study.db, and this one is in" in message
    assert "give another --output or --study" in message
    assert log.stat().st_mtime_ns == before and not (tmp_path / "other.db").exists()
    assert run(file, "--storage", other, "--study", "b", "--trials", "1").returncode == 0


def test_a_study_that_has_moved_goes_on(tmp_path: Path) -> None:
    file, other = own(tmp_path), f"sqlite:///{tmp_path}/other.db"
    assert run(file, "--trials", "1").returncode == 0
    optuna.copy_study(
        from_study_name="own",
        from_storage=f"sqlite:///{tmp_path}/runs/own/study.db",
        to_storage=other,
    )
    ended = run(file, "--storage", other, "--trials", "2")
    assert ended.returncode == 0 and "1 of 2 trials finished" in ended.stdout
