"""Tables of a comparison on curves in Markdown: what the results say."""

from __future__ import annotations

from collections.abc import Sequence
import itertools
import math

from benchmarks.compare.regret import geometric_mean
from benchmarks.compare.regret import mean
from benchmarks.compare.results import Line
from benchmarks.compare.tables import markdown
from benchmarks.curves import figures
from benchmarks.curves.figures import Lines
from benchmarks.curves.figures import Pace


BUDGETS = (5, 10, 20, 40, 100)  # full trainings
BESIDE = "random"  # whose time the others' is divided by


def tables(lines: Lines, budgets: Sequence[int] = BUDGETS) -> list[str]:
    """Of each number of workers: cost of the target, regret, what stopping did and took."""
    numbers = sorted({line["workers"] for line in lines.values() if line["kind"] == "run"})
    made = (pace_table, lambda lines, n: regret_table(lines, n, budgets), stop_table)
    return [table(lines, n) for n in numbers for table in made]


def pace_table(lines: Lines, workers: int) -> str:
    """Entrants by what they need to the target, the cheapest first."""
    found = figures.paces(lines, workers)
    families = sorted({where[0] for places in found.values() for where in places})
    beside = found.get(BESIDE, {})
    rows = []
    for entrant in sorted(found, key=lambda name: _cost(list(found[name].values()))):
        places = found[entrant]
        paces = list(places.values())
        hits = f"{sum(p.reached for p in paces)}/{sum(len(p.trainings) for p in paces)}"
        times = [
            time / geometric_mean(beside[where].times)
            for where in places.keys() & beside.keys()
            for time in places[where].times
        ]
        cells = [_trainings([p for w, p in places.items() if w[0] == f]) for f in families]
        rows.append([entrant, hits, _trainings(paces), _mean(times), *cells])
    title = (
        f"Full trainings' worth of steps, by {workers} workers, to what random search reaches "
        f"with {figures.TARGET}; a run that does not reach it counts as its length"
    )
    head = ["entrant", "reached", "trainings", f"time over {BESIDE}'s", *families]
    return f"{title}\n\n" + markdown(head, rows)


def _cost(paces: list[Pace]) -> float:
    return geometric_mean(_costs(paces))


def _costs(paces: list[Pace]) -> list[float]:
    return [cost for pace in paces for cost in pace.trainings]


def _trainings(paces: list[Pace]) -> str:
    """The mean with its interval over runs; a lower bound if one did not get there."""
    bound = "" if all(p.reached == len(p.trainings) for p in paces) else ">= "
    return bound + _mean(_costs(paces))


def _mean(values: list[float]) -> str:
    if not values:
        return "-"
    each = mean(values)
    return f"{each.value:.3g} ({each.low:.3g}-{each.high:.3g})"


def regret_table(lines: Lines, workers: int, budgets: Sequence[int]) -> str:
    """Entrants by the regret of the best full training after each budget."""
    longest = max(line["budget"] for line in lines.values() if line["kind"] == "run")
    columns = [n for n in budgets if n <= longest] or [longest]
    found = {n: figures.ratios(lines, workers, n) for n in columns}
    last = found[columns[-1]]
    names = sorted(last, key=lambda name: geometric_mean(last[name] or [1.0]))
    rows = [[name, *(_mean(found[n][name]) for n in columns)] for name in names]
    title = f"Regret over random search's after steps of so many trainings, by {workers} workers"
    return f"{title}\n\n" + markdown(["entrant", *map(str, columns)], rows)


def stop_table(lines: Lines, workers: int) -> str:
    """What was stopped, how often wrongly, and what an ask and a report take here."""
    rows = []
    for entrant, places in sorted(figures.runs(lines, workers).items()):
        group = list(itertools.chain.from_iterable(places.values()))
        each = figures.stops(group)
        finished = sum(len(line["finished"]) for line in group) / len(group)
        counts = [f"{finished:.1f}", f"{each.stopped:.1f}", f"{each.wrongly:.1%}"]
        times = [_milliseconds(group, "ask"), _milliseconds(group, "report")]
        rows.append([entrant, *counts, f"{each.lost:.0%}", *times])
    title = f"Trainings of a run that ended and that were stopped for good, by {workers} workers"
    head = ["entrant", "ended", "stopped", "wrongly", "best stopped", "ms an ask", "ms a report"]
    return f"{title}\n\n" + markdown(head, rows)


def _milliseconds(group: list[Line], what: str) -> str:
    times, number = (sum(line[name] for line in group) for name in (f"{what}_seconds", f"{what}s"))
    return f"{1000 * times / number:.2g}" if number else str(math.nan)
