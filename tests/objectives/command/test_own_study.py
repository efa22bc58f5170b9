"""A study of a trainer of somebody else's, from its file to what is left at the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import json
from pathlib import Path
import subprocess
import tomllib
from typing import Any

from commands import run
from commands import until
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import IntDistribution
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest
from trainers import own
from trainers import run_words
from trainers import study
from trainers import trials
import yaml

from objectives.command.outputs import save_best
from objectives.settings.plan import OwnPlan
from objectives.settings.read_plan import read_plan
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import SAMPLERS


LINES = '{{json = "{{output}}/lines.jsonl", key = "eval.loss", step = "at.step"}}'
PRINTED = r"""{{pattern = 'step=(?P<step>\d+) loss=([0-9.e+-]+)'}}"""
DOTTED = '"optimizer.lr" = {low = 1e-4, high = 1e-1, log = true}\nrank = {choices = [4, 8]}'
CONFIGS = {
    "base.json": '{"out": "{output}", "optimizer": {"lr": 0.001, "name": "adamw"}, "list": [1]}',
    "base.yml": "out: '{output}/x'\noptimizer: &a {lr: 1.0e-3, name: adamw}\nlist: [1]\nb: *a\n",
    "base.toml": (
        'out = "{output}"\nend = "\\u007f\\u0000"\nlist = [1, {a = 2}]\n'
        '[optimizer]\nlr = 1e-3\nname = "adamw"\n'
    ),
}
READERS = {"json": json.loads, "yml": yaml.safe_load, "toml": tomllib.loads}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a baseline."""
    file = own(
        tmp_path_factory.mktemp("done"),
        study='sampler = "soo"\ntrials = 5',
        baseline="{{learning_rate = 2e-4, rank = 4}}",
    )
    ended = run(file)
    assert ended.returncode == 0, ended.stderr
    (file.parent / "told.txt").write_text(ended.stdout)
    return file


def expected(params: dict[str, Any]) -> float:
    """As the trainer computes it."""
    return abs(params["learning_rate"] - 3e-3) * 100 + params["rank"] / 100 + 1 / 4


def test_a_trial_has_the_trainer_s_value(done: Path) -> None:
    found = trials(done)
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 5
    assert [trial.value for trial in found] == [expected(trial.params) for trial in found]
    assert all(isinstance(trial.params["rank"], int) for trial in found), "as its bounds are"


def test_a_trial_says_what_was_run_and_where(done: Path) -> None:
    for trial in trials(done):
        told = trial.user_attrs
        assert f"--lr {trial.params['learning_rate']} --rank" in told["command"]
        assert f"--out {told['output']}" in told["command"]
        assert "step=40 loss=" in Path(told["log"]).read_text()
        assert told["log"] == str(done.parent / f"runs/own/trials/{trial.number:04d}/log.txt")
        assert told["seconds_training"] > 0


def test_the_baseline_is_the_first_trial_and_is_compared(done: Path) -> None:
    first = trials(done)[0]
    assert first.params == {"learning_rate": 2e-4, "rank": 4}
    told = (done.parent / "told.txt").read_text()
    assert f"baseline       {first.value:.4f} in trial 0" in told
    assert (
        f"{first.value:.4f} in trial 0"
        in (done.parent / "runs/own/report/report.html").read_text()
    )


def test_the_best_outputs_are_kept(done: Path) -> None:
    best = sorted(trials(done), key=lambda trial: trial.value or 0.0)[:3]
    folders = (done.parent / "runs/own/trials").glob("*/output")
    assert {int(folder.parent.name) for folder in folders} == {trial.number for trial in best}


def test_the_best_command_runs_again_beside_the_study(done: Path) -> None:
    script = done.parent / "runs/own/best/command.sh"
    best = study(done).best_trial
    before = [(trial.value, trial.params) for trial in trials(done)]
    assert f"trial {best.number} of own: eval.loss {best.value}" in script.read_text()
    subprocess.run([script], check=True, stdout=subprocess.DEVNULL)
    trained = done.parent / f"runs/own/best/output-{best.number}/results.json"
    results = json.loads(trained.read_text())
    assert results["eval"]["loss"] == best.value
    assert not Path(best.user_attrs["output"], "lines.jsonl").read_text().count("\n") > 4
    assert before == [(trial.value, trial.params) for trial in trials(done)]


