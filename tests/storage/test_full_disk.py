"""A full disk below the study: the message names the file and the disk, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from backends import close
from backends import fill
from backends import opened
import optuna
import pytest

import storage


pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def expected(file: Path, disk: Path) -> str:
    return f"{file} cannot be written, for the disk at {disk} is full; make room there"


@pytest.mark.parametrize("leave", [0, 20_000])
@pytest.mark.parametrize("existing", [True, False])
def test_a_database_that_cannot_be_opened(small_disk: Path, existing: bool, leave: int) -> None:
    file = small_disk / "study.db"
    url = f"sqlite:///{file}"
    if existing:
        with opened(url) as backend:
            optuna.create_study(storage=backend)
    fill(small_disk, leave)
    with pytest.raises(storage.StorageError) as caught:
        close(storage.open(url))
    assert expected(file, small_disk) in str(caught.value)
    (small_disk / "filled").unlink()
    with opened(url) as backend:
        assert len(backend.get_all_studies()) == existing


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_study_that_goes_on_when_there_is_room_again(small_disk: Path, kind: str) -> None:
    file = small_disk / "study"
    with opened(f"{kind}:///{file}") as backend:
        study = optuna.create_study(storage=backend)
        fill(small_disk, leave=40_000)
        with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
            for number in range(1000):
                study.set_user_attr(f"{number}", "a" * 500)
        assert storage.broke_off(caught.value)
        reason = storage.reason(caught.value, f"{kind}:///{file}")
        assert reason == expected(file, small_disk)
        before = dict(study.user_attrs)
        (small_disk / "filled").unlink()
        study.set_user_attr("more", "b")
        assert study.user_attrs == {**before, "more": "b"}
