"""What is known before the first trial: `--previous`, `[study] start` and priors."""

from __future__ import annotations

from pathlib import Path

from commands import bad
from commands import experiment
from commands import load
from commands import one_thread
from commands import run
import optuna
import pytest

from objectives.settings.plan import LoraPlan
from objectives.settings.read_plan import read_plan
from objectives.tune.samplers import PRUNERS
from objectives.tune.samplers import SAMPLERS


__all__ = ["experiment", "one_thread"]  # the fixtures


SEARCH = ("--search-only", "--sampler", "bamsoo")


@pytest.fixture
def untested(experiment: Path) -> Path:
    """Without a final test."""
    experiment.write_text(experiment.read_text().replace('test = ["colours"]', "test = []"))
    return experiment


def as_worker(experiment: Path, *options: str | int) -> LoraPlan:
    """The plan of a worker that a command with these options starts."""
    arguments = [str(each) for each in (experiment, "--workers", 1, *options)]
    _, _, _, *worker = read_plan(arguments, SAMPLERS, PRUNERS).worker_argv
    plan = read_plan(worker, SAMPLERS, PRUNERS)
    assert isinstance(plan, LoraPlan) and plan.workers is None and plan.search_only
    return plan


def test_a_study_begins_with_the_best_of_an_earlier_one(untested: Path) -> None:
    """Of other bounds, in its own file and in a storage that is named; a worker knows it too."""
    assert run(untested, "--search-only", "--trials", 3).returncode == 0
    best = load(untested).best_trial
    assert best.number > 0, "where a study begins anyway"
    untested.write_text(untested.read_text().replace("high = 8, log", "high = 16, log"))
    elsewhere = f"tiny@sqlite:///{untested.parent}/runs/tiny/study.db"
    url = f"sqlite:///{untested.parent}/second.db"
    second = ("--study", "second", "--storage", url, "--previous", elsewhere)
    for options in (second, ("--study", "third", "--previous", "tiny")):
        ended = run(untested, *SEARCH, "--trials", 1, *options)
        assert ended.returncode == 0, ended.stderr
    found = [*optuna.load_study(study_name="second", storage=url).trials]
    found += load(untested, "third").trials
    assert [trial.params for trial in found] == [pytest.approx(best.params)] * 2
    worker = as_worker(untested, *SEARCH[1:], "--previous", "tiny", "--previous", elsewhere)
    assert worker.settings.previous == ["tiny", elsewhere]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--previous", "tyny"), "--previous tyny: there is no study of that name in sqlite:///"),
        (("--previous", "tiny"), "is this study itself"),
        (("--previous", "a@nothing://x"), "--previous a: the URL = nothing://x: there is no such"),
        (("--previous", "a@b://x:y"), "--previous a: the URL must be a database URL"),
        (("--previous", "a@foo"), "--previous a@foo: there is no study of that name in"),
        (("--previous", "tiny", "--sampler", "soo"), "bamsoo learns from earlier studies"),
    ],
)
def test_what_is_no_earlier_study_is_told(
    experiment: Path, options: tuple[str, ...], told: str
) -> None:
    assert told in bad(experiment, "--sampler", "bamsoo", *options)


def test_a_study_tries_once_what_it_is_to_start_with(experiment: Path) -> None:
    text = experiment.read_text().replace("[study]", "[study]\nstart = [{learning_rate = 3e-3}]")
    experiment.write_text(text)
    for trials in (1, 2):
        ended = run(experiment, "--search-only", "--trials", trials)
        assert ended.returncode == 0, ended.stderr
    first, second = load(experiment).trials
    assert first.params["learning_rate"] == 3e-3 != second.params["learning_rate"]


def test_the_search_starts_at_the_prior_and_other_samplers_say_that_they_do_not(
    experiment: Path,
) -> None:
    entry = "learning_rate = {low = 1e-5, high = 1e-1, log = true, prior = 2e-3}"
    lines = experiment.read_text().splitlines()
    kept = [line if not line.startswith("learning_rate") else entry for line in lines]
    experiment.write_text("\n".join(kept))
    ended = run(experiment, "--search-only", "--trials", 1, "--sampler", "bamsoo")
    assert ended.returncode == 0 and "prior " not in ended.stdout, ended.stderr
    assert load(experiment).trials[0].params["learning_rate"] == pytest.approx(2e-3, rel=1e-3)
    ended = run(experiment, "--search-only", "--trials", 2, "--sampler", "soo")
    assert "prior          of [search]: bamsoo uses it, soo does not" in ended.stdout


