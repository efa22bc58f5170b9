"""The user's own parameters: when they are tried, and which trial is compared with."""

from __future__ import annotations

from pathlib import Path

from commands import run
from trainers import own
from trainers import trials


FIRST = {"learning_rate": 2e-4, "rank": 4}
SECOND = {"learning_rate": 3e-4, "rank": 5}


def with_baseline(folder: Path, params: dict[str, float], study: str) -> Path:
    table = ", ".join(f"{name} = {value}" for name, value in params.items())
    return own(folder, baseline=f"{{{{{table}}}}}", study=f'sampler = "soo"\n{study}')


def test_each_is_tried_until_it_has_a_value_and_the_file_s_own_is_compared(tmp_path: Path) -> None:
    """Also before what `start` asks for."""
    start = "start = [{learning_rate = 1e-3, rank = 3}]"
    file = with_baseline(tmp_path, FIRST, start)
    trainer = tmp_path / "train.py"
    sound = trainer.read_text()
    trainer.write_text(f"import sys\nif '4' in sys.argv: sys.exit('no data')\n{sound}")
    assert told(file, 2) == ""
    trainer.write_text(sound)
    assert "in trial 2" in told(file, 3)
    assert "in trial 3" in told(with_baseline(tmp_path, SECOND, start), 4)
    assert "in trial 2" in told(with_baseline(tmp_path, FIRST, start), 4), "it is there already"
    assert [trial.params["rank"] for trial in trials(file)] == [4, 3, 4, 5]


def told(file: Path, trials: int) -> str:
    """What the end of the search says of it."""
    ended = run(file, "--trials", str(trials))
    assert ended.returncode == 0, ended.stderr
    return "".join(line for line in ended.stdout.splitlines() if line.startswith("baseline"))
