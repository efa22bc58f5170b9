"""Values of files and logs that grow while they are read."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
import tracemalloc
from typing import Any

from pydantic import TypeAdapter
import pytest

from objectives.command.readings import Reader
from objectives.command.readings import reader
from objectives.command.readings import Reading
from objectives.settings.own.value import Value


def of(folder: Path, **value: str) -> Reader:
    return reader(TypeAdapter(Value).validate_python(value), folder, folder / "log.txt")


def test_a_json_file_is_read_at_the_end(tmp_path: Path) -> None:
    follow = of(tmp_path, json="{output}/results.json", key="eval.loss")
    assert follow.new(ended=True) == [] and "there is no /" in follow.missing()
    file = tmp_path / "results.json"
    file.write_text('{"eval": {"loss": 1.5}}')
    assert follow.new(ended=False) == []
    assert follow.new(ended=True) == [Reading(1, 1.5)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("eval/loss", 1.0),
        ("a.b", 2.0),
        ("list.1.c", 3.0),
        ("text", 4.5),
        ("nan", math.nan),
        ("true", None),
        ("list", None),
        ("list.7", None),
        ("none", None),
    ],
)
def test_a_key_may_be_a_path(key: str, value: float | None, tmp_path: Path) -> None:
    said: dict[str, Any] = {"eval/loss": 1, "a.b": 2, "list": [0, {"c": 3}], "text": "4.5"}
    text = json.dumps(said | {"nan": math.nan, "true": True})
    (tmp_path / "results.json").write_text(text)
    follow = of(tmp_path, json="{output}/results.json", key=key)
    found = [reading.value for reading in follow.new(ended=True)]
    assert found == pytest.approx([] if value is None else [value], nan_ok=True)
    assert value is not None or f"has no number under {key}" in follow.missing()


def test_json_lines_are_read_as_they_become_whole(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    follow = of(tmp_path, json="{output}/log.jsonl", key="loss", step="step")
    assert follow.new(ended=False) == []
    file.write_text('{"loss": 3, "step": 10}\n{"other": 1}\nno JSON\n{"loss": 2, "st')
    assert follow.new(ended=False) == [Reading(10, 3.0)]
    with file.open("a") as more:
        more.write('ep": 20}\n{"loss": 1, "step": 30}')
    assert follow.new(ended=False) == [Reading(20, 2.0)]
    assert follow.new(ended=True) == [Reading(30, 1.0)], "the last line may lack its end"


def test_lines_without_a_step_are_counted(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"loss": 3}\n{"loss": 2}\n')
    follow = of(tmp_path, json="{output}/log.jsonl", key="loss")
    assert follow.new(ended=True) == [Reading(1, 3.0), Reading(2, 2.0)]


@pytest.mark.parametrize("step", ["NaN", "Infinity", "1e30", '"x"', "null", "1" + "0" * 400])
def test_a_step_that_is_none_is_counted(step: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(f'{{"loss": 3, "step": {step}}}\n')
    follow = of(tmp_path, json="{output}/log.jsonl", key="loss", step="step")
    assert follow.new(ended=True) == [Reading(1, 3.0)]


@pytest.mark.parametrize("said", ["1" + "0" * 400, "[" * 5000 + "]" * 5000])
@pytest.mark.parametrize("name", ["results.json", "log.jsonl"])
def test_what_is_no_number_is_no_value(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(f'{{"loss": {said}}}')
    follow = of(tmp_path, json=f"{{output}}/{name}", key="loss")
    assert follow.new(ended=True) == [] and "number under loss" in follow.missing()


@pytest.mark.parametrize("history", [None, ["eval_loss"], 3])
def test_a_state_without_entries_has_no_value(history: Any, tmp_path: Path) -> None:
    follow = of(tmp_path, trainer_state="{output}", metric="eval_loss")
    state(tmp_path, history, time=1)
    assert follow.new(ended=True) == [] and "has eval_loss in its log_history" in follow.missing()


@pytest.mark.parametrize(
    ("pattern", "readings"),
    [
        (r"loss=([0-9.e+-]+)", [Reading(1, 3.0), Reading(2, 0.02), Reading(3, 1.0)]),
        (r"step (?P<step>\d+) loss=(\S+)", [Reading(5, 3.0), Reading(9, 0.02)]),
        (
            r"(?:step|epoch) (?P<step>\d+) \w+=(?P<value>[^ ]+)",
            [Reading(5, 3.0), Reading(9, 0.02)],
        ),
        (r"nothing=(.*)", []),
    ],
)
def test_what_is_printed_is_matched(pattern: str, readings: list[Reading], tmp_path: Path) -> None:
    """Also between the returns of a progress bar; what is no number is none."""
    log = "step 5 loss=3 \r 10%|#   |\rstep 9 loss=2e-2 \nloss=--\nloss=1"
    (tmp_path / "log.txt").write_text(log)
    follow = of(tmp_path, pattern=pattern)
    assert follow.new(ended=False) == readings[:2]
    assert follow.new(ended=True) == readings[2:]
    assert f"matches {pattern}" in follow.missing()


def test_a_line_without_end_takes_little_memory(tmp_path: Path) -> None:
    """Of 64 MB without an end of line, and what comes after it."""
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        file.writelines(b"x" * 2**20 for _ in range(64))
        file.write(b" loss=2\nloss=1")
    follow = of(tmp_path, pattern="loss=([0-9]+)")
    tracemalloc.start()
    readings = follow.new(ended=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert readings == [Reading(1, 2.0), Reading(2, 1.0)] and peak < 16 * 2**20


def test_the_newest_trainer_state_is_followed(tmp_path: Path) -> None:
    follow = of(tmp_path, trainer_state="{output}/run", metric="eval_loss")
    assert follow.new(ended=False) == [] and "have the trainer save one" in follow.missing()
    logs = [{"loss": 9.0, "step": 5}, {"eval_loss": 3.0, "step": 5}]
    state(tmp_path / "run" / "checkpoint-5", logs, time=1)
    assert follow.new(ended=False) == [Reading(1, 3.0, steps=5, steps_in_all=20)]
    assert follow.new(ended=False) == []
    logs += [{"eval_loss": 2.0, "step": 10}, {"eval_loss": 1.5, "step": 15}]
    state(tmp_path / "run" / "checkpoint-15", logs, time=2)
    assert [reading.value for reading in follow.new(ended=False)] == [2.0, 1.5]
    state(tmp_path / "run", [*logs, {"eval_loss": 1.0, "step": 20}], time=3)
    assert follow.new(ended=True) == [Reading(4, 1.0, steps=20, steps_in_all=20)]


def test_a_state_that_is_being_written_waits(tmp_path: Path) -> None:
    follow = of(tmp_path, trainer_state="{output}", metric="eval_loss")
    (tmp_path / "trainer_state.json").write_text('{"log_history": [')
    assert follow.new(ended=False) == []
    state(tmp_path, [{"eval_loss": 3.0, "step": 5}], time=5)
    assert len(follow.new(ended=False)) == 1


def state(folder: Path, logs: Any, *, time: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "trainer_state.json"
    file.write_text(json.dumps({"max_steps": 20, "log_history": logs}))
    os.utime(file, (time, time))
