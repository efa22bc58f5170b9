"""Trainers that fail: why stands on the trial, the study goes on, and a typo burns no night."""

from __future__ import annotations

from pathlib import Path
import shutil

from commands import bad
from commands import run
from optuna.trial import create_trial
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from trainers import own
from trainers import run_words
from trainers import SEARCH
from trainers import study
from trainers import trials

from objectives.command.failures import fault_of
from objectives.command.failures import how_it_ended
from objectives.command.failures import out_of_memory


SPOILT = """
import sys
rank = int(sys.argv[sys.argv.index("--rank") + 1])
if {when}:
    {how}
"""
ODD = "int(float(sys.argv[sys.argv.index('--lr') + 1]) * 1e9) % 2"


def spoilt(file: Path, how: str, when: str = "True") -> Path:
    """A trainer that does something else."""
    trainer = file.parent / "train.py"
    trainer.write_text(SPOILT.format(when=when, how=how) + trainer.read_text())
    return file


def failed(file: Path) -> list[FrozenTrial]:
    return [trial for trial in trials(file) if trial.state is TrialState.FAIL]


REASONS = {
    "sys.exit('no such data set')": "exited 1: no such data set (log: ",
    "raise KeyError('text')": "exited 1: KeyError: 'text' (log: ",
    "print('ValueError: of a rank'); print('===='); sys.exit(3)": "exited 3: ValueError: of",
    "sys.exit(4)": "exited 4, and said nothing (log: ",
    "os.kill(os.getpid(), 9)": "was killed by SIGKILL (the system does so where",
    "os.kill(os.getpid(), 11)": "was killed by SIGSEGV, and said nothing",
    "raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')": (
        "out of memory: RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (log: "
    ),
    "sys.exit(0)": "ended without a value: there is no /",
    "shutil.rmtree(os.path.dirname(sys.argv[-1])); sys.exit()": (
        "ended without a value: there is no /"
    ),
    "time.sleep(600)": "was not done within the time limit of 5 s (log: ",
}


def test_the_reason_stands_on_the_trial_and_the_study_goes_on(tmp_path: Path) -> None:
    """Each rank fails in its own way, and the last one does not."""
    ways, ranks = list(REASONS), range(2, 3 + len(REASONS))
    start = "start = [" + ", ".join(f"{{rank = {rank}}}" for rank in ranks) + "]"
    how = f"import os, shutil, time; exec({ways!r}[rank - 2])"
    file = spoilt(own(tmp_path, study=start), how, f"rank < {ranks[-1]}")
    options = ("--time-limit", "5", "--trials", str(len(ranks)))
    ended = run(file, *options, "--search-only")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    *bad_ones, good = trials(file)
    assert bad_ones == failed(file) and good.state is TrialState.COMPLETE
    for trial, (how, told) in zip(bad_ones, REASONS.items(), strict=True):
        assert told in trial.user_attrs["failure"] and f"failed: {told}" in ended.stdout
        assert trial.user_attrs["log"] in trial.user_attrs["failure"]
        assert Path(trial.user_attrs["log"]).is_file() or "rmtree" in how
        assert not Path(trial.user_attrs["output"]).exists(), "only what has a value is kept"


LAUNCHED = """[rank1]: Traceback (most recent call last):
[rank1]:   File "train.py", line 7, in main
[rank1]: ValueError: no column text
E1129 08:13 torch/distributed/elastic/multiprocessing/api.py:984] failed (exitcode: 1)
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
====================
"""


def test_a_launcher_s_error_hides_no_other() -> None:
    assert how_it_ended(1, LAUNCHED) == "exited 1: [rank1]: ValueError: no column text"
    launched = "subprocess.CalledProcessError: Command '['python', 'train.py']' returned 1."
    assert how_it_ended(1, f"ImportError: no trl\n{launched}") == "exited 1: ImportError: no trl"
    assert how_it_ended(1, launched) == f"exited 1: {launched}"


def test_nor_does_one_of_python_s_cleaning_up() -> None:
    ignored = "Exception ignored in: <function X.__del__ at 0x7f>\nAttributeError: no _h\n"
    assert how_it_ended(1, f"ValueError: bad lr\n{ignored}") == "exited 1: ValueError: bad lr"
    assert how_it_ended(1, ignored) == "exited 1: AttributeError: no _h"


def test_faults_that_differ_by_an_address_are_alike() -> None:
    told = [f"TypeError: <function f at {address}>" for address in ("0x7f3abc", "0x7f9def")]
    assert len({fault_of(each, {}) for each in told}) == 1


def test_much_blank_text_is_searched_at_once() -> None:
    """It held the worker's heartbeat up for minutes."""
    assert how_it_ended(1, "\n" * 100_000 + "ValueError: bad lr") == "exited 1: ValueError: bad lr"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("terminate called\n  what():  std::bad_alloc\nAborted\n", "what():  std::bad_alloc"),
        ("numpy.ArrayMemoryError: Unable to allocate 9 PiB\n", "numpy.ArrayMemoryError: Unable"),
        ("RuntimeError: CUDA out of memory\nValueError: a rank is gone\n", "RuntimeError: CUDA"),
        ("Out of memory on device 0\nsubprocess.CalledProcessError: it ended\n", "Out of memory"),
        ("tip: out of memory? lower batch_size\nx.py: error: no such option\n", None),
    ],
)
def test_memory_is_found_in_errors(said: str, line: str | None) -> None:
    """Not in a hint before another error."""
    found = out_of_memory(said)
    assert found is None if line is None else found is not None and found.startswith(line)


