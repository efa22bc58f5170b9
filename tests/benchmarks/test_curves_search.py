"""The comparison on curves: problems as published, a clock that pays for every step once."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
import random
from typing import Any

import numpy as np
import optuna
import pytest
from scipy.stats import spearmanr

from benchmarks.compare import results
from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params
from benchmarks.compare.reference import UnitTrial
from benchmarks.compare.unit import at
from benchmarks.curves import entrants
from benchmarks.curves import figures
from benchmarks.curves import make
from benchmarks.curves.__main__ import main
from benchmarks.curves.families import FAMILIES
from benchmarks.curves.families import find
from benchmarks.curves.families import lcbench
from benchmarks.curves.families import standin
from benchmarks.curves.families.hartmann import fidelities
from benchmarks.curves.families.hartmann import hartmann
from benchmarks.curves.instance import Curves
from benchmarks.curves.simulate import Job
from benchmarks.curves.simulate import Workshop
from objectives.settings.config import load_experiment


@pytest.mark.parametrize(
    ("x", "bias", "expected"),  # what MFHartmann3 and 6 of mf-prior-bench 1.10 say, without noise
    [
        ((0.3, 0.6, 0.8), 2.5, (0.3275149316, -2.2437594408, -3.529396627)),
        ((0.3, 0.6, 0.8), 4.0, (2.6416618668, -1.472377129, -3.529396627)),
        ((0.2, 0.3, 0.4, 0.3, 0.4, 0.6), 2.5, (0.1147354277, -1.6913646182, -2.5944146412)),
        ((0.2, 0.3, 0.4, 0.3, 0.4, 0.6), 4.0, (1.7402254691, -1.1495346044, -2.5944146412)),
    ],
)
def test_hartmann_is_the_published_one(
    x: Sequence[float], bias: float, expected: Sequence[float]
) -> None:
    curve = hartmann(np.array(x), bias, fidelities(27))
    assert [curve[0], curve[8], curve[26]] == pytest.approx(expected)


def test_the_minimum_of_hartmann_is_at_the_last_step_and_without_noise() -> None:
    best = {3: (0.114614, 0.555649, 0.852547)}
    best[6] = (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)
    for each in FAMILIES["hartmann"](0):
        params = {f"x{i}": x for i, x in enumerate(best[int(each.instance.name[0])])}
        training = each.train(params, 0, 0)
        assert training.losses[-1] == training.final == pytest.approx(each.instance.least)
        pairs = zip(training.losses[:-1], each.curve(params)[:-1], strict=True)
        assert all(loss > exact for loss, exact in pairs)


def test_lcbench_is_the_published_model() -> None:
    """Values of YAHPO Gym's model.onnx by onnxruntime; ours has 16 bits a number."""
    params = {"batch_size": 375, "learning_rate": 0.00042361122112070075, "num_layers": 5}
    params |= {"max_dropout": 0.9358698730683889, "max_units": 163}
    params |= {"momentum": 0.1405421679816497, "weight_decay": 0.05862080465129775}
    seconds, accuracy = lcbench.outputs(params, 32, np.array([4, 52]))
    assert seconds == pytest.approx([12.599184, 105.394234], rel=5e-3)
    assert accuracy == pytest.approx([0.2554443, 0.2314642], abs=1e-3)


@pytest.mark.parametrize(("family", "least"), [("standin", 0.95), ("short", 0.9)])
def test_a_surrogate_foretells_trainings_that_it_did_not_see(family: str, least: float) -> None:
    table = standin.read(family)
    held = table.part(range(0, len(table.params), 4))
    rest = table.part([i for i in range(len(table.params)) if i % 4])
    model = standin.Surrogate(rest, standin.settings(family))
    found = np.array([standin.losses(model.curve(params)) for params in held.params])
    for step in range(standin.STEPS):
        assert spearmanr(found[:, step], held.losses[:, step])[0] > least


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_is_the_same_whenever_it_is_made(family: str) -> None:
    for each in (*FAMILIES[family](0), *FAMILIES[family](1000)):
        again = find(each.instance.family, each.instance.name, each.instance.shift)
        params = each.instance.ask(UnitTrial({}, random.Random(0)))
        one = each.train(params, 3, 1)
        assert one == again.train(params, 3, 1)
        assert len(one.losses) == len(one.reports) == each.steps
        assert one.final == each.instance.value(params)
        if each.noise is not None:
            assert len({each.train(params, 3, attempt) for attempt in range(9)}) > 1
            assert len({each.train(params, seed, 1) for seed in range(9)}) > 1
        if each.falling:
            assert list(one.reports) == sorted(one.reports, reverse=True)


