"""Tables of a comparison in Markdown: what the results say, and nothing of how they came about."""

from __future__ import annotations

from collections.abc import Sequence
import math
import statistics

from benchmarks.compare import pace
from benchmarks.compare.regret import Mean
from benchmarks.compare.regret import mean
from benchmarks.compare.regret import MEASURES
from benchmarks.compare.regret import Place
from benchmarks.compare.regret import ratios
from benchmarks.compare.results import Key
from benchmarks.compare.results import Line


Row = list[str]
BESIDE = ("tpe", "gp")  # whose time to the target the others' is divided by


def markdown(head: Row, rows: Sequence[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tables(lines: dict[Key, Line], budgets: Sequence[int], measure: str = "seen") -> list[str]:
    """The regret and the time to the target wherever the results have runs of a budget.

    The time is of what was seen, and not told of with another measure of regret.
    """
    found = []
    runs = [line for line in lines.values() if line["kind"] == "run"]
    for n in budgets:
        for workers in sorted({r["workers"] for r in runs if len(r["values"]) >= n}):
            if workers == 1:
                found.append(regret_table(lines, n, measure))
            elif measure == "seen":
                found.append(time_table(lines, workers, n))
    return found


def regret_table(lines: dict[Key, Line], n: int, measure: str = "seen") -> str:
    """Samplers by families at n evaluations, the best sampler first.

    A sampler that cannot be used on some instances has its mean over the others, and says so.
    """
    found = ratios(lines, n, MEASURES[measure])
    everywhere = {place for places in found.values() for place in places}
    families = sorted({family for family, _, _ in everywhere})
    rows = []
    for sampler in sorted(found, key=lambda name: mean(list(found[name].values())).value):
        places = found[sampler]
        cells = [_cell(_of(places, family)) for family in families]
        note = "" if len(places) == len(everywhere) else f" on {len(places)}"
        rows.append([sampler, _cell(list(places.values())) + note, *cells])
    of = "" if measure == "seen" else f" of what is {measure}"
    title = f"Regret{of} at {n} evaluations over random search's, {len(everywhere)} instances"
    return f"{title}\n\n" + markdown(["sampler", "all", *families], rows)


def _of(places: dict[Place, float], family: str) -> list[float]:
    return [ratio for place, ratio in places.items() if place[0] == family]


def _cell(values: list[float]) -> str:
    return _written(mean(values)) if values else "-"


def _written(each: Mean) -> str:
    return f"{each.value:.2g} ({each.low:.2g}-{each.high:.2g})"


def time_table(lines: dict[Key, Line], workers: int, n: int) -> str:
    """Samplers by how long they take to the target, the most often successful first."""
    found = pace.times(lines, workers, n)
    beside = [name for name in BESIDE if name in found]
    rows = []
    for sampler in sorted(found, key=lambda name: _failures(found[name])):
        places = found[sampler]
        reached = len(places) - _failures(places)
        row = [sampler, f"{reached}/{len(places)}", _number(_median(places))]
        rows.append(row + [_times(places, found[name]) for name in beside])
    title = (
        f"Simulated time of {workers} workers, {pace.common_length(lines, workers)} evaluations "
        f"in all, to what random search reaches with {pace.HEAD_START * n} (an evaluation takes 1)"
    )
    head = ["sampler", "reached", "median time", *(f"over {name}'s" for name in beside)]
    return f"{title}\n\n" + markdown(head, rows)


def _failures(places: dict[Place, float]) -> int:
    return sum(map(math.isinf, places.values()))


def _median(places: dict[Place, float]) -> float:
    return statistics.median_high(places.values())


def _times(ours: dict[Place, float], others: dict[Place, float]) -> str:
    if not ours.keys() & others.keys():
        return "-"
    low, high = pace.interval(ours, others)
    ratio = _number(pace.median_ratio(ours, others))
    return f"{ratio} ({_number(low)}-{_number(high)})"


def _number(value: float) -> str:
    return "not reached" if math.isinf(value) else f"{value:.3g}"


def real_table(lines: dict[Key, Line], n: int) -> str:
    """The surrogate of the real evaluations: how soon it is good, and how much is not wasted."""
    found = pace.real(lines, n)
    rows = [
        [
            sampler,
            str(each.repeats),
            f"{_number(each.evaluations)} ({'-'.join(map(_number, each.quartiles))})",
            f"{each.share:.0%}",
        ]
        for sampler, each in sorted(found.items(), key=lambda item: item[1].evaluations)
    ]
    title = f"Surrogate of 203 real fine-tunings, {n} evaluations: HellaSwag accuracy"
    until, share = f"evaluations until {pace.GOOD} (quartiles)", f"above {pace.ACCEPTABLE}"
    return f"{title}\n\n" + markdown(["sampler", "runs", until, share], rows)
