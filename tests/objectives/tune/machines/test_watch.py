"""What a search by workers shows, and when: on a terminal, in a log, in the note."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backends import opened
import optuna
import pytest

from objectives.tune.machines import watch
from objectives.tune.machines.watch import Watch
import storage


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        study = optuna.create_study(storage=backend)
        study.optimize(objective, n_trials=2)
        yield study


def objective(trial: optuna.Trial) -> float:
    storage.mark_worker(trial)
    return trial.suggest_float("x", 0, 1)


def notes(study: optuna.Study) -> int:
    return len(study._storage.get_study_system_attrs(study._study_id))


def test_a_log_has_a_line_when_it_is_time_and_none_before(
    study: optuna.Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watch(study) as seen:
        for _ in range(50):
            seen.look()
        seen.say("trial 1")
        assert capsys.readouterr().out == "trial 1\n"
    monkeypatch.setattr(watch, "LOG_SECONDS", 0.0)
    with Watch(study) as seen:
        seen.look()
    assert capsys.readouterr().out == "workers        none running, 0.00 hours so far\n"


def test_a_study_is_not_read_before_something_is_due(study: optuna.Study) -> None:
    """It is looked at several times a second."""
    seen = Watch(study)
    seen.look()
    assert notes(study) == 2
    optuna.delete_study(study_name=study.study_name, storage=study._storage)
    for _ in range(50):
        seen.look()
    with pytest.raises(KeyError):
        Watch(study).look()


def test_the_note_says_how_it_ended_unless_it_broke_off(study: optuna.Study) -> None:
    with pytest.raises(ArithmeticError), Watch(study):
        raise ArithmeticError
    assert notes(study) == 0
    with Watch(study):
        pass
    assert notes(study) == 2


def test_as_a_callback_it_writes_the_note_after_a_trial(study: optuna.Study) -> None:
    study.optimize(objective, n_trials=1, callbacks=[Watch(study)])
    assert notes(study) == 2
