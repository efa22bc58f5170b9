"""The command as a user runs it: to the end, interrupted, killed, and with bad input."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from pathlib import Path
import shutil
import signal
import sqlite3
import subprocess

from commands import bad
from commands import command
from commands import Ended
from commands import environment
from commands import experiment
from commands import load
from commands import one_thread
from commands import ROOT
from commands import run
from commands import running
from commands import until
from commands import values
from commands import written
from few_tasks import few_of_lm_eval
import optuna
from optuna.trial import TrialState
from peft import PeftModel
import pytest
from transformers import AutoModelForCausalLM

from objectives.result.final import FINAL
from objectives.tune import main


__all__ = ["experiment", "few_of_lm_eval", "one_thread"]  # fixtures


Done = tuple[Path, Ended]


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, alpaca_file: Path
) -> Done:
    """An experiment, and its uninterrupted run as study "tiny"."""
    file = written(tmp_path_factory.mktemp("tune"), tiny_model_folder, alpaca_file)
    return file, run(file)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # peft 0.21, transformers 5
def test_a_study_from_start_to_report(
    done: Done, tiny_model_folder: Path, alpaca_file: Path
) -> None:
    experiment, ended = done
    assert ended.returncode == 0, ended.stderr
    assert "trial   5 of 5" in ended.stdout and "done" in ended.stdout
    assert ended.stdout.count("\nadapters: ") == 1
    folder = experiment.parent / "runs" / "tiny"
    study = load(experiment)
    assert len(values(study)) == 5
    page = (folder / "report" / "report.html").read_text()
    assert "PEFT defaults" in page and (folder / "report" / "partition.png").exists()
    rows = study.user_attrs[FINAL]["rows"]
    assert [r["name"] for r in rows][:2] == ["base", "PEFT defaults"] and len(rows) == 4
    assert len(list((folder / "adapters").glob("0*"))) == 5, "thrice as many as are scored"
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    assert isinstance(PeftModel.from_pretrained(base, folder / "best_adapter"), PeftModel)
    assert f"Trial {study.best_trial.number} of" in (folder / "best_adapter/README.md").read_text()
    assert (folder / "best_adapter" / "tokenizer.json").exists()
    assert str(tiny_model_folder) not in page and str(alpaca_file) not in page


def test_the_end_says_what_was_found_and_what_comes_next(done: Done) -> None:
    experiment, ended = done
    best = load(experiment).best_trial
    test = ended.stdout.index("\nfinal test     on colours: the base, PEFT's defaults")
    assert 0 < test < ended.stdout.index("\nfinal test: base")
    assert (
        f"\nbest           validation loss {best.value:.4f} in trial {best.number}\n"
        in ended.stdout
    )
    folder = experiment.parent / "runs" / "tiny"
    assert f"\nask it         python -m objectives.adapter chat {folder}   (or" in ended.stdout
    assert ended.stdout.endswith("\nmore trials    the same command with --trials 10\n")
    page = (experiment.parent / "runs" / "tiny" / "report" / "report.html").read_text()
    assert "run the same command with --trials 10." in page and "best_adapter/" in page


def test_running_it_again_adds_nothing_and_tests_nothing_again(done: Done) -> None:
    experiment, _ = done
    before = values(load(experiment))
    again = run(experiment)
    assert again.returncode == 0, again.stderr
    assert "5 of 5 trials finished" in again.stdout
    final = load(experiment).user_attrs[FINAL]
    assert f"was already made on {final['date']}: shown, not repeated" in again.stdout
    colours, error = final["rows"][-1]["scores"]["colours"]
    assert f"colours acc {colours:.4f} +- {error:.4f}" in again.stdout
    assert values(load(experiment)) == before


def test_the_folder_of_a_study_is_of_no_other(done: Done) -> None:
    """One of the same name in another storage has trials of the same numbers."""
    experiment, _ = done
    other = experiment.parent / "other.db"
    message = bad(experiment, "--storage", f"sqlite:///{other}")
    assert "tiny has the outputs of a study in its study.db, and this one is in" in message
    assert not other.exists()


def test_a_study_that_was_killed_and_interrupted_continues_as_if_it_had_not_been(
    done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one of many trials; when there are as many as there were, nothing tells them."""
    experiment, _ = done
    options = ("--study", "ended", "--output", experiment.parent / "runs", "--search-only")
    with subprocess.Popen(
        command(experiment, *options, "--trials", "500"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("trial   1"))
        until(lambda: running(experiment, "ended"))
        process.kill()
    killed = len(values(load(experiment, "ended")))  # one, unless this process was slow
    assert 1 <= killed < 500
    report, reports = optuna.Trial.report, itertools.count(1)

    def interrupt(trial: optuna.Trial, value: float, step: int) -> None:
        report(trial, value, step)
        if next(reports) == 5:  # in the third trial, of two reports each
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "report", interrupt)
        ended = run(experiment, *options, "--trials", "500")
    assert ended.returncode == 130 and "the same command continues" in ended.stdout
    assert len(values(load(experiment, "ended"))) == killed + 2
    finished = run(experiment, *options, "--trials", str(max(5, killed + 3)))
    assert finished.returncode == 0, finished.stderr
    assert values(load(experiment, "ended"))[:5] == values(load(experiment))