def test_a_pruner_is_told_the_smallest_loss_so_far_and_a_study_the_last() -> None:
    spiky = (3.0, 5.0, 2.0, 2.5)
    instance = Instance("f", "a", 0, lambda params: 2.5, {})
    training = Curves(instance, 4, lambda _: spiky, lambda _: 1.0, falling=True).train({}, 0, 0)
    assert training.reports == (3.0, 3.0, 2.0, 2.0)
    assert (training.final, training.answer(4), training.answer(2)) == (2.5, 2.5, 3.0)
    plain = Curves(instance, 4, lambda _: spiky, lambda _: 1.0).train({}, 0, 0)
    assert plain.reports == spiky


def made(steps: int = 4, seconds: dict[float, float] | None = None) -> Curves:
    """x is the last loss without noise, and noise is another for each training."""

    def curve(params: Params) -> tuple[float, ...]:
        return tuple(params["x"] + steps - step for step in range(1, steps + 1))

    def noise(
        params: Params, exact: tuple[float, ...], chance: random.Random
    ) -> tuple[float, ...]:
        shift = chance.random()
        return tuple(loss + shift for loss in exact)

    instance = Instance("f", "a", 0, lambda params: params["x"], {})
    return Curves(instance, steps, curve, lambda p: (seconds or {}).get(p["x"], 1.0), noise)


class Scripted:
    """Asks for x and steps in turn, and stops where it is told to."""

    def __init__(self, jobs: Sequence[tuple[float, int]], stops: set[tuple[int, int]]) -> None:
        self._jobs, self._stops = list(enumerate(jobs)), stops
        self.reports: list[tuple[int, int, float]] = []  # number, step, loss
        self.ended: list[tuple[int, float | None]] = []

    def ask(self) -> Job | None:
        if not self._jobs:
            return None
        number, (x, until) = self._jobs.pop(0)
        return Job({"x": x}, until, number)

    def report(self, job: Job, step: int, loss: float) -> bool:
        self.reports.append((job.tag, step, loss))
        return (job.tag, step) in self._stops

    def end(self, job: Job, value: float | None) -> None:
        self.ended.append((job.tag, value))

    def of(self, number: int) -> list[float]:
        return [loss for n, _, loss in self.reports if n == number]


def worked(entrant: Scripted, budget: int = 100, workers: int = 1, **more: object) -> Workshop:
    workshop = Workshop(made(**more), entrant, seed=0, budget=budget)  # type: ignore[arg-type]
    workshop.work(workers)
    return workshop


def test_a_training_that_was_stopped_goes_on_with_its_own_curve_and_is_paid_once() -> None:
    entrant = Scripted([(1.0, 4), (1.0, 4), (1.0, 4)], stops={(0, 3)})
    workshop = worked(entrant)
    first, second, third = entrant.of(0), entrant.of(1), entrant.of(2)
    assert first == second[:3] and len(second) == 4  # the pruner is asked again about all of them
    assert third != second and len(third) == 4  # that of one that ended starts anew
    assert workshop.spent == 4 + 4
    assert entrant.ended == [(0, None), (1, second[-1]), (2, third[-1])]
    assert [each.spent for each in workshop.finished] == [4, 8]
    assert not workshop.shelf.stopped


def test_a_training_that_is_stopped_again_where_it_was_costs_nothing() -> None:
    entrant = Scripted([(1.0, 4), (1.0, 4), (1.0, 4)], stops={(0, 3), (1, 2)})
    workshop = worked(entrant)
    assert [len(entrant.of(number)) for number in range(3)] == [3, 2, 4]
    assert workshop.spent == 4 and len(workshop.finished) == 1