def test_a_smaller_search_comes_first(untested: Path) -> None:
    """Once, with half of the rows; the real one starts at its best, and both are counted.

    A worker of the real one searches no smaller one, and learns from it.
    """
    options = ("--sampler", "bamsoo", "--proxy", 0.5, "--trials")
    first = run(untested, *options, 3)
    assert first.returncode == 0, first.stderr
    assert "proxy          3 trials on 0.5 of the rows, study tiny-proxy" in first.stdout
    smaller, real = load(untested, "tiny-proxy"), load(untested)
    assert len(smaller.trials) == len(real.trials) == 3
    assert smaller.best_trial.number > 0, "where a study begins anyway"
    assert real.trials[0].params == pytest.approx(smaller.best_params)
    assert smaller.user_attrs["experiment"]["[data] share"] == "0.5"
    assert real.user_attrs["experiment"]["[data] share"] == "1.0"
    assert "proxy          tiny-proxy: 3 trials, " in first.stdout
    again = run(untested, *options, 3)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(": 3 of 3 trials finished") == 2
    assert (len(load(untested, "tiny-proxy").trials), len(load(untested).trials)) == (3, 3)
    longer = read_plan([str(each) for each in (untested, *options, 4)], SAMPLERS, PRUNERS)
    assert isinstance(longer, LoraPlan) and longer.proxy is not None and longer.proxy.trials == 4
    changed = bad(untested, "--sampler", "bamsoo", "--trials", 4, "--proxy", 0.25)
    assert "--proxy: --study tiny-proxy: exists" in changed and "--previous tiny-proxy)" in changed
    worker = as_worker(untested, *options, 4)
    assert worker.proxy is None and worker.settings.previous == ["tiny-proxy"]


ALL_OF_IT = "learning_rate = {choices = [1e-3, 1e-2]}"


@pytest.mark.parametrize("more", [("--trials", 1), ()])
def test_a_smaller_search_has_half_of_the_time(
    untested: Path, more: tuple[str | int, ...]
) -> None:
    """With a number of trials beside the budget, and with a budget alone."""
    lines = untested.read_text().replace("rank = {low = 2, high = 8, log = true}", "rank = 2")
    kept = [ALL_OF_IT if each.startswith("learning_rate") else each for each in lines.splitlines()]
    untested.write_text("\n".join([*kept, "[proxy]", "share = 0.5", "trials = 1"]))
    options = (untested, "--sampler", "bamsoo", "--budget", "1h", *more)
    ended = run(*options)
    assert ended.returncode == 0, ended.stderr
    assert len(load(untested, "tiny-proxy").trials) == 1
    assert len(load(untested).trials) == (1 if more else 2), "each point of the space"
    plan = read_plan([str(each) for each in options], SAMPLERS, PRUNERS)
    assert isinstance(plan, LoraPlan) and plan.proxy is not None
    assert plan.until - plan.proxy.until == plan.proxy.budget.seconds == 1800
    worker = read_plan([*plan.proxy.worker_argv[3:], "--until", "7"], SAMPLERS, PRUNERS)
    assert worker.until == 7 and worker.budget == plan.proxy.budget


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--proxy", "1"), "--proxy 1: must be less than 1 where the base is the same"),
        (("--proxy", "0"), "--proxy 0: must be > 0; for example --proxy 0.1"),
        (("--proxy", "2"), "--proxy 2: must be <= 1; for example --proxy 0.1"),
        (("--proxy", "small"), "--proxy small: must be a number"),
        (("--proxy", "0.1", "--sampler", "tpe"), "--proxy: bamsoo learns from the smaller search"),
        (("--proxy", "0.1", "--budget", "1h"), "--proxy with a budget alone: how many trials"),
        (
            ("--proxy", "0.1", "--sampler", "bamsoo", "--search-only"),
            "--proxy with --search-only: there is no study",
        ),
    ],
)
def test_what_is_no_smaller_search_is_told(
    experiment: Path, options: tuple[str, ...], told: str
) -> None:
    assert told in bad(experiment, *options)
