"""The note as the real optuna-dashboard reads it; what people write into it stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
import io
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from backends import opened
from commands import ROOT
import optuna
import pytest
from trials import NOW
from trials import ran

from objectives.tune.machines.note import Note
from objectives.tune.machines.note import REFRESH_SECONDS
from objectives.tune.machines.note import table
from objectives.tune.machines.rows import Row
from objectives.tune.machines.rows import rows


pytestmark = pytest.mark.filterwarnings(  # optuna-dashboard's imports
    "ignore:.*torch.jit:DeprecationWarning"
)
HELPERS = ROOT / "tests" / "objectives" / "helpers"
SOON, LATER = timedelta(seconds=REFRESH_SECONDS - 1), timedelta(seconds=REFRESH_SECONDS + 1)
HEAD = "| host | worker | device | trial | since | heard of | done | hours |"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    with opened(f"sqlite:///{tmp_path}/study.db") as backend:
        yield optuna.create_study(storage=backend)


def workers(count: int, begun: float = 60) -> list[Row]:
    trials = [ran(n, f"node{n}:17", begun, name=f"12_{n}", devices=["0"]) for n in range(count)]
    return rows(trials, {}, NOW)


def asked(study: optuna.Study, method: str, path: str, body: Any = None) -> tuple[str, Any]:
    """What the dashboard's server answers, without a socket."""
    from optuna_dashboard import wsgi

    sent, status = json.dumps(body).encode(), []
    environment = {
        "REQUEST_METHOD": method,
        "PATH_INFO": f"/api/studies/{study._study_id}{path}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(sent)),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(sent),
        "wsgi.errors": io.StringIO(),
    }
    answer = wsgi(study._storage)(environment, lambda told, *_: status.append(told))
    text = b"".join(answer)
    return status[0], json.loads(text) if text else None


def note(study: optuna.Study) -> Any:
    """Its version and body, for a reader of the dashboard."""
    status, found = asked(study, "GET", "")
    assert status.startswith("200")
    return found["note"]


def test_the_dashboard_shows_the_table(study: optuna.Study) -> None:
    Note(study).write(workers(2), NOW)
    lines = note(study)["body"].splitlines()
    assert "**Workers** as of 01-02 12:00: 2 running on 2 hosts, 0.03 GPU-hours so far" in lines
    start = lines.index(HEAD)
    assert lines[start + 2 : start + 4] == [
        "| node0 | 12_0 | GPU 0 | 0 | 01-02 11:59 | 01-02 11:59 | 0 | 0.02 |",
        "| node1 | 12_1 | GPU 0 | 1 | 01-02 11:59 | 01-02 11:59 | 0 | 0.02 |",
    ]


def test_it_is_written_anew_when_it_is_time_and_something_has_changed(
    study: optuna.Study,
) -> None:
    """By whichever process: each has a `Note` of its own."""
    Note(study).write(workers(1), NOW)
    first = note(study)["body"]
    Note(study).write(workers(2), NOW + SOON)
    Note(study).write(workers(1), NOW + LATER)
    assert note(study)["body"] == first
    Note(study).write(workers(2), NOW + LATER)
    second = note(study)["body"]
    assert "node1" in second and "node1" not in first
    Note(study).write(workers(1), NOW + LATER, at_once=True)
    assert "node1" not in note(study)["body"]


def test_a_note_of_somebody_s_own_stays(study: optuna.Study) -> None:
    from optuna_dashboard import save_note

    save_note(study, "The learning rate of *last week*.")
    Note(study).write(workers(2), NOW, at_once=True)
    assert note(study) == {"version": 1, "body": "The learning rate of *last week*."}


def test_people_write_around_the_table_while_it_changes(study: optuna.Study) -> None:
    """They save what they began with, and what is between the marks is ours again."""
    Note(study).write(workers(1), NOW)
    begun = note(study)
    Note(study).write(workers(2), NOW + LATER)
    text = f"# Mine\n\n{begun['body']}\n\nBelow \\1."
    saved = {"version": begun["version"] + 1, "body": text}
    status, _ = asked(study, "PUT", "/note", saved)
    assert status.startswith("204")
    Note(study).write(workers(3), NOW + 2 * LATER)
    body = note(study)["body"]
    assert body.startswith("# Mine\n") and body.endswith("\n\nBelow \\1.")
    assert body.count(HEAD) == 1 and "node2" in body


def test_it_is_small(study: optuna.Study) -> None:
    """One attribute, which is written at once: 2,045 characters."""
    name = "08e72a91-41967d6b"
    trials = [
        ran(n, f"gpu-node-{n:04}.cluster:17", 9e5, 8e5, name=name, devices="0123")
        for n in range(500)
    ]
    Note(study).write(rows(trials, {}, NOW), NOW)
    keys = study._storage.get_study_system_attrs(study._study_id)
    assert sorted(keys) == ["dashboard:note_str:0", "dashboard:note_ver"]
    assert table(rows(trials, {}, NOW), NOW).count("\n| gpu-node-") == 12
    assert "and 488 more: 488 done, 54222.2 GPU-hours" in note(study)["body"]


def test_where_nobody_has_run_a_trial_nothing_is_written(study: optuna.Study) -> None:
    Note(study).write([], NOW, at_once=True)
    assert study._storage.get_study_system_attrs(study._study_id) == {}


@pytest.mark.parametrize(("absent", "written"), [("", True), ("optuna_dashboard", False)])
def test_it_needs_no_torch_and_without_the_dashboard_it_is_left_out(
    absent: str, written: bool
) -> None:
    code = """if True:
        import sys
        from datetime import datetime
        sys.modules[sys.argv[1]] = None
        import optuna
        from trials import ran
        from objectives.tune.machines.note import Note
        from objectives.tune.machines.rows import rows
        study = optuna.create_study()
        Note(study).write(rows([ran(0, "node1:17", 60)], {}, datetime.now()), datetime.now())
        print("torch" in sys.modules, bool(study._storage.get_study_system_attrs(study._study_id)))
    """
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, absent],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(HELPERS)},
        capture_output=True,
        text=True,
    )
    assert found.stdout == f"False {written}\n", found.stderr
