"""A trial over several nodes of a real SLURM, by the script of the documentation."""

from __future__ import annotations

import os
from pathlib import Path
import re
import subprocess
import sys

from commands import environment
from commands import experiment
from commands import load
from commands import one_thread
from commands import ROOT
from commands import values
import pytest

from objectives.gang.rank_process import _free_port


SLURM = "OPTUNA_PARTITION_SLURM"
__all__ = ["experiment", "one_thread"]  # fixtures


@pytest.mark.skipif(not os.environ.get(SLURM), reason=f"no SLURM: set {SLURM} to a partition")
def test_the_script_of_the_documentation_trains_a_trial_on_two_nodes(
    experiment: Path, tmp_path: Path
) -> None:
    script = tmp_path / "job.sh"
    script.write_text(on_this_machine((ROOT / "docs" / "workers.md").read_text(), experiment))
    options = ["--wait", f"--partition={os.environ[SLURM]}", f"--output={tmp_path}/job.log"]
    paths = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    ended = subprocess.run(
        ["sbatch", *options, str(script)],
        cwd=tmp_path,
        env={**environment(), **paths, "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, (tmp_path / "job.log").read_text()
    assert sorted((tmp_path / "nodes").read_text().split()) == ["n1", "n2"]
    assert len(values(load(experiment))) == 2


def on_this_machine(page: str, experiment: Path) -> str:
    """Two nodes without a GPU, each of one rank, both here; two trials and no final test."""
    (script,) = re.findall(r"^```sh\n(#!/bin/bash\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for there, here in (
        ("--gpus-per-node=8", ""),
        ("exec accelerate", 'echo "$SLURMD_NODENAME" >> nodes; exec accelerate'),
        ("--num_processes 16", "--num_processes 2"),
        ("29500", str(_free_port())),
        ("$(hostname)", "127.0.0.1"),
        ("my.toml", str(experiment)),
        ('--storage "$URL" ', ""),
        ("/shared/runs", str(experiment.parent / "runs")),
        ("--trials 50", "--trials 2 --search-only"),
        ("--gpus-per-trial 16", "--gpus-per-trial 2"),
    ):
        assert there in script
        script = script.replace(there, here)
    return script
