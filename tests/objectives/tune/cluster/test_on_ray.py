"""`--on ray` by the command; what its actors do is shown in tests/storage."""

from __future__ import annotations

from pathlib import Path

from commands import bad
from commands import experiment
from commands import one_thread
import pytest


__all__ = ["experiment", "one_thread"]  # fixtures


def test_without_a_cluster_it_is_one_message_before_anything_is_loaded(experiment: Path) -> None:
    pytest.importorskip("ray", reason="no ray: install the extra ray")
    on = ["--on", "ray", "--ray", "address=127.0.0.1:1", "--workers", "2"]
    journal = f"journal:///{experiment.parent}/study.log"
    message = bad(experiment, *on, "--storage", journal)
    assert "--on ray: no cluster answers at 127.0.0.1:1" in message
    assert not (experiment.parent / "runs" / "tiny").exists(), "nothing half-started"