class Breaking(io.StringIO):
    """Where the command writes; its storage breaks off when the second trial is told."""

    def __init__(self, database: Path) -> None:
        super().__init__()
        self._database = database

    def write(self, text: str) -> int:
        if text.startswith("trial   2"):
            rename(self._database, "trials", "elsewhere")
        return super().write(text)


def rename(database: Path, before: str, after: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute(f"ALTER TABLE {before} RENAME TO {after}")


def test_a_storage_that_breaks_off_is_one_message(experiment: Path) -> None:
    """Trials that were told are there; the command says what happened and what to do."""
    database = experiment.parent / "runs" / "tiny" / "study.db"
    options = ["--output", str(experiment.parent / "runs"), "--trials", "500"]
    said = io.StringIO()
    with contextlib.redirect_stdout(Breaking(database)), contextlib.redirect_stderr(said):
        assert main([str(experiment), *options]) == 1
    (line,) = (line for line in said.getvalue().splitlines() if line.startswith("error:"))
    assert "no such table" in line and "the same command continues" in line
    assert "Traceback" not in said.getvalue()
    rename(database, "elsewhere", "trials")
    finished = run(experiment, "--trials", "3", "--search-only")
    assert finished.returncode == 0, finished.stderr
    assert len(values(load(experiment))) == 3


def untested(experiment: Path) -> Path:
    """The same experiment without a final test."""
    file = experiment.with_name("untested.toml")
    file.write_text(experiment.read_text().replace('test = ["colours"]', "test = []"))
    return file


def test_adapters_that_are_not_here_are_told_of(done: Done) -> None:
    """First the best one's folder is gone: the next is taken. Then all are, and one is named."""
    experiment = untested(done[0])
    assert run(experiment, "--study", "moved", "--trials", "2", "--search-only").returncode == 0
    study = load(experiment, "moved")
    adapters = experiment.parent / "runs" / "moved" / "adapters"
    shutil.rmtree(study.best_trial.user_attrs["adapter"])
    (left,) = adapters.iterdir()
    second = run(experiment, "--study", "moved", "--trials", "2")
    assert second.returncode == 0, second.stderr
    assert f"of trial {int(left.name)}, the best whose adapter is here" in second.stdout
    assert f"Trial {int(left.name)} of" in (adapters.parent / "best_adapter/README.md").read_text()
    shutil.rmtree(adapters)
    ended = run(experiment, "--study", "moved", "--trials", "2")
    assert ended.returncode == 1 and "no trial has a value" not in ended.stdout
    assert f"to be in {study.best_trial.user_attrs['adapter']}" in ended.stdout
    assert "--output" in ended.stdout


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("micro_batch = 8", "mirco_batch = 8", "mirco_batch"),
        ("rank = {low = 2, high = 8, log = true}", "rank = 0", "rank = 0"),
        ("dropout = 0.1", "dropout = 1", "dropout = 1"),
        ("low = 1e-4, high = 1e-1", "low = 1e-1, high = 1e-4", "`low < high`"),
        ('test = ["colours"]', 'test = ["colors"]', "did you mean 'colours'"),
        ("mask_prompt = true", 'mask_prompt = "yes"', "mask_prompt"),
        (
            'tasks = "tasks"',
            'tasks = "tasks"\nobjective = "colours"',
            "must not hold the objective's task",
        ),
    ],
    ids=["misspelt", "rank 0", "dropout 1", "reversed", "no such task", "type", "same task"],
)
@pytest.mark.usefixtures("few_of_lm_eval")
def test_a_mistake_in_the_file_is_one_message(
    experiment: Path, old: str, new: str, expected: str
) -> None:
    text = experiment.read_text()
    assert old in text
    experiment.write_text(text.replace(old, new))
    assert expected in bad(experiment)
    assert not (experiment.parent / "runs" / "tiny").exists(), "nothing half-started"


@pytest.mark.usefixtures("offline")
def test_a_model_that_is_not_there_is_one_message(experiment: Path) -> None:
    text = experiment.read_text().splitlines()
    text[2] = 'name = "nobody/no-such-model"'
    experiment.write_text("\n".join(text))
    message = bad(experiment)
    assert "nobody/no-such-model" in message and "HF_HUB_OFFLINE" in message


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=str)
def test_a_base_that_takes_no_such_adapter_is_refused_before_there_is_anything(
    experiment: Path, options: list[str]
) -> None:
    text = experiment.read_text().replace("[training]", '[training]\ntargets = ["c_attn"]')
    experiment.write_text(text)
    message = bad(experiment, *options)
    assert message.startswith("error: `[training] targets`: the model has no module 'c_attn'")
    assert not (experiment.parent / "runs").exists()