def test_who_asks_for_fewer_steps_has_the_value_there_and_goes_on_later() -> None:
    entrant = Scripted([(1.0, 1), (2.0, 1), (1.0, 4)], stops=set())
    workshop = worked(entrant)
    assert entrant.ended[0] == (0, entrant.of(0)[0])
    assert workshop.spent == 1 + 1 + 3
    assert [each.final for each in workshop.finished] == [1.0]
    assert [each.training.final for each in workshop.shelf.stopped.values()] == [2.0]


def test_a_budget_of_steps_is_kept() -> None:
    workshop = worked(Scripted([(x, 4) for x in range(9)], set()), budget=10, workers=3)
    assert workshop.spent == 10 and len(workshop.finished) == 1


def test_workers_report_in_the_order_of_time() -> None:
    entrant = Scripted([(1.0, 3), (2.0, 3), (3.0, 3)], stops={(1, 2)})
    workshop = worked(entrant, workers=2, steps=3, seconds={1.0: 2.0, 2.0: 1.5, 3.0: 0.25})
    told = [(number, step) for number, step, _ in entrant.reports]
    # at 1.5, 2, 3 (the second is stopped: the third begins), 3.25, 3.5, 3.75, 4, 6
    assert told == [(1, 1), (0, 1), (1, 2), (2, 1), (2, 2), (2, 3), (0, 2), (0, 3)]
    assert [each.time for each in workshop.finished] == [3.75, 6.0] and workshop.time == 6.0


