"""Studies of one name in two storages, which would write to the same folders."""

from __future__ import annotations

from pathlib import Path
import re
import shutil
import subprocess
import sys

from commands import bad
from commands import ROOT
from commands import run
import optuna
import pytest
from trainers import own
from trainers import trials

from objectives.settings.plan import database_in


def test_a_study_in_another_storage_is_refused(tmp_path: Path) -> None:
    file, other = own(tmp_path), f"sqlite:///{tmp_path}/other.db"
    assert run(file, "--trials", "1", "--search-only").returncode == 0
    log = Path(trials(file)[0].user_attrs["log"])
    before = log.stat().st_mtime_ns
    message = bad(file, "--storage", other)
    assert "own has the outputs of a study in its study.db, and this one is in" in message
    assert "give another --output or --study" in message
    assert log.stat().st_mtime_ns == before and not (tmp_path / "other.db").exists()
    options = ("--study", "b", "--trials", "1", "--search-only")
    assert run(file, "--storage", other, *options).returncode == 0


def test_a_study_that_has_moved_goes_on(tmp_path: Path) -> None:
    file, other = own(tmp_path), f"sqlite:///{tmp_path}/other.db"
    assert run(file, "--trials", "1", "--search-only").returncode == 0
    optuna.copy_study(
        from_study_name="own",
        from_storage=f"sqlite:///{tmp_path}/runs/own/study.db",
        to_storage=other,
    )
    ended = run(file, "--storage", other, "--trials", "2", "--search-only")
    assert ended.returncode == 0 and "1 of 2 trials finished" in ended.stdout


def test_a_study_may_have_any_name(tmp_path: Path) -> None:
    """Also for the workers that the command starts, and for a study that begins from it."""
    file, runs, name = own(tmp_path), tmp_path / "runs", "-why? 50%41 me@home"
    options = (f"--study={name}", "--trials", "1")
    ended = run(file, *options, "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    assert [each.name for each in runs.iterdir()] == [name]
    assert (runs / name / "study.db").is_file()
    more = run(file, *options[:1], "--trials", "2", "--search-only")
    assert more.returncode == 0 and "1 of 2 trials finished" in more.stdout
    after = ("--study", "after", "--sampler", "bamsoo", f"--previous={name}", "--search-only")
    begun = run(file, *after, *options[1:])
    assert begun.returncode == 0 and f"previous       {name}: 2 complete" in begun.stdout


def test_a_study_is_found_where_a_path_once_led(tmp_path: Path) -> None:
    file, runs = own(tmp_path), tmp_path / "runs"
    options = ("--study", "why?", "--search-only", "--trials")
    assert run(file, *options, "1").returncode == 0
    now, former = database_in(runs / "why?"), f"sqlite:///{runs / 'why'}"
    optuna.copy_study(from_study_name="why?", from_storage=now, to_storage=former)
    for each in (runs / "why?").glob("study.db*"):
        each.unlink()
    message = bad(file, *options, "2")
    assert f"--study why?: is in {former}, where its folder's name once led" in message
    (told,) = re.findall(r"copy that file to (.*), and it goes on", message)
    shutil.copy(runs / "why", told)
    ended = run(file, *options, "2")
    assert ended.returncode == 0 and "1 of 2 trials finished" in ended.stdout


def test_a_folder_that_was_renamed_is_no_other_study_s(tmp_path: Path) -> None:
    """Nor a copy: it has the trials of the first study and their outputs."""
    file, runs = own(tmp_path), tmp_path / "runs"
    assert run(file, "--trials", "1", "--search-only").returncode == 0
    shutil.copytree(runs / "own", runs / "b")
    before = sorted((runs / "b").rglob("*"))
    message = bad(file, "--study", "b")
    assert f"--study b: {runs / 'b'} has the outputs of study own; rename the folder" in message
    assert "to own and give --study own, or give another --study or --output" in message
    assert sorted((runs / "b").rglob("*")) == before and len(trials(file)) == 1


def test_a_folder_that_has_moved_goes_on(tmp_path: Path) -> None:
    file, elsewhere = own(tmp_path), tmp_path / "elsewhere"
    assert run(file, "--trials", "1", "--search-only").returncode == 0
    elsewhere.mkdir()
    shutil.move(tmp_path / "runs" / "own", elsewhere / "own")
    ended = run(file, "--output", str(elsewhere), "--trials", "2", "--search-only")
    assert ended.returncode == 0 and "1 of 2 trials finished" in ended.stdout
    fewer = run(file, "--output", str(elsewhere), "--trials", "1", "--search-only")
    assert fewer.returncode == 0 and ": 2 trials finished" in fewer.stdout


def test_a_study_is_renamed_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its folder; a call that wants no more trials makes the report of what is there."""
    page = (ROOT / "docs" / "command.md").read_text()
    (script,) = re.findall(r"^mv runs/old runs/new\n.*?^EOF$", page, re.DOTALL | re.MULTILINE)
    file = own(tmp_path)
    assert run(file, "--study", "old", "--trials", "2", "--search-only").returncode == 0
    words = script.replace("python", sys.executable)
    subprocess.run(["sh", "-e"], input=words, text=True, cwd=tmp_path, check=True)
    ended = run(file, "--study", "new", "--trials", "1")
    assert ended.returncode == 0 and (tmp_path / "runs/new/report/report.html").is_file()
    assert len(trials(file, "new")) == 2 and not (tmp_path / "runs/old").exists()
    assert run(file, "--study", "new", "--trials", "3", "--search-only").returncode == 0
    assert len({str(trial.params) for trial in trials(file, "new")}) == 3


@pytest.mark.parametrize("text", ["", "[]"])
def test_a_note_of_the_owner_that_says_nothing_is_one_message(tmp_path: Path, text: str) -> None:
    file, note = own(tmp_path), tmp_path / "runs" / "own" / "study.json"
    assert run(file, "--trials", "1", "--search-only").returncode == 0
    note.write_text(text)
    assert f"{note} does not say to which study the folder belongs" in bad(file)
    note.unlink()
    assert run(file, "--trials", "2", "--search-only").returncode == 0
    assert note.read_text() != text