def test_a_launcher_s_copies_are_refused(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`accelerate launch` would start as many searches as a trial is to have processes."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    ended = run(experiment)
    assert ended.returncode == 2 and "--gpus-per-trial 2" in ended.stderr
    assert not (experiment.parent / "runs").exists()


def test_bad_options_are_one_message(experiment: Path) -> None:
    assert "--sampler sooo: must be one of bamsoo, soo" in bad(experiment, "--sampler", "sooo")
    assert "--trials 0: must be >= 1" in bad(experiment, "--trials", "0")
    assert "must be a database URL" in bad(experiment, "--storage", "study.db")
    assert "no folder /no/such" in bad(experiment, "--storage", "sqlite:////no/such/s.db")
    assert "--seed -1: must be >= 0; for example --seed 0" in bad(experiment, "--seed", "-1")
    assert f"--seed {2**32}: must be" in bad(experiment, "--seed", str(2**32))
    assert "--storage '': is empty" in bad(experiment, "--storage", "")
    for name in ("", "../mine", "/mine", ".."):
        assert "must be a name and no path" in bad(experiment, "--study", name)
    assert "--output '': is empty" in bad(experiment, "--output", "")
    (notes := experiment.parent / "notes").write_text("of mine\n")
    assert "file is not a database" in bad(experiment, "--storage", f"sqlite:///{notes}")
    assert "something else than a journal" in bad(experiment, "--storage", f"journal:///{notes}")
    assert notes.read_text() == "of mine\n"
    unreachable = "postgresql://nobody@127.0.0.1:1/none"
    assert "postgres" in bad(experiment, "--storage", unreachable)


def test_another_experiment_is_refused_by_what_changed(done: Done) -> None:
    experiment, _ = done
    other = experiment.with_name("other.toml")
    other.write_text(experiment.read_text().replace("high = 8, log = true", "high = 8"))
    message = bad(other)
    assert "[search] rank: was" in message and "choose another --study" in message
    other.write_text(experiment.read_text().replace("alpha = 8", "alpha = 16"))
    message = bad(other)
    assert "[search] alpha: was 8.0, is 16.0" in message and "choose another --study" in message


def test_a_study_goes_on_with_other_samplers_and_over_other_ranges(done: Done) -> None:
    """Each is told in one line; the report has trials outside the last ranges."""
    experiment = untested(done[0])
    narrow, wide = experiment.with_name("narrow.toml"), experiment.with_name("wide.toml")
    narrow.write_text(experiment.read_text().replace("high = 8, log", "high = 5, log"))
    wide.write_text(experiment.read_text().replace("high = 8, log", "high = 16, log"))

    def told(file: Path, sampler: str, trials: int, *options: str) -> list[str]:
        options = ("--study", "moves", "--sampler", sampler, "--trials", str(trials), *options)
        ended = run(file, *options)
        assert ended.returncode == 0, ended.stderr
        return [line for line in ended.stdout.splitlines() if "where they lie" in line]

    assert told(experiment, "soo", 2, "--search-only") == []
    (line,) = told(experiment, "direct", 3, "--search-only")
    assert line.startswith("study moves: 2 of 2 trials were asked for by `soo`; earlier trials")
    for file, high, trials in ((wide, 16, 4), (narrow, 5, 5)):
        (line,) = told(file, "direct", trials, "--search-only")
        assert "[search] rank: was 2 to" in line and f"is 2 to {high} on a log scale" in line
    assert told(narrow, "tpe", 6, "--search-only") == []
    assert told(narrow, "gp", 7) == []
    study = load(experiment, "moves")
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert len({str(trial.params) for trial in study.trials}) == 7


def test_data_that_has_changed_under_its_name_is_refused(
    experiment: Path, alpaca_file: Path
) -> None:
    rows = experiment.parent / alpaca_file.name
    shutil.copy(alpaca_file, rows)
    experiment.write_text(experiment.read_text().replace(str(alpaca_file), str(rows)))
    assert run(experiment, "--trials", "1", "--search-only").returncode == 0
    text = rows.read_text()
    rows.write_text(text.replace("river", "brook"))
    assert "its trials learned from other samples" in bad(experiment, "--trials", "2")
    rows.write_text(text)
    assert run(experiment, "--trials", "2", "--search-only").returncode == 0


def test_a_pruner_has_nothing_to_go_by_where_a_task_decides(experiment: Path) -> None:
    text = experiment.read_text().replace('test = ["colours"]', 'objective = "colours"')
    experiment.write_text(text)
    message = bad(experiment, "--pruner", "median")
    assert "--pruner median: goes by the validation loss, and the objective is colours" in message
