"""Journal files: a worker may be killed at any moment, and nothing is lost by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
import os
from pathlib import Path
import resource
import signal
import subprocess
import sys
import threading

from backends import opened
from backends import python
from backends import ROOT
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest

import storage
from storage.backends import lock as journal_lock


WORKER = """
import sys
import optuna, optuna_partition, storage
optuna.logging.set_verbosity(optuna.logging.ERROR)
url, trials, *death = sys.argv[1:]
axis = optuna.distributions.FloatDistribution(0, 1)
study = optuna.create_study(
    storage=storage.open(url), study_name="one", load_if_exists=True,
    sampler=optuna_partition.SOOSampler(search_space={"x": axis, "y": axis}))
def objective(trial):
    storage.mark_worker(trial)
    if death and trial.number >= 5:
        exec(death[0], {"trial": trial, "url": url})
    return trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1)
turns = storage.Turns(lambda done: int(trials) - len(done), lambda study: study.get_trials(
    deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)), look=0.05)
study.optimize(objective, callbacks=[turns])
"""
IN_THE_LOCK = """
import os, time
os.fsync = lambda _: (print("inside", flush=True), time.sleep(600))
"""
IN_A_LINE = """
import os, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
size = os.path.getsize(url.removeprefix("journal:///")) + 100_000
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
trial.set_user_attr("long", "a" * 200_000)
"""
UNTIL_ANOTHER_DIES = """
import pathlib, time
while not pathlib.Path(url.removeprefix("journal:///")).with_name("dead").exists():
    time.sleep(0.02)
"""


def worker(url: str, *death: str, trials: int = 30) -> subprocess.Popen[str]:
    return python(WORKER, url, str(trials), *death)


def check(path: Path, survivors: list[subprocess.Popen[str]], trials: int = 30) -> None:
    """They finish what was wanted: no point twice, and none lost but the dead worker's."""
    said = [survivor.communicate(timeout=120)[1] for survivor in survivors]
    assert [survivor.returncode for survivor in survivors] == [0] * len(survivors), said
    plain = JournalStorage(JournalFileBackend(str(path)))  # Optuna reads it as well
    found = optuna.load_study(study_name="one", storage=plain).trials
    complete = [t for t in found if t.state is TrialState.COMPLETE]
    assert len(complete) >= trials
    times = Counter(tuple(trial.params.values()) for trial in complete)
    assert set(times.values()) == {1}
    asked_again = {tuple(t.params.values()) for t in found if t.state is TrialState.FAIL}
    assert asked_again <= {*times, ()}
    assert not list(path.parent.glob("*.lock*"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.log"


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_lock, "PATIENCE_SECONDS", 0.0)


@pytest.fixture
def endless_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_lock, "PATIENCE_SECONDS", float("inf"))


# ---- workers that die ----


