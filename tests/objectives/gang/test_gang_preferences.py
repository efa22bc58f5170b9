"""Preferences in gangs: what the base makes of them, where memory is short on one rank."""

from __future__ import annotations

import json
from pathlib import Path
import sys

from commands import one_thread
from gangs import experiment
import pytest
from rounding import LOSS

from objectives.errors import UserError
from objectives.gang.supervisor import Gang
from objectives.job import Finished
from objectives.job import Job
from objectives.model.bench import load_bench
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner


__all__ = ["experiment", "one_thread"]  # fixtures

SHORT = Path(__file__).parents[1] / "ranks" / "short_rank.py"
CHOSEN = Hyperparameters(1e-2, 0.0, rank=4, alpha=8, dropout=0.0, effective_batch=8)


@pytest.fixture
def preferring(experiment: Experiment, tmp_path: Path) -> Experiment:
    file = tmp_path / "preferences.jsonl"
    rows = (
        {"prompt": f"Count {i}:", "chosen": " one" * (1 + i % 3), "rejected": " two" * (1 + i % 4)}
        for i in range(20)
    )
    file.write_text("\n".join(map(json.dumps, rows)))
    return experiment.model_copy(
        update={
            "data": DataSettings(train=str(file), validation_rows=4, max_length=64),
            "training": TrainingSettings(method="dpo", micro_batch=4, validations=1),
        }
    )


def short(rank: int, rows: int) -> list[str]:
    """Of a preference two are read."""
    return [sys.executable, str(SHORT), str(rank), str(rows)]


def test_one_rank_with_little_memory_has_all_read_fewer_at_a_time(
    preferring: Experiment, tmp_path: Path
) -> None:
    job = Job(None, CHOSEN, str(tmp_path / "adapter"), 4, 8)
    alone = Runner(preferring, load_bench(preferring), None)(job, lambda _: False)
    with Gang(preferring, ranks=2, command=short(1, 2)) as gang:
        found = gang(job, lambda _: False)
    assert isinstance(found, Finished) and isinstance(alone, Finished)
    assert found.value == pytest.approx(alone.value, rel=LOSS)


@pytest.mark.parametrize(
    ("ranks", "sharded", "rows", "told"),
    [
        (1, False, 1, "1 at a time; set a smaller max_length, or take a smaller base"),
        (2, False, 1, "1 at a time; set a smaller max_length, or take a smaller base"),
        # the others wait for the one in the middle of a forward
        (2, True, 2, r"4 at a time; set a smaller max_length, or `\[training\] micro_batch` = 2"),
    ],
)
def test_no_memory_for_the_base_is_a_mistake_of_the_file(
    preferring: Experiment, ranks: int, sharded: bool, rows: int, told: str
) -> None:
    model = preferring.model.model_copy(update={"sharded": sharded})
    shared = preferring.model_copy(update={"model": model})
    message = (
        r"^`\[data\] max_length` = 64: memory runs out where the base reads the preferences, "
    )
    with Gang(shared, ranks=ranks, command=short(ranks - 1, rows)) as gang:
        with pytest.raises(UserError, match=f"{message}{told}$"):
            gang.start()
