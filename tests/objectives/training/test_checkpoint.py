"""Checkpoints: a training that was cut off goes on to the bit, and no wrong file is taken for one.

The processes that are killed here are real ones: ranks of gangs, and the command.
"""

from __future__ import annotations

from dataclasses import replace
import hashlib
import io
import itertools
import json
import logging
from pathlib import Path
import resource
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any
from typing import cast

from commands import environment
from commands import load
from commands import one_thread
from commands import ROOT
from commands import run
from commands import written
from experiment_files import studied
from fingerprints import fingerprint
from gangs import experiment as gang_experiment
from gangs import FAULTY
from gangs import PARAMS
import optuna
from optuna.trial import TrialState
import pytest
import torch

from objectives.gang.supervisor import Gang
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.objective import LoraObjective
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings
from objectives.training import checkpoint_files
from objectives.training import loop
from objectives.training.checkpoint import Checkpoint
from objectives.training.checkpoint import fingerprint as base_fingerprint
from objectives.training.checkpoint import made_with
from objectives.training.checkpoint import State
from objectives.training.learner import Learner
from objectives.training.loop import train


__all__ = ["gang_experiment", "one_thread"]  # fixtures

CHOSEN = Hyperparameters(
    learning_rate=5e-3, weight_decay=0.1, rank=4, alpha=8, dropout=0.2, effective_batch=12
)
SETTINGS = TrainingSettings(epochs=2.5, micro_batch=5, warmup=0.3, validations=3)


def checkpoint_of(
    bench: Bench,
    file: Path,
    settings: TrainingSettings = SETTINGS,
    chosen: Hyperparameters = CHOSEN,
) -> Checkpoint:
    return Checkpoint(file, made_with(bench, settings, chosen, base_fingerprint(bench.base)))


def go_through(
    bench: Bench, checkpoint: Checkpoint | None = None, stop: int = 0
) -> dict[str, Any]:
    """All that a training tells, and how many forwards it took; `stop` cuts it off there."""
    reported: list[tuple[int, float]] = []
    forwards = []
    learner = Learner(bench, SETTINGS, CHOSEN)

    def count(module: torch.nn.Module, _: object) -> None:
        forwards.append(module.training)

    hook = bench.base.get_input_embeddings().register_forward_pre_hook(count)
    try:
        for validation in train(learner, checkpoint):
            reported.append((validation.step, validation.loss))
            if len(reported) == stop:
                break
        weights = fingerprint(learner.model)
    finally:
        hook.remove()
        release(bench, bench.base)
    return {
        "losses": learner.losses,
        "tokens": learner.tokens,
        "reported": reported,
        "weights": weights,
        "forwards": sum(forwards),
        "resumed_at": learner.resumed_at,
    }


@pytest.fixture(scope="module")
def whole(tiny_experiment: Experiment) -> dict[str, Any]:
    """The training that nothing interrupts."""
    return go_through(load_bench(tiny_experiment))


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_cut_off_at_any_validation_it_goes_on_to_the_bit(
    bench: Bench, whole: dict[str, Any], tmp_path: Path, stop: int
) -> None:
    """In the middle of an epoch too, with dropout, warm-up and momentum; from a file."""
    checkpoint = checkpoint_of(bench, tmp_path / "new" / "one.checkpoint")
    go_through(bench, checkpoint, stop)
    torch.manual_seed(stop)  # whatever happened in between
    found = go_through(bench, checkpoint)
    done = whole["reported"][stop - 1][0]
    left = 1 - done / len(whole["losses"])
    assert found.pop("resumed_at") == done
    assert found.pop("forwards") == pytest.approx(left * whole["forwards"], abs=0.5)
    assert found == {name: whole[name] for name in found}
    assert list(tmp_path.rglob("*")) == [checkpoint.file.parent, checkpoint.file]


def test_what_is_not_interrupted_is_not_changed_by_its_checkpoints(
    bench: Bench, whole: dict[str, Any], tmp_path: Path
) -> None:
    assert go_through(bench, checkpoint_of(bench, tmp_path / "one.checkpoint")) == whole


