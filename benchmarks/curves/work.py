"""Which runs a comparison on curves consists of; their execution is `compare`'s."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import itertools
from pathlib import Path
import sys

import optuna

from benchmarks.compare.instance import NotAvailable
from benchmarks.compare.reference import reference
from benchmarks.compare.results import Line
from benchmarks.compare.work import complete
from benchmarks.compare.work import skipped
from benchmarks.curves import entrants
from benchmarks.curves.families import FAMILIES
from benchmarks.curves.families import find
from benchmarks.curves.instance import Curves
from benchmarks.curves.run import run
from benchmarks.curves.run import Task


@dataclass(frozen=True)
class Plan:
    """Every entrant on every problem, for each seed; the budget is in full trainings."""

    entrants: tuple[str, ...]
    families: tuple[str, ...]
    shifts: tuple[int, ...]
    seeds: tuple[int, ...]
    workers: tuple[int, ...]
    budget: int
    names: tuple[str, ...] = ()  # of problems, all if empty


def problems(plan: Plan) -> list[Curves]:
    """Those of a plan; a family that cannot be used here is told about and left out.

    Raises:
        ValueError: There is no such family, or no problem of these names.
    """
    found: list[Curves] = []
    for family, shift in itertools.product(plan.families, plan.shifts):
        if family not in FAMILIES:
            raise ValueError(f"A family is one of {', '.join(FAMILIES)}, but got {family!r}.")
        try:
            found += FAMILIES[family](shift)
        except NotAvailable as reason:
            print(f"without family {family}: {reason}", file=sys.stderr)
    chosen = [each for each in found if not plan.names or each.instance.name in plan.names]
    if not chosen:
        raise ValueError(f"No problem of {', '.join(plan.families)} has a name of {plan.names}.")
    return chosen


def execute(plan: Plan, out: Path, jobs: int) -> None:
    """Appends what is missing to the results.

    Raises:
        ValueError: A name in the plan is of nothing.
    """
    for name in plan.entrants:
        entrants.maker(name)
    complete(_lines(plan), out, jobs, carry_out)


def _lines(plan: Plan) -> Iterator[Line]:
    """What the results are to hold, the references first."""
    chosen = [each.instance for each in problems(plan)]
    for each in chosen:
        names = {"family": each.family, "instance": each.name, "shift": each.shift}
        yield {"kind": "reference", **names, "budget": each.reference}
    for seed, n, each, name in itertools.product(plan.seeds, plan.workers, chosen, plan.entrants):
        where = each.family, each.name, each.shift
        yield Task(name, *where, seed, n, plan.budget).line()


def carry_out(line: Line) -> Line:
    """Completes a line; one that says why not if the entrant cannot be used or raises."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curves = find(line["family"], line["instance"], line["shift"])
    if line["kind"] == "reference":
        return reference(curves.instance)
    task = Task(**{name: value for name, value in line.items() if name != "kind"})
    try:
        return run(task, curves)
    except Exception as error:  # another's search may raise anything; the others go on
        return skipped(line, error)
