"""Ranks started by Accelerate's launcher: two for "two machines", killed, and started wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import os
from pathlib import Path
import signal
import socket
import sys
from types import SimpleNamespace

from accelerate.utils import DistributedType
from commands import bad
from commands import experiment as experiment_file
from commands import one_thread
from commands import until
import pytest
from rounding import LOSS
import torch

from objectives.errors import UserError
from objectives.gang import launched as launched_ranks
from objectives.gang.launched import launch
from objectives.gang.rank_process import _free_port
from objectives.gang.supervisor import Gang
from objectives.gang.supervisor import GangFailed
from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Trainer
from objectives.job import Validation
from objectives.model.bench import _check_configuration
from objectives.model.bench import load_bench
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner


__all__ = ["experiment_file", "one_thread"]  # fixtures

MACHINES = """
for rank in 0 1; do
  {python} -m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 2 \\
    --machine_rank $rank --main_process_ip 127.0.0.1 --main_process_port {port} \\
    --mixed_precision no --dynamo_backend no "$@" &
done
wait
"""
ONE = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
STRANGER = """
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
host, _, port = sys.argv[-1].rpartition(":")
try:
    Client((host, int(port)), authkey=b"another")
except AuthenticationError:
    pass
"""
SILENT = """
import socket, sys
host, _, port = sys.argv[-1].rpartition(":")
silent = socket.create_connection((host, int(port)))
silent.set_inheritable(True)  # it stays as long as the rank
"""
MARK = "LAUNCHED_BY_TEST"
CHOSEN = Hyperparameters(5e-3, 0.1, 4, 8, 0.2, 12)


@pytest.fixture(scope="module", autouse=True)
def mark() -> Iterator[None]:
    """On all processes that this one starts: others may run the same tests on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(os.getpid()))
        yield


@pytest.fixture(scope="module")
def experiment(tiny_experiment: Experiment) -> Experiment:
    training = TrainingSettings(validations=2, micro_batch=4)
    return tiny_experiment.model_copy(update={"training": training})


@pytest.fixture(scope="module")
def launched(experiment: Experiment) -> Iterator[Gang]:
    script = MACHINES.format(python=sys.executable, port=_free_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        with Gang(experiment, ranks=2, launcher=["sh", "-c", script, "sh"]) as gang:
            yield gang


def job(folder: Path, chosen: Hyperparameters = CHOSEN) -> Job:
    return Job(0, chosen, str(folder / "adapter"), 4, 32)


def value(trainer: Trainer, folder: Path, chosen: Hyperparameters = CHOSEN) -> float:
    outcome = trainer(job(folder, chosen), lambda _: False)
    assert isinstance(outcome, Finished), outcome
    return outcome.value


def ranks() -> list[int]:
    """The processes of all ranks that were launched here: no launcher has a RANK of its own."""
    found, mark = [], f"{MARK}={os.getpid()}".encode()
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes().split(b"\0")
            inherited = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # of no process, or it has ended
            continue
        is_rank = any(each.startswith(b"RANK=") for each in inherited)
        if b"objectives.gang.rank" in line and is_rank and mark in inherited:
            found.append(int(folder.name))
    return found


def test_two_machines_find_what_one_finds(
    experiment: Experiment, launched: Gang, tmp_path: Path
) -> None:
    plain = replace(CHOSEN, dropout=0.0)  # ranks draw other numbers than one process does
    alone = value(Runner(experiment, load_bench(experiment), None), tmp_path / "alone", plain)
    assert value(launched, tmp_path / "first", plain) == pytest.approx(alone, rel=LOSS)


def test_a_rank_that_is_killed_costs_one_trial_and_leaves_nothing(
    launched: Gang, tmp_path: Path
) -> None:
    clean = value(launched, tmp_path / "clean")
    killed = ranks()
    assert value(launched, tmp_path / "again") == clean and ranks() == killed, "warm"
    assert len(killed) == 2

    def kill(_: Validation) -> bool:
        os.kill(killed[-1], signal.SIGKILL)
        return False

    outcome = launched(job(tmp_path / "killed"), kill)
    assert isinstance(outcome, Failed)
    assert "is gone" in outcome.message or "raised" in outcome.message
    until(lambda: not ranks())
    assert value(launched, tmp_path / "next") == clean
    launched.close()
    until(lambda: not ranks())


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a machine without a GPU")
def test_ranks_without_a_gpu_are_told_to_take_the_cpu(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launcher += ["--num_processes", "2", "--main_process_port", str(_free_port())]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    with Gang(experiment, ranks=2, launcher=launcher) as gang:
        with pytest.raises(UserError, match="WORLD_SIZE = 2, and Accelerate counts 1.*USE_CPU"):
            gang.start()


def test_a_launcher_that_does_something_else_is_said(experiment: Experiment) -> None:
    with pytest.raises(UserError, match="no-such-program.*cannot be started.*accelerate launch"):
        launch(["no-such-program"], 2)
    with pytest.raises(UserError, match="--gpus-per-trial 2: the launcher starts 1 rank; make"):
        launch([sys.executable, "-c", ONE], 2)
    with Gang(experiment, ranks=2, launcher=["sh", "-c", "exit 7"]) as gang:
        with pytest.raises(GangFailed, match="ended with status 7 when 0 of 2 ranks were there"):
            gang.start()


@pytest.mark.parametrize("stranger", [STRANGER, SILENT], ids=["another key", "silent"])
def test_a_stranger_is_not_a_rank(stranger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launched_ranks, "_SPEAKING_SECONDS", 3)
    (rank,) = launch([sys.executable, "-c", stranger + ONE], 1)
    assert (rank.number, rank.machine) == (0, socket.gethostname())
    rank.hang_up()
    rank.end()
    assert rank.receive() is None


def test_bad_input_is_one_message(experiment_file: Path) -> None:
    two = ["--gpus-per-trial", "2"]
    assert "is empty" in bad(experiment_file, "--launcher", "", *two)
    assert "say with --gpus-per-trial" in bad(experiment_file, "--launcher", "torchrun")
    message = bad(experiment_file, "--launcher", "torchrun", *two, "--workers", "2")
    assert "--workers 2 would launch 2 times" in message
    message = bad(experiment_file, "--launcher", "no-such-program -v", *two)
    assert "--launcher 'no-such-program -v': cannot be started" in message


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_a_configuration_that_shards_every_trial_is_refused(kind: DistributedType) -> None:
    """Stands in for Accelerate, which ignores such a configuration where there is no GPU."""
    with pytest.raises(UserError, match=rf"configured for {kind.value}.*`\[model\] sharded`"):
        _check_configuration(SimpleNamespace(distributed_type=kind))