def test_cut_off_between_two_validations_it_goes_on_from_there(
    bench: Bench, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training may have no validation in all of the time that it is given."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    checkpoint = checkpoint_of(bench, tmp_path / "one.checkpoint")
    forwards = itertools.count(1)
    per_step = 3  # 12 samples, 5 at a time
    assert whole["reported"][0][0] > 2, "steps before the first validation"

    def cut_off(*_: object) -> None:
        if next(forwards) == 2 * per_step + 1:
            raise KeyboardInterrupt

    with bench.base.get_input_embeddings().register_forward_pre_hook(cut_off):
        with pytest.raises(KeyboardInterrupt):
            go_through(bench, checkpoint)
    later = go_through(bench, checkpoint)
    left = whole["forwards"] - 2 * per_step
    assert later == {**whole, "resumed_at": 2, "forwards": left}


DYING = """
import os, signal, sys
from objectives.training.checkpoint import Checkpoint
save, states = Checkpoint.save, []
def save_and_die(checkpoint, state):
    save(checkpoint, state)
    states.append(state)
    if len(states) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoint.save = save_and_die
"""
RANK = f"""{DYING}
from objectives.gang import rank
from objectives.training import loop
loop.SAVE_SECONDS, loop.LOOK_STEPS = 0.0, 1
rank.main()
"""
COMMAND = f"""{DYING}
from objectives.tune import main
sys.exit(main(sys.argv[1:]))
"""


def test_ranks_write_between_two_validations_together(
    gang_experiment: Experiment, tmp_path: Path
) -> None:
    """The first rank is killed after its second checkpoint; the training has one validation."""
    experiment = studied(gang_experiment, checkpoints="unfinished")
    training = experiment.training.model_copy(update={"validations": 1})
    experiment = experiment.model_copy(update={"training": training})
    study = optuna.create_study()
    for more in ({"command": [sys.executable, "-c", RANK]}, {}, {}):
        study.enqueue_trial(PARAMS)
        with Gang(experiment, ranks=2, **more) as gang:
            study.optimize(LoraObjective(experiment, gang, tmp_path), n_trials=1)
    killed, resumed, clean = study.trials
    assert "was killed by SIGKILL" in killed.user_attrs["failure"]
    assert resumed.user_attrs["resumed_at"] == 2 < resumed.user_attrs["steps"]
    assert "resumed_at" not in clean.user_attrs and resumed.value == clean.value


@pytest.fixture(scope="module")
def saved(loaded: Bench, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    checkpoint = checkpoint_of(loaded, tmp_path_factory.mktemp("saved") / "one.checkpoint")
    go_through(loaded, checkpoint)
    return checkpoint


def refused(checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture) -> str:
    """The one warning about a file that is not used."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load() is None
    (record,) = caplog.records
    assert str(checkpoint.file) in record.message
    assert record.message.endswith("ignored, the training starts from zero")
    return record.message


@pytest.mark.parametrize("place", [0, 31, 32, 200, 5000, -1], ids=str)
def test_one_wrong_byte_is_found(
    saved: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    """`torch.load` takes most of these for good."""
    content = bytearray(saved.file.read_bytes())
    content[place] ^= 1
    file = tmp_path / "damaged"
    file.write_bytes(content)
    assert "is damaged, or no checkpoint" in refused(replace(saved, file=file), caplog)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 1000])
def test_what_is_no_checkpoint_is_not_read(
    saved: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    file = tmp_path / "foreign"
    file.write_bytes(content)
    assert "is damaged, or no checkpoint" in refused(replace(saved, file=file), caplog)
    assert "cannot be read" in refused(replace(saved, file=tmp_path), caplog)


def test_another_training_s_is_refused_by_what_changed(
    bench: Bench, saved: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    file = saved.file
    smaller = SETTINGS.model_copy(update={"micro_batch": 2})
    message = refused(checkpoint_of(bench, file, settings=smaller), caplog)
    assert "is of another training ([training] micro_batch was 5, is 2)" in message
    message = refused(checkpoint_of(bench, file, chosen=replace(CHOSEN, dropout=0.3)), caplog)
    assert "(dropout was 0.2, is 0.3)" in message
    less = replace(bench, corpus=replace(bench.corpus, fingerprint="0" * 16))
    assert "(data was" in refused(checkpoint_of(less, file), caplog)
    weight = next(iter(bench.base.parameters()))
    before = weight.clone()
    weight[0, 0] += 1e-3
    message = refused(checkpoint_of(bench, file), caplog)
    weight.copy_(before)
    assert "(base was" in message
    assert isinstance(checkpoint_of(bench, file).load(), State)


NEWER = (
    *("max_steps", "optimizer", "loraplus_lr_ratio", "neftune_noise_alpha", "init_lora_weights"),
    *("padding_free", "warmup", "schedule", "clip"),
)
"""What checkpoints of 0.1 lack, of `[training]` or of a trial."""


def test_one_older_than_a_setting_goes_on(
    bench: Bench, saved: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = torch.load(io.BytesIO(saved.file.read_bytes()[32:]), weights_only=True)
    fixed = ("[training] warmup", "[training] schedule", "[training] clip")  # there always
    old = {
        k: v
        for k, v in content["made_with"].items()
        if k in fixed or k.removeprefix("[training] ") not in NEWER
    }
    assert len(old) == len(content["made_with"]) - 13
    buffer = io.BytesIO()
    torch.save({**content, "made_with": old}, buffer)
    file = tmp_path / "old"
    file.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    assert isinstance(replace(saved, file=file).load(), State)
    other = SETTINGS.model_copy(update={"optimizer": "sgd"})
    message = refused(checkpoint_of(bench, file, settings=other), caplog)
    assert "([training] optimizer was adamw_torch_fused, is sgd)" in message


def test_its_file_has_the_name_it_had(tmp_path: Path) -> None:
    text = (
        "Hyperparameters(learning_rate=0.005, weight_decay=0.1, rank=4, alpha=8, dropout=0.2, "
        "effective_batch=12, targets=None, rslora=None, dora=None)"
    )
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    chosen = Hyperparameters(0.005, 0.1, 4, 8, 0.2, 12)
    assert Path(checkpoint_files.stem(tmp_path, chosen)).name == name
    sgd = replace(chosen, optimizer="sgd")
    assert Path(checkpoint_files.stem(tmp_path, sgd)).name != name


def test_threads_count_where_they_change_the_bits(bench: Bench) -> None:
    """On a CPU they do. A device is named by its accelerator; nothing is computed on it here."""

    def parts(kind: str) -> dict[str, str]:
        elsewhere = SimpleNamespace(
            device=torch.device(kind), mixed_precision="no", num_processes=1
        )
        return made_with(replace(bench, accelerator=cast(Any, elsewhere)), SETTINGS, CHOSEN, "0")

    assert parts("cpu")["threads"] == str(torch.get_num_threads())
    assert "threads" not in parts("mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_threads_do_not_count_on_cuda(bench: Bench) -> None:
    assert "threads" not in made_with(bench, SETTINGS, CHOSEN, "0")


class _Apples(torch.Tensor):
    """As on Apple's GPU, which is not here: it says so, and has no float64."""

    device = torch.device("mps")

    def sum(self, *_: Any, dtype: torch.dtype | None = None, **__: Any) -> torch.Tensor:
        assert dtype is not torch.float64, "MPS has no float64"
        return super().sum(dtype=dtype)

    def cpu(self, *_: Any, **__: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_a_fingerprint_needs_no_float64_on_the_device() -> None:
    weight = torch.arange(6.0).reshape(2, 3) / 7
    here, there = torch.nn.Module(), torch.nn.Module()
    here.register_buffer("weight", weight)
    there.register_buffer("weight", weight.as_subclass(_Apples))
    assert base_fingerprint(there) == base_fingerprint(here) == "a47196dfc3499ec6"


def test_a_file_that_cannot_be_written_costs_no_trial(
    bench: Bench, whole: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a full disk: the first bytes go through."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        found = go_through(bench, checkpoint_of(bench, tmp_path / "one.checkpoint"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found == whole and list(tmp_path.iterdir()) == []
    assert ["cannot be written (File too large)" in text for text in caplog.messages] == [True] * 3


def test_a_gang_whose_rank_was_killed_goes_on(gang_experiment: Experiment, tmp_path: Path) -> None:
    """In a new process. Two ranks, each with its own random numbers, go on in test_sharded.py."""
    experiment = studied(gang_experiment, checkpoints="unfinished")
    plan = {"rank": 0, "faults": {0: "kill"}}
    faulty = [sys.executable, str(FAULTY), json.dumps(plan)]
    study = optuna.create_study()
    for _ in range(3):
        study.enqueue_trial(PARAMS)
    with Gang(experiment, command=faulty) as gang:
        study.optimize(LoraObjective(experiment, gang, tmp_path), n_trials=3)
    killed, resumed, clean = study.trials
    assert "was killed by SIGKILL" in killed.user_attrs["failure"]
    assert killed.user_attrs["steps"] == resumed.user_attrs["resumed_at"] == 2
    assert "resumed_at" not in clean.user_attrs
    for name in ("validation_losses", "tokens", "steps"):
        assert resumed.user_attrs[name] == clean.user_attrs[name]
    assert resumed.value == clean.value
    assert resumed.intermediate_values == clean.intermediate_values


def test_a_killed_command_goes_on(
    tmp_path: Path, tiny_model_folder: Path, alpaca_file: Path
) -> None:
    """Optuna's retry of the dead worker's trial; and nothing is left at the end of the study."""
    file = written(tmp_path, tiny_model_folder, alpaca_file)
    text = file.read_text().replace('test = ["colours"]', "test = []")
    file.write_text(text.replace("validations = 2", "validations = 8"))
    options = ["--sampler", "random", "--trials", "1", "--output", tmp_path / "runs"]
    dying = [sys.executable, "-c", COMMAND, str(file), *map(str, options)]
    killed = subprocess.run(dying, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    ended = run(file, *options)
    assert ended.returncode == 0, ended.stderr
    clean = run(file, *options, "--study", "clean", "--search-only")
    assert clean.returncode == 0, clean.stderr
    lost, resumed = load(file).trials
    (whole,) = load(file, "clean").trials
    assert lost.state is TrialState.FAIL and lost.params == resumed.params == whole.params
    assert 0 < resumed.user_attrs["resumed_at"] < resumed.user_attrs["steps"]
    assert resumed.value == whole.value
    assert resumed.user_attrs["validation_losses"] == whole.user_attrs["validation_losses"]
    assert not (tmp_path / "runs" / "tiny" / "checkpoints").exists()