@pytest.mark.parametrize(("relative", "waited_for"), [(False, True), (True, False)])
def test_a_worker_killed_in_the_lock_stops_nobody(
    path: Path,
    relative: bool,
    waited_for: bool,
    endless_patience: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also while its parent has not looked, and it still has a process number."""
    monkeypatch.chdir(path.parent.parent)
    url = f"journal:///{path.relative_to(Path.cwd()) if relative else path}"
    dying = worker(url, IN_THE_LOCK)
    assert dying.stdout is not None and dying.stdout.readline() == "inside\n"
    dying.kill()
    if waited_for:
        dying.communicate()
    assert os.path.lexists(f"{path}.lock")
    study = optuna.load_study(study_name="one", storage=storage.open(url))
    study.set_user_attr("others", "go on")
    check(path, [worker(url) for _ in range(2)])
    dying.communicate()


def test_a_worker_killed_in_the_middle_of_a_line_loses_that_line(path: Path) -> None:
    """By the kernel, which has written half of it."""
    url = f"journal:///{path}"
    others = [worker(url, UNTIL_ANOTHER_DIES) for _ in range(2)]
    dying = worker(url, IN_A_LINE)
    dying.communicate(timeout=120)
    assert dying.returncode == -signal.SIGXFSZ
    path.with_name("dead").touch()
    check(path, others)
    assert "a" * 1000 not in path.read_text()


def test_half_a_line_is_what_it_leaves(path: Path) -> None:
    """So that the test above tests what it says."""
    dying = worker(f"journal:///{path}", IN_A_LINE)
    dying.communicate(timeout=120)
    assert path.read_text().endswith("a" * 1000) and os.path.lexists(f"{path}.lock")


def test_a_full_disk_is_told_of_and_does_no_harm(path: Path) -> None:
    with opened(f"journal:///{path}") as backend:
        study = optuna.create_study(storage=backend, study_name="one")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
        try:
            with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
                study.set_user_attr("a", "b")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert storage.broke_off(caught.value)
        said = storage.reason(caught.value, f"journal:///{path}")
        assert said.startswith(f"{path} cannot be written, for the disk at /")
        study.set_user_attr("c", "d")
        assert study.user_attrs == {"c": "d"}
    plain = JournalStorage(JournalFileBackend(str(path)))
    assert optuna.load_study(study_name="one", storage=plain).user_attrs == {"c": "d"}


# ---- the lock ----


@pytest.fixture
def living() -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock whose path it is told, and tells that."""
    code = (
        "import pathlib, sys, time; from storage.backends.lock import held\n"
        "with held(pathlib.Path(sys.stdin.readline().strip())):\n"
        "    print('inside', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def let_in(process: subprocess.Popen[str], lock: Path) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{lock}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "inside\n"


def test_a_holder_that_lives_is_waited_for(
    living: subprocess.Popen[str], path: Path, no_patience: None
) -> None:
    with opened(f"journal:///{path}") as backend:
        study = optuna.create_study(storage=backend)
        let_in(living, Path(f"{path}.lock"))
        waiting = threading.Thread(target=study.set_user_attr, args=("a", "b"), daemon=True)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        living.kill()
        waiting.join(60)
        assert not waiting.is_alive() and study.user_attrs == {"a": "b"}


@pytest.mark.parametrize("held_by", ["elsewhere/1:1:1:1", "/where/Optuna/s/lock/leads", "a file"])
def test_a_holder_that_may_be_dead_is_waited_for_a_while(
    held_by: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, or with one of Optuna's locks."""
    lock = Path(f"{path}.lock")
    with opened(f"journal:///{path}") as backend:
        study = optuna.create_study(storage=backend)
        if held_by == "a file":
            lock.touch()
        else:
            lock.symlink_to(held_by)
        waiting = threading.Thread(target=study.set_user_attr, args=("a", "b"), daemon=True)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        monkeypatch.setattr(journal_lock, "PATIENCE_SECONDS", 0.0)
        waiting.join(60)
        assert not waiting.is_alive() and study.user_attrs == {"a": "b"}


def test_an_interruption_in_between_leaves_no_lock_to_wait_for(
    path: Path, endless_patience: None
) -> None:
    """Ctrl-C between the making of the lock and the first step under it."""
    lock = Path(f"{path}.lock")
    lock.symlink_to(journal_lock._me())
    with opened(f"journal:///{path}") as backend:
        optuna.create_study(storage=backend)
    assert not os.path.lexists(lock)


CROWD = """
import os, pathlib, random, sys, time
from storage.backends import lock as journal_lock

def slowly(found, waited):
    left = is_left(found, waited)
    time.sleep(random.uniform(0, 0.005))
    return left

is_left, journal_lock._is_left, journal_lock.PATIENCE_SECONDS = journal_lock._is_left, slowly, 0.0
folder = pathlib.Path(sys.argv[1])
for _ in range(40):
    with journal_lock.held(folder / "lock"):
        os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
        time.sleep(0.001)
        (folder / "inside").unlink()
    try:
        (folder / "lock").symlink_to("elsewhere/1:1:1:1")
    except FileExistsError:
        pass
"""


def test_of_those_that_break_a_lock_at_once_one_has_it(tmp_path: Path) -> None:
    """Each leaves locks of a dead holder behind, which all others find."""
    crowd = [python(CROWD, str(tmp_path)) for _ in range(4)]
    errors = [process.communicate(timeout=300)[1] for process in crowd]
    assert [process.returncode for process in crowd] == [0] * 4, "\n".join(errors)


# ---- what is read ----


def test_a_line_that_changes_while_it_is_read_is_read_again(
    living: subprocess.Popen[str], path: Path
) -> None:
    with opened(f"journal:///{path}") as writer, opened(f"journal:///{path}") as reader:
        study = optuna.create_study(storage=writer, study_name="one")
        whole = path.read_bytes()
        study.set_user_attr("a", "b")
        last = path.read_bytes().removeprefix(whole)
        let_in(living, Path(f"{path}.lock"))
        path.write_bytes(whole + last[:20] + last)
        with path.open("ab") as file:
            file.write(last)
        found: list[dict[str, str]] = []
        reading = threading.Thread(
            target=lambda: found.append(
                optuna.load_study(study_name="one", storage=reader).user_attrs
            )
        )
        reading.start()
        reading.join(0.5)
        path.write_bytes(whole + last)
        living.kill()
        reading.join(60)
        assert found == [{"a": "b"}]


def test_a_line_that_is_damaged_is_named_with_the_way_out(path: Path) -> None:
    """As Optuna's own backend leaves it: half a line, and another that begins in its middle."""
    with opened(f"journal:///{path}") as backend:
        optuna.create_study(storage=backend, study_name="one").set_user_attr("a", "b")
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:20] + second + second)
    with pytest.raises(storage.StorageError) as caught:
        storage.open(f"journal:///{path}")
    message = str(caught.value)
    assert f"line 2 of {path} is damaged" in message
    subprocess.run(message[message.index("sed") :].removesuffix(").").split(), check=True)
    with opened(f"journal:///{path}") as backend:
        assert optuna.load_study(study_name="one", storage=backend).user_attrs == {"a": "b"}


def test_a_journal_that_is_removed_is_told_of_and_not_begun_anew(path: Path) -> None:
    with opened(f"journal:///{path}") as backend:
        study = optuna.create_study(storage=backend)
        path.unlink()
        with pytest.raises(optuna.exceptions.StorageInternalError, match="No such file"):
            study.set_user_attr("a", "b")
        assert not path.exists()
