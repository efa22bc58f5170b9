"""`--on` and what belongs to it: each mistake is one message with its way out."""

from __future__ import annotations

from pathlib import Path

from experiment_files import write
import pytest

from objectives.errors import UserError
from objectives.settings.engines import EngineSettings
from objectives.settings.plan import Plan
from objectives.settings.read_plan import read_plan


ON = ["--on", "slurm", "--workers", "4", "--storage", "postgresql+psycopg://host/name"]


def plan(folder: Path, *arguments: str) -> Plan:
    return read_plan([str(write(folder)), *arguments], ["bamsoo"], ["none"])


def test_options_of_an_engine(tmp_path: Path) -> None:
    found = plan(tmp_path, *ON, "--slurm", "partition=gpu --gres=gpu:1 comment='a b'", "--detach")
    options = {"partition": "gpu", "gres": "gpu:1", "comment": "a b"}
    assert found.engine == EngineSettings("slurm", options, detach=True, cancel=False)
    own, worker = found.one_process_argv, found.worker_argv
    assert not {"--on", "--slurm", "--detach", "--workers"} & {*own, *worker}
    assert worker == (*own, "--search-only")
    assert plan(tmp_path, "--workers", "4").engine is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on", "slurn"], "--on slurn: must be one of slurm, ray; did you mean slurm?"),
        (["--on", "slurm"], "--on slurm: say how many workers; for example --workers 8"),
        ([*ON, "--workers", "-1"], "--workers -1: must be >= 0"),
        ([*ON, "--search-only"], "--on slurm with --search-only: the command makes the workers"),
        ([*ON[:4]], "give a database that all machines reach"),
        (["--slurm", "time=10"], "--slurm 'time=10': is for workers there; add --on slurm"),
        ([*ON, "--ray", "num_gpus=1"], "--ray with --on slurm: take one of the two"),
        (["--detach"], "--detach: is for workers that outlive the command"),
        (["--workers", "2", "--cancel-on-interrupt"], "--cancel-on-interrupt: is for workers"),
        ([*ON, "--detach", "--cancel-on-interrupt"], "leave one of them out"),
        ([*ON, "--budget", "3h"], "--budget 3h with --on slurm: nobody knows how long"),
        ([*ON, "--slurm", "gpu"], "--slurm gpu: must be name=value; for example --slurm"),
        ([*ON, "--slurm", "partition="], "--slurm partition=: must be name=value"),
        ([*ON, "--slurm", "comment='a"], "give each quotation mark its partner"),
    ],
)
def test_a_mistake_is_one_message(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(tmp_path, *arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)
