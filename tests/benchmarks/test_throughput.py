"""The throughput benchmark at its smallest: a plain script with Trainer and our command agree."""

from __future__ import annotations

import json
from pathlib import Path
import sys

import pytest


sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.throughput import main


def test_trainer_peft_and_lm_eval_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process of the script, one of our command; a learning rate at which the order tells."""
    size = "--model random:tiny --micro-batches 4 --modes warm --trials 1 --seed 3 --rows 64"
    out = tmp_path / "lines.jsonl"
    plain, warm = main([*size.split(), "--questions", "20", "--no-index", "--out", str(out)])
    assert (plain.mode, warm.mode) == ("plain", "warm")
    assert plain.agreement["loss"] < 1e-5  # Trainer's evaluation from ours, of its own adapter
    assert warm.agreement["loss"] < 1e-6  # our adapter's validation loss from its
    assert warm.agreement["accuracy"] == 0.0
    assert warm.ratios["cpu"] == pytest.approx(plain.cost.cpu / warm.cost.cpu)
    assert sum(plain.seconds.values()) == pytest.approx(plain.cost.wall)
    assert [json.loads(line)["mode"] for line in out.read_text().splitlines()] == ["plain", "warm"]
    assert "warm" in capsys.readouterr().out