def test_a_value_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    """Which the parameters may be to blame for: as many that are alike end no search.

    The study begins anew when they are mended, and what waits in its queue waits on.
    """
    said = ["nan", "nan", "nan", "inf", "-inf"]
    start = "start = [" + ", ".join(f"{{rank = {rank}}}" for rank in range(2, 7)) + "]"
    how = f"print('loss=' + {said}[rank - 2]); sys.exit(0)"
    file = spoilt(own(tmp_path, value='{{pattern = "loss=(.*)"}}', study=start), how)
    ended = run(file, "--trials", "5")
    assert ended.returncode == 1 and "no trial has a value" in ended.stdout
    for trial, value in zip(failed(file), said, strict=True):
        assert f"value was {value} " in trial.user_attrs["failure"]
    assert "mend what they name, and run the same command again" in ended.stdout
    again = {"fixed_params": {"rank": 7}, "failed_trial": 0, "retry_history": [0]}
    study(file).add_trial(create_trial(state=TrialState.WAITING, system_attrs=again))
    own(tmp_path, value='{{pattern = "loss=(.*)"}}', study=start)  # it is mended
    ended = run(file, "--trials", "1")
    assert ended.returncode == 0 and "begins anew" in ended.stdout and not failed(file)
    first = trials(file)[0]
    assert first.params["rank"] == 7 and "retry_history" not in first.system_attrs


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_the_same_failure_at_first_ends_the_search(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    """Counted in the study: two workers may have one more trial running, and no more."""
    file = own(tmp_path, run=run_words("--lerning-rate 1"))
    ended = run(file, "--trials", "30", *workers)
    assert ended.returncode == 2
    count = len(trials(file))
    assert count == 3 if not workers else 3 <= count <= 4
    message = f"--study own: all {count} trials have failed in the same way: exited 2: "
    assert message in ended.stderr and "unrecognized arguments: --lerning-rate" in ended.stderr
    assert "correct `[command]` or what it needs, and the same command begins" in ended.stderr
    assert not (tmp_path / "runs" / "own" / "report").exists()


def test_what_differs_by_parameters_is_the_same_failure(tmp_path: Path) -> None:
    """Numbers, and choices wherever they stand; a shorter one in a longer one as well."""
    words = run_words("--schedule {{schedule}}")
    search = SEARCH + 'schedule = {choices = ["cosine", "cosine_with_restarts", "linear"]}'
    file = own(tmp_path, run=words, search=search, study='sampler = "random"')
    assert "all 3 trials have failed in the same way: exited 2: " in bad(file)
    assert len({trial.params["schedule"] for trial in trials(file)}) > 1


def test_a_worker_that_comes_then_leaves(tmp_path: Path) -> None:
    file = own(tmp_path, run=run_words("--lerning-rate 1"))
    assert run(file, "--search-only").returncode == 0
    ended = run(file, "--search-only")
    assert ended.returncode == 0 and len(trials(file)) == 3
    assert "all 3 trials have failed in the same way" in ended.stdout


def test_what_is_corrected_begins_anew(tmp_path: Path) -> None:
    """Other words of the command, or what it needs: no trial has a value that would differ."""
    bad(own(tmp_path, run=run_words("--lerning-rate 1")))
    file = own(tmp_path)
    shutil.move(tmp_path / "train.py", tmp_path / "elsewhere.py")
    message = bad(file)
    assert "all 3 trials have failed in the same way: exited 2: " in message
    assert "No such file or directory" in message
    shutil.move(tmp_path / "elsewhere.py", tmp_path / "train.py")
    ended = run(file)
    assert (
        ended.returncode == 0 and "all of its trials have failed; it begins anew" in ended.stdout
    )
    again = own(new(tmp_path))
    run(again, "--search-only")
    assert points(file) == points(again)


def new(folder: Path) -> Path:
    folder = folder / "new"
    folder.mkdir()
    return folder


def points(file: Path) -> list[tuple[object, object]]:
    return [(trial.params, trial.value) for trial in trials(file)]


def test_one_failure_and_a_correction_begin_anew_too(tmp_path: Path) -> None:
    """Of each study; where nothing has changed and another trial is wanted, it goes on."""
    file = own(tmp_path, run=run_words("--lerning-rate 1"))
    for name in ("own", "same"):
        assert run(file, "--study", name, "--trials", "1", "--search-only").returncode == 0
    ended = run(file, "--study", "same", "--trials", "3")
    assert ended.returncode == 2 and "begins anew" not in ended.stdout
    ended = run(own(tmp_path), "--trials", "2")
    assert ended.returncode == 0 and "begins anew" in ended.stdout and not failed(file)


def test_failures_that_differ_end_nothing(tmp_path: Path) -> None:
    how = f"sys.exit('odd' if {ODD} else 'even')"
    file = spoilt(own(tmp_path), how)
    ended = run(file, "--trials", "5")
    reasons = {trial.user_attrs["failure"].partition(" (")[0] for trial in failed(file)}
    assert len(reasons) == 2 and ended.returncode == 1
    assert len(trials(file)) == 5


@pytest.mark.parametrize("how", ["bytearray(int(1e15))", "import os; os.kill(os.getpid(), 9)"])
def test_memory_that_runs_out_at_first_ends_nothing(how: str, tmp_path: Path) -> None:
    """Smaller parameters may fit."""
    start = "start = [{rank = 8}, {rank = 7}, {rank = 6}, {rank = 5}]"
    file = spoilt(own(tmp_path, study=start), how, "rank > 5")
    ended = run(file, "--trials", "4", "--search-only")
    assert ended.returncode == 0 and study(file).best_trial.params["rank"] == 5
    assert len(failed(file)) == 3


def test_an_engine_s_last_job_begins_nothing_anew(tmp_path: Path) -> None:
    file = own(tmp_path, run=run_words("--lerning-rate 1"))
    first, last = bad(file), bad(file, "--last")
    assert first == last and len(trials(file)) == 3