def test_the_same_command_with_more_trials_goes_on(done: Path) -> None:
    ended = run(done, "--trials", "6")
    assert ended.returncode == 0 and "5 of 6 trials finished" in ended.stdout
    assert list(
        (done.parent / "runs/own/best").glob("output-*/results.json")
    )  # of the test before
    assert len([trial for trial in trials(done) if "baseline" in trial.user_attrs]) == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_each_trial_has_its_copy_of_the_config(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(CONFIGS[name])
    words = '"{python} train.py --rank {{rank}} --config {{config}}"'
    file = own(tmp_path, run=words, config=f'"{name}"', value=PRINTED, search=DOTTED)
    assert run(file, "--trials", "2", "--search-only").returncode == 0
    base = READERS[file.parent.joinpath(name).suffix[1:]](CONFIGS[name])
    for trial in trials(file):
        place = Path(trial.user_attrs["log"]).parent
        said = READERS[name.partition(".")[2]]((place / name).read_text())
        assert said["optimizer"]["lr"] == trial.params["optimizer.lr"]
        told = {"learning_rate": said["optimizer"]["lr"], "rank": trial.params["rank"]}
        assert trial.value == expected(told)
        assert said["out"].startswith(str(place / "output"))
        assert said["list"] == base["list"] and said["optimizer"]["name"] == "adamw"
        assert said.get("b") == base.get("b"), "a YAML alias is a place of its own"
        assert said.get("end") == base.get("end"), "TOML escapes control characters"
    assert (tmp_path / name).read_text() == CONFIGS[name]
    plan = read_plan([str(file), "--output", str(tmp_path / "runs")], SAMPLERS, PRUNERS)
    assert isinstance(plan, OwnPlan)
    trial = study(file).best_trial
    save_best(plan.experiment, trial, study="own", home=plan.home, folder=plan.folder)
    best = READERS[name.partition(".")[2]]((tmp_path / "runs/own/best" / name).read_text())
    assert best["out"].startswith(str(tmp_path / "runs/own/best/output"))


@pytest.mark.parametrize(("keep", "left"), [("all", 4), ("none", 0)])
def test_what_is_kept(keep: str, left: int, tmp_path: Path) -> None:
    """The best are kept where nothing is said, as above."""
    file = own(tmp_path, keep=f'"{keep}"')
    assert run(file, "--search-only").returncode == 0
    folders = list((tmp_path / "runs/own/trials").glob("*/output"))
    assert len(folders) == left and len(list(tmp_path.glob("runs/own/trials/*/log.txt"))) == 4


START = """sampler = "soo"
pruner = "asha"
start = [
    {learning_rate = 3e-3, rank = 8},
    {learning_rate = 1e-1, rank = 16},
    {learning_rate = 3e-3, rank = 4},
]
"""
"""The second is the worst at its first step, where it stays until it is pruned."""


def held(folder: Path, value: str) -> Path:
    return own(folder, run=run_words("--hold 9"), value=value, study=START)


def check_pruned(file: Path) -> None:
    """Two were trained to their end, and the one between them was not."""
    first, pruned, last = trials(file)
    assert pruned.state is TrialState.PRUNED
    assert set(pruned.intermediate_values) == {10}, "under the trainer's own step"
    assert not Path(pruned.user_attrs["output"]).exists()
    assert (pruned.user_attrs["steps"], pruned.user_attrs["steps_in_all"]) == (10, 40)
    for trial in (first, last):
        assert sorted(trial.intermediate_values) == [10, 20, 30, 40]
        assert trial.value == trial.intermediate_values[40] == expected(trial.params)


def test_a_pruned_trainer_ends(tmp_path: Path) -> None:
    file = held(tmp_path, LINES)
    ended = run(file, "--trials", "3")
    assert ended.returncode == 0, ended.stderr
    check_pruned(file)
    page = (tmp_path / "runs/own/report/report.html").read_text()
    assert "Learning curves" in page and "saved by stopping" in page


def test_a_space_that_is_used_up_ends_the_search(tmp_path: Path) -> None:
    """Each further call repeated a trial. Two workers that look at once still may."""
    held = run_words("--until", str(tmp_path / "go-{{rank}}"))
    held = held.replace("--lr {{learning_rate}}", "")
    file = own(tmp_path, search="rank = {choices = [2, 4, 8]}", run=held)

    def have_begun(count: int) -> bool:
        return len([*tmp_path.glob("runs/own/trials/*/log.txt")]) == count

    def let_go() -> None:
        until(lambda: have_begun(2))
        first = trials(file)[0].params["rank"]
        (tmp_path / f"go-{first}").touch()
        until(lambda: have_begun(3))
        for rank in {2, 4, 8} - {first}:
            (tmp_path / f"go-{rank}").touch()

    with ThreadPoolExecutor() as pool:
        pool.submit(let_go)
        ended = run(file, "--trials", "9", "--workers", "2")
    assert ended.returncode == 0, ended.stderr
    assert "search ended   every point of the search space is evaluated\n" in ended.stdout
    more = "the same command with wider ranges in [search]: every point of these is evaluated"
    assert f"more trials    {more}\n" in ended.stdout
    assert run(file, "--trials", "9").returncode == 0
    assert sorted(trial.params["rank"] for trial in trials(file)) == [2, 4, 8]


def test_a_budget_counts_what_was_trained(tmp_path: Path) -> None:
    """A training, a quarter, a training: another one would be too much."""
    file = held(tmp_path, PRINTED)
    ended = run(file, "--budget", "3trainings", "--search-only")
    assert ended.returncode == 0 and "0.75 of 3 trainings left" in ended.stdout
    check_pruned(file)
    assert [trial.user_attrs["steps"] for trial in trials(file)] == [40, 10, 40]


def test_a_budget_of_time_ends_what_runs(tmp_path: Path) -> None:
    file = own(tmp_path, run=run_words("--until /nowhere"))
    ended = run(file, "--budget", "6s")
    (trial,) = trials(file)
    assert trial.state is TrialState.FAIL and "failure" not in trial.user_attrs
    why = "no trial has a value: the budget of 6s ended before trial 0 did, which had run for "
    assert ended.returncode == 1 and why in ended.stdout
    assert "; the same command with a longer --budget goes on\n" in ended.stdout
    page = (tmp_path / "runs/own/report/report.html").read_text()
    assert "1 interrupted" in page and "failed" not in page + ended.stdout
    assert "best/" not in page, "which is not there"


def earlier(folder: Path, name: str) -> str:
    """The storage of a study that was searched for these parameters, among others."""
    params = {"wide": ("rank", "layers"), "other": ("layers",), "new": ()}[name]
    url = f"sqlite:///{folder}/{name}.db"
    found = optuna.create_study(study_name=name, storage=url)
    if params:
        values = {each: 4 for each in params}
        ranges: dict[str, BaseDistribution] = {each: IntDistribution(1, 8) for each in params}
        found.add_trial(create_trial(params=values, distributions=ranges, value=1.0))
    return url


def test_an_earlier_study_tells_where_to_begin(done: Path) -> None:
    options = ("--sampler", "bamsoo", "--trials", "1", "--study", "later", "--previous", "own")
    more = [f"--previous={name}@{earlier(done.parent, name)}" for name in ("wide", "other", "new")]
    ended = run(done, *options, *more, "--search-only")
    assert ended.returncode == 0, ended.stderr
    told = [line for line in ended.stdout.splitlines() if line.startswith("previous")]
    assert told == [
        f"previous       own: {len(trials(done))} complete trials",
        "previous       wide: 1 complete trial; not searched here, and left out: layers",
        "previous       other: 1 complete trial, of other parameters than are searched here, and "
        "so without a use",
        "previous       new: 0 complete trials, so that nothing is learned from it",
    ]
    best = study(done).best_params
    assert [trial.params for trial in trials(done, "later")] == [best]
