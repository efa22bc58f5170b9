"""TRL's command line on the stand-in: a worker that is killed, a study, a trial that is pruned."""

from __future__ import annotations

from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any

from commands import command
from commands import Ended
from commands import environment
from commands import ROOT
from commands import run
from commands import until
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from trainers import trials
import yaml

from objectives.command.readings import reader
from objectives.settings.own.value import PrintedValue


EXAMPLE = ROOT / "examples" / "own" / "trl"
STEPS = 10
BASELINE = {"learning_rate": 3e-3, "lora_r": 4, "lora_alpha": 16}
"""The last is left to base.yml, whose first two are others."""


def activate(patch: pytest.MonkeyPatch) -> None:
    """As the environment that TRL is in."""
    for name, value in environment().items():
        patch.setenv(name, value)
    patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def example(folder: Path, **changes: str) -> Path:
    """That of the repository with few steps, and a validation after each; keys of the file."""
    base = yaml.safe_load((EXAMPLE / "base.yml").read_text())
    base |= {"model_name_or_path": str(ROOT / "examples/standin/model"), "max_steps": STEPS}
    base |= {"per_device_train_batch_size": 4, "eval_steps": 1, "save_steps": 1}
    (folder / "base.yml").write_text(yaml.safe_dump(base))
    shutil.copytree(EXAMPLE / "data", folder / "data")
    rows = (EXAMPLE / "data" / "test.jsonl").read_text().splitlines(keepends=True)
    (folder / "data" / "test.jsonl").write_text("".join(rows[:16]))
    text = (EXAMPLE / "trl.toml").read_text().replace('name = "trl"', 'sampler = "soo"')
    for old, new in changes.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"{old} = "))
        text = text.replace(line, f"{old} = {new}")
    file = folder / "own.toml"
    file.write_text(text)
    return file


@dataclass(frozen=True)
class Done:
    """A study of two trials whose first was begun by a worker that was killed.

    Attributes:
        file: The experiment.
        ended: The command that went on with it.
        lost: What the trainer had said that the first one left.
        left: What still ran in the end.
    """

    file: Path
    ended: Ended
    lost: str
    left: list[str]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The first trial is the baseline, and the second at a learning rate of 5e-7."""
    folder = tmp_path_factory.mktemp("trl")
    file = example(
        folder,
        learning_rate="{low = 1e-10, high = 3e-3, log = true}",
        baseline="{learning_rate = 3e-3, lora_r = 4}",
        pruner='"asha"',
    )
    options: list[Any] = ["--output", folder / "runs", "--trials", "2"]
    with pytest.MonkeyPatch.context() as patch:
        activate(patch)
        with subprocess.Popen(
            command(file, *options), cwd=ROOT, stdout=subprocess.DEVNULL
        ) as worker:
            until(
                lambda: any(
                    "/trials/" in each and "guard.py" not in each for each in processes(folder)
                )
            )
            worker.kill()
        until(lambda: not processes(folder))
        (log,) = folder.glob("runs/own/trials/*/log.txt")
        lost = log.read_text()
        ended = run(file, "--trials", "2")
    return Done(file, ended, lost, processes(folder))


def complete(done: Done) -> FrozenTrial:
    """The one that has a value."""
    (found,) = [each for each in trials(done.file) if each.state is TrialState.COMPLETE]
    return found


def test_a_worker_that_is_killed_leaves_no_trainer_and_is_gone_on_from(done: Done) -> None:
    assert "Training completed" not in done.lost
    assert done.ended.returncode == 0, done.ended.stdout + done.ended.stderr
    assert "trial 0 was left by a process that is gone" in done.ended.stdout
    states = [trial.state for trial in trials(done.file)]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.PRUNED]
    lost, again, _ = trials(done.file)
    assert lost.params == again.params == BASELINE


def test_the_value_is_the_last_of_trl_s_validation_losses(done: Done) -> None:
    trial = complete(done)
    assert trial.value is not None and trial.value < 3.5, "it has learned something"
    state = json.loads((output(trial) / f"checkpoint-{STEPS}/trainer_state.json").read_text())
    losses = [log["eval_loss"] for log in state["log_history"] if "eval_loss" in log]
    assert len(losses) == STEPS and trial.value == losses[-1]
    best = [min(losses[:end]) for end in range(1, STEPS + 1)]
    assert list(trial.intermediate_values.values()) == best
    assert (trial.user_attrs["steps"], trial.user_attrs["steps_in_all"]) == (STEPS, STEPS)


def test_what_trl_prints_is_its_loss_too(done: Done) -> None:
    """To its four digits."""
    trial = complete(done)
    printed = PrintedValue.model_validate({"pattern": r"'eval_loss': '?([0-9.e+-]+)"})
    found = reader(printed, output(trial), Path(trial.user_attrs["log"])).new(ended=True)
    assert len(found) == STEPS and found[-1].value == pytest.approx(trial.value, rel=1e-3)


def output(trial: FrozenTrial) -> Path:
    return Path(trial.user_attrs["output"])


def test_the_adapter_is_of_the_parameters(done: Done) -> None:
    trial = complete(done)
    adapter = json.loads((output(trial) / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (4, 16)
    assert trial.params == BASELINE


def test_the_baseline_is_told_and_the_report_has_the_curves(done: Done) -> None:
    assert "baseline       " in done.ended.stdout and "best command   " in done.ended.stdout
    page = (done.file.parent / "runs/own/report/report.html").read_text()
    assert "Learning curves" in page and "eval_loss" in page


def test_a_trial_that_learns_nothing_is_pruned(done: Done) -> None:
    """Both reach a first loss; the second is the worse one."""
    pruned = trials(done.file)[-1]
    log = Path(pruned.user_attrs["log"]).read_text()
    assert "eval_loss" in log and "Training completed" not in log
    assert pruned.user_attrs["steps"] < pruned.user_attrs["steps_in_all"] == STEPS
    assert not done.left, "its processors are free"


def processes(folder: Path) -> list[str]:
    """Command lines of what still runs for it."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(each.read_text().replace("\0", " "))
        except OSError:  # it has ended
            continue
    return [line for line in found if str(folder) in line]
