"""TRL's command line on the stand-in: a study, a trial that is pruned, a worker that is killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any

from commands import command
from commands import environment
from commands import ROOT
from commands import run
from commands import until
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from trainers import study
from trainers import trials
import yaml


EXAMPLE = ROOT / "examples" / "own" / "trl"
STEPS = 4


@pytest.fixture(autouse=True)
def activated(monkeypatch: pytest.MonkeyPatch) -> None:
    activate(monkeypatch)


def activate(patch: pytest.MonkeyPatch) -> None:
    """As the environment that TRL is in."""
    for name, value in environment().items():
        patch.setenv(name, value)
    patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def example(folder: Path, *, steps: int = STEPS, **changes: str) -> Path:
    """That of the repository with few steps, and a validation after each; keys of `[command]`."""
    base = yaml.safe_load((EXAMPLE / "base.yml").read_text())
    base |= {"model_name_or_path": str(ROOT / "examples/standin/model"), "max_steps": steps}
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


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials, the first of them the baseline."""
    folder = tmp_path_factory.mktemp("trl")
    with pytest.MonkeyPatch.context() as patch:
        activate(patch)
        file = example(folder, pruner='"none"')
        ended = run(file, "--trials", "2")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "baseline       " in ended.stdout and "best command   " in ended.stdout
    return file


def test_the_value_is_the_last_of_trl_s_validation_losses(done: Path) -> None:
    assert len(trials(done)) == 2 and study(done).best_value < 3.5, "it has learned something"
    for trial in trials(done):
        state = json.loads((output(trial) / "checkpoint-4" / "trainer_state.json").read_text())
        losses = [log["eval_loss"] for log in state["log_history"] if "eval_loss" in log]
        assert len(losses) == STEPS and trial.value == losses[-1]
        best = [min(losses[:end]) for end in range(1, STEPS + 1)]
        assert list(trial.intermediate_values.values()) == best
        assert (trial.user_attrs["steps"], trial.user_attrs["steps_in_all"]) == (STEPS, STEPS)


def output(trial: FrozenTrial) -> Path:
    return Path(trial.user_attrs["output"])


def test_the_adapter_is_of_the_parameters(done: Path) -> None:
    for trial in trials(done):
        adapter = json.loads((output(trial) / "adapter_config.json").read_text())
        assert adapter["r"] == trial.params["lora_r"]
        assert adapter["lora_alpha"] == trial.params["lora_alpha"]
    assert trials(done)[0].params == {"learning_rate": 1e-3, "lora_r": 8, "lora_alpha": 16}


def test_the_report_has_their_curves(done: Path) -> None:
    page = (done.parent / "runs/own/report/report.html").read_text()
    assert "Learning curves" in page and "eval_loss" in page


def test_a_trial_that_learns_nothing_is_pruned(tmp_path: Path) -> None:
    """Both reach a first loss; the second is the worse one, at a learning rate of 5e-7."""
    file = example(
        tmp_path,
        steps=40,
        learning_rate="{low = 1e-10, high = 3e-3, log = true}",
        baseline="{learning_rate = 3e-3}",
        pruner='"asha"',
    )
    ended = run(file, "--trials", "2", "--search-only")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    first, second = trials(file)
    assert first.state is TrialState.COMPLETE and second.state is TrialState.PRUNED
    log = Path(second.user_attrs["log"]).read_text()
    assert "eval_loss" in log and "Training completed" not in log
    assert second.user_attrs["steps"] < second.user_attrs["steps_in_all"] == 40
    assert not processes(tmp_path), "its processors are free"


def processes(folder: Path) -> list[str]:
    """Command lines of what still runs for it."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(each.read_text().replace("\0", " "))
        except OSError:  # it has ended
            continue
    return [line for line in found if str(folder) in line]


def test_a_worker_that_is_killed_leaves_no_trainer_and_is_gone_on_from(
    tmp_path: Path, done: Path
) -> None:
    """The value is what TRL prints this time, to its four digits."""
    value = """{pattern = "'eval_loss': '?([0-9.e+-]+)"}"""
    file = example(tmp_path, pruner='"none"', value=value)
    options: list[Any] = ["--output", tmp_path / "runs", "--trials", "1"]
    with subprocess.Popen(command(file, *options), cwd=ROOT, stdout=subprocess.DEVNULL) as worker:
        until(
            lambda: any(
                "/trials/" in each and "guard.py" not in each for each in processes(tmp_path)
            )
        )
        worker.kill()
    until(lambda: not processes(tmp_path))
    assert "Training completed" not in logs(tmp_path)[0].read_text()
    ended = run(file, "--trials", "1")
    assert ended.returncode == 0 and "was left by a process that is gone" in ended.stdout
    complete = [trial for trial in trials(file) if trial.state is TrialState.COMPLETE]
    before = trials(done)[:1]
    assert [trial.params for trial in complete] == [trial.params for trial in before]
    expected = [trial.value for trial in before]
    assert [trial.value for trial in complete] == pytest.approx(expected, rel=1e-3)


def logs(folder: Path) -> list[Path]:
    return list(folder.glob("runs/own/trials/*/log.txt"))