class At(optuna.pruners.BasePruner):
    """Stops trial 0 after its second report."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.number == 0 and trial.last_step == 2


class Same(optuna.samplers.RandomSampler):
    """The upper end of every axis."""

    def sample_independent(self, study: Any, trial: Any, name: str, axis: Any) -> Any:
        return axis.high


def test_an_optuna_study_has_the_reports_of_a_training_that_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(entrants.PRUNERS, "at", lambda steps: At())
    monkeypatch.setattr(entrants.peers, "maker", lambda name: lambda instance, seed: Same())
    curves = find("standin", "lora", 0)
    entrant = entrants.maker("same+at")(curves, 0, 0, 1)
    workshop = Workshop(curves, entrant, seed=0, budget=curves.steps)
    workshop.work(1)
    first, second = entrant._study.trials[:2]  # type: ignore[attr-defined]
    assert first.state.name == "PRUNED" and second.state.name == "COMPLETE"
    assert len(first.intermediate_values) == 2 and len(second.intermediate_values) == 8
    assert first.intermediate_values.items() <= second.intermediate_values.items()
    assert workshop.spent == curves.steps


def line(finished: list[list[float]], stopped: list[float], **more: object) -> results.Line:
    names = {"kind": "run", "sampler": "s", "family": "f", "instance": "a", "shift": 0}
    rest = {"seed": 0, "workers": 1, "budget": 10, "steps": 4, "spent": 40, "time": 50.0}
    return {**names, **rest, "finished": finished, "stopped": stopped, **more}


def test_figures_are_those_computed_by_hand() -> None:
    hit = line([[4, 1.0, 3.0], [10, 2.0, 1.0], [12, 3.0, 0.5]], [0.25, 2.0])
    missed = line([[4, 1.0, 3.0]], [5.0], seed=1)
    assert figures.reached(hit, 1.0) == (2.5, 2.0) and figures.reached(missed, 1.0) is None
    pace = figures.pace([hit, missed], 1.0)
    assert pace == figures.Pace(1, (2.5, 10.0), (2.0, 50.0))
    assert [figures.best(hit, n) for n in (0.5, 1, 2.5, 3)] == [float("inf"), 3.0, 1.0, 0.5]
    assert figures.stops([hit, missed]) == figures.Stops(1.5, 1 / 3, 0.5)


def test_a_run_has_no_regret_beyond_its_budget() -> None:
    medians = {str(n): 2.0 for n in (10, 20)}
    goal = {"kind": "reference", "family": "f", "instance": "a", "shift": 0, "budget": 9}
    goal |= {"medians": medians, "least": 1.0, "known": True, "worst": 9.0}
    lines = results.longest(iter([goal, line([[4, 1.0, 3.0], [40, 2.0, 1.5]], [])]))
    assert figures.ratios(lines, 1, 10) == {"s": [0.5]}
    assert figures.ratios(lines, 1, 20) == {"s": []}


def test_a_comparison_is_run_once_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.jsonl"
    command = ["run", "--entrants", "random,random+halving", "--families", "hartmann"]
    command += ["--problems", "3d-good", "--budget", "5", "--workers", "1,4", "--out", str(out)]
    main(command)
    before = out.read_text()
    main(command)
    assert out.read_text() == before
    runs = [json.loads(text) for text in before.splitlines()][1:]
    assert [each["spent"] for each in runs] == [5 * 27] * 4
    capsys.readouterr()
    main(["table", str(out), "--budgets", "5"])
    told = capsys.readouterr().out
    assert told.count("| random+halving |") == 6 and "by 4 workers" in told


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--entrants", "tpe+magic", "A pruner is one of"),
        ("--entrants", "magic+bound", "A sampler is one of"),
        ("--families", "magic", "A family is one of"),
        ("--problems", "magic", "has a name of"),
    ],
)
def test_a_wrong_name_is_one_line(
    option: str, value: str, rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"--entrants": "random", "--families": "hartmann", "--out": str(tmp_path / "r")}
    with pytest.raises(SystemExit) as caught:
        main(["run", *(text for pair in (options | {option: value}).items() for text in pair)])
    assert caught.value.code == 2 and rule in capsys.readouterr().err


def test_what_is_kept_for_the_end_is_not_in_all_of_the_tuning_split(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--problems", "168330", "--out", str(tmp_path / "r")])


def test_nobody_tunes_on_a_task_of_the_final_split() -> None:
    names = [{c.instance.name for c in lcbench.instances(shift)} for shift in (0, 1000)]
    assert not names[0] & names[1] and all(names)


@pytest.mark.parametrize(("family", "rows"), standin.ROWS.items())
def test_the_trainings_are_those_of_the_stand_in_with_eight_validations(
    tmp_path: Path, family: str, rows: int
) -> None:
    seen = {}
    for name, text, *_ in make.studies(family, 300):
        file = tmp_path / f"{name}.toml"
        file.write_text(text)
        seen[name] = load_experiment(file)
    for each in seen.values():
        assert each.training.validations == standin.STEPS and each.scoring.tasks is None
        assert each.data.limit == rows
    assert {each.training.seed for each in seen.values()} == {0, 1, 2, 3}
    assert seen["curves-lhs"].search_space() == standin.SPACE


def trained(study: str, chance: random.Random) -> optuna.trial.FrozenTrial:
    """A trial whose curve depends on the learning rate and, a little, on the study."""
    params = {name: at(axis, chance.random()) for name, axis in standin.SPACE.items()}
    end = 2.75 + 0.01 * (np.log(params["learning_rate"]) + 6) ** 2 + 1e-4 * len(study)
    losses = [[step, end + 0.1 / step] for step in range(1, 9)]
    told = {"validation_losses": losses, "seconds_training": 9.0, "steps": 71}
    return optuna.create_trial(
        value=losses[-1][1], params=params, distributions=standin.SPACE, user_attrs=told
    )


def test_a_study_is_exported_and_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(standin, "DATA", tmp_path)
    url = f"sqlite:///{tmp_path}/a.db"
    for name, n in (("curves-lhs", 30), ("repeats-1", 6), ("repeats-02", 6)):
        study = optuna.create_study(study_name=name, storage=url)
        study.add_trials([trained(name, random.Random(i)) for i in range(n)])
    make.make(tmp_path, "standin", 0, [url])
    told = json.loads(standin.settings_of("standin").read_text())
    assert told["trainings"] == 30 and told["noise_from"] == "repeats"
    assert min(told["left_out"]["spearman"]) > 0.9
