"""`--budget` as a user gives it: to the end of it, in the middle of a trial, with workers."""

from __future__ import annotations

from pathlib import Path
import time

from commands import bad
from commands import experiment
from commands import load
from commands import one_thread
from commands import run
import optuna
import pytest

from objectives.result.final import BASE_EXAM
from objectives.result.final import FINAL
from objectives.tune.limits import Limits


__all__ = ["experiment", "one_thread"]  # fixtures

SECONDS = 4.0  # from the begin of a trial on, whose first validation is there in a tenth of one


@pytest.fixture
def untested(experiment: Path) -> Path:
    """Without a final test."""
    experiment.write_text(experiment.read_text().replace('test = ["colours"]', "test = []"))
    return experiment


def states(file: Path) -> list[str]:
    return [trial.state.name for trial in load(file).trials]


def test_trainings_end_it_instead_of_the_file_s_trials(experiment: Path) -> None:
    ended = run(experiment, "--budget", "3 trainings", "--search-only")
    assert ended.returncode == 0 and states(experiment) == ["COMPLETE"] * 3
    assert "trial   1   number 0" in ended.stdout and "1 of 3 trainings left\n" in ended.stdout
    assert "search ended   0 of 3 trainings left, and the next trial may take 1\n" in ended.stdout
    assert run(experiment, "--budget", "3trainings", "--search-only").returncode == 0
    assert len(load(experiment).trials) == 3, "those of earlier runs count"


def test_a_time_ends_it_with_the_final_test_and_what_trials_took_before(experiment: Path) -> None:
    ended = run(experiment, "--budget", "10m", "--trials", "2")
    assert ended.returncode == 0 and states(experiment) == ["COMPLETE"] * 2
    assert (
        "search ended   2 trials are finished; " in ended.stdout
        and " left of 10m\n" in ended.stdout
    )
    study = load(experiment)
    rows = study.user_attrs[FINAL]["rows"]
    assert [row["name"] for row in rows][:2] == ["base", "PEFT defaults"] and len(rows) == 4
    assert rows[0] == study.user_attrs[BASE_EXAM]["row"], "made before the search, and not again"
    assert 0 < study.user_attrs[BASE_EXAM]["seconds"] < 600


def cut_off(patch: pytest.MonkeyPatch, trials: int) -> None:
    """So many trials begin, and wait at their first validation until their time is up."""
    report = optuna.Trial.report

    def wanted(self: Limits, done: object) -> int:
        return 0 if any(trial.state.is_finished() for trial in self._study.trials) else trials

    def wait(trial: optuna.Trial, value: float, step: int) -> None:
        report(trial, value, step)
        if step == 1:
            time.sleep(600)

    patch.setattr(Limits, "end", lambda self: time.time() + SECONDS)
    patch.setattr(Limits, "wanted", wanted)
    patch.setattr(optuna.Trial, "report", wait)


START = "[study]\nstart = [{learning_rate = 2e-3, rank = 4}]"


@pytest.mark.parametrize("start", ["[study]", START])
def test_a_trial_that_runs_over_is_cut_off_and_goes_on_in_the_next_run(
    untested: Path, start: str
) -> None:
    """Its checkpoint outlives the report, whoever asked for its point."""
    untested.write_text(untested.read_text().replace("[study]", start))
    checkpoints = untested.parent / "runs" / "tiny" / "checkpoints"
    with pytest.MonkeyPatch.context() as patch:
        cut_off(patch, 1)
        ended = run(untested, "--budget", "1h")
        assert ended.returncode == 1 and "search ended   " in ended.stdout
        assert states(untested)[0] == "FAIL" and "no trial has a value" in ended.stdout
        assert list(checkpoints.iterdir())
        if start == START:
            run(untested)
            assert list(checkpoints.iterdir()), "what waits will go on from it"
    ended = run(untested, "--trials", "1", "--search-only")
    assert states(untested) == ["FAIL", "COMPLETE"]
    first, second = load(untested).trials
    assert first.params == second.params and second.user_attrs["resumed_at"] > 0


def test_what_others_train_while_a_report_is_made_keeps_its_checkpoint(untested: Path) -> None:
    """As workers do that more trials have brought."""
    run(untested, "--trials", "1")
    (checkpoints := untested.parent / "runs" / "tiny" / "checkpoints").mkdir(exist_ok=True)
    (kept := checkpoints / "theirs.pt").touch()
    trial = (study := load(untested)).ask()
    run(untested, "--trials", "1")
    assert kept.exists()
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    run(untested, "--trials", "1")
    assert not kept.exists(), "nobody goes on from it"


@pytest.mark.parametrize("more", [("--gpus-per-trial", "1"), ("--pack", "2")])
def test_trials_of_gangs_and_packs_are_cut_off(
    untested: Path, more: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(monkeypatch, int(more[1]))
    ended = run(untested, "--budget", "1h", "--search-only", *more)
    assert ended.returncode == 0 and "search ended   " in ended.stdout and ended.stderr == ""
    assert states(untested) == ["FAIL"] * int(more[1])


def test_bad_budgets_are_one_message(experiment: Path) -> None:
    assert "--budget soon: must be a time, or a number" in bad(experiment, "--budget", "soon")
    text = experiment.read_text().replace("trials = 5", 'budget = "3 hours"')
    experiment.write_text(text)
    message = bad(experiment)
    assert '[study] budget = "3 hours": must be a time, or a number of trainings' in message
