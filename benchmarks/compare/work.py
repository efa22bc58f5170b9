"""Which runs a comparison consists of, and their execution by one or several processes."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import as_completed
from concurrent.futures import Future
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
import itertools
import multiprocessing
from pathlib import Path
import sys
import time

import optuna

from benchmarks.compare import peers
from benchmarks.compare import results
from benchmarks.compare.families import FAMILIES
from benchmarks.compare.families import find
from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import NotAvailable
from benchmarks.compare.reference import reference
from benchmarks.compare.results import Line
from benchmarks.compare.run import run
from benchmarks.compare.run import Task


@dataclass(frozen=True)
class Plan:
    """A comparison: every sampler on every instance, for each seed."""

    samplers: tuple[str, ...]
    families: tuple[str, ...]
    shifts: tuple[int, ...]
    seeds: tuple[int, ...]
    workers: int
    budget: int
    names: tuple[str, ...] = ()  # of problems, all if empty


def instances(plan: Plan) -> list[Instance]:
    """The instances of a plan; a family that cannot be used here is told about and left out.

    Raises:
        ValueError: There is no such family, or no instance of these names.
    """
    for family in plan.families:
        if family not in FAMILIES:
            raise ValueError(f"A family is one of {', '.join(FAMILIES)}, but got {family!r}.")
    found: list[Instance] = []
    for family in plan.families:
        try:
            for shift in plan.shifts:
                found += FAMILIES[family](shift)
        except NotAvailable as reason:
            print(f"without family {family}: {reason}", file=sys.stderr)
    chosen = [each for each in found if not plan.names or each.name in plan.names]
    if not chosen:
        raise ValueError(f"No problem of {', '.join(plan.families)} has a name of {plan.names}.")
    return chosen


def _lines(plan: Plan) -> Iterator[Line]:
    """What the results are to hold, the references first.

    An early stop leaves every sampler with the same instances.
    """
    chosen = sorted(instances(plan), key=lambda each: each.shift)
    for each in chosen:
        names = {"family": each.family, "instance": each.name, "shift": each.shift}
        yield {"kind": "reference", **names, "budget": each.reference}
    for seed, each, name in itertools.product(plan.seeds, chosen, plan.samplers):
        where = each.family, each.name, each.shift
        yield Task(name, *where, seed, plan.workers, plan.budget).line()


def execute(plan: Plan, out: Path, jobs: int) -> None:
    """Appends what is missing to the results.

    Raises:
        ValueError: A name in the plan is of nothing.
    """
    for name in plan.samplers:
        peers.maker(name)
    complete(_lines(plan), out, jobs, carry_out)


def complete(
    lines: Iterable[Line], out: Path, jobs: int, carry_out: Callable[[Line], Line]
) -> None:
    """Carries out those of the lines that the results lack, and appends them."""
    results.cut(out)
    known = results.longest(results.read(out))
    missing = [line for line in lines if not _is_done(line, known)]
    print(f"{len(missing)} to do, {len(known)} in {out}", file=sys.stderr)
    began, skipped = time.monotonic(), set()
    for done, line in enumerate(_finished(missing, jobs, carry_out), 1):
        if line["kind"] != "skipped":
            results.append(out, line)
        elif (line["sampler"], line["reason"]) not in skipped:  # said once for all instances
            skipped.add((line["sampler"], line["reason"]))
            what = f"{line['sampler']} on {line['on']}"
            print(f"\nwithout {what}: {line['reason']}", file=sys.stderr)
        _progress(done, len(missing), time.monotonic() - began, line)


def _is_done(line: Line, known: dict[results.Key, Line]) -> bool:
    found = known.get(results.key(line))
    return found is not None and found["budget"] >= line["budget"]


def _finished(lines: list[Line], jobs: int, carry_out: Callable[[Line], Line]) -> Iterator[Line]:
    if jobs == 1:
        yield from map(carry_out, lines)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        futures: list[Future[Line]] = [pool.submit(carry_out, line) for line in lines]
        for future in as_completed(futures):
            yield future.result()


def carry_out(line: Line) -> Line:
    """Completes a line; one that says why not if the sampler cannot be used or raises."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    instance = find(line["family"], line["instance"], line["shift"])
    if line["kind"] == "reference":
        return reference(instance)
    task = Task(**{name: value for name, value in line.items() if name != "kind"})
    try:
        return run(task, instance)
    except Exception as error:  # another's sampler may raise anything; the others go on
        return skipped(line, error)


def skipped(line: Line, error: Exception) -> Line:
    """Says why there is no run; it is not kept."""
    reason = str(error) if isinstance(error, NotAvailable) else repr(error)
    on = f"{line['family']}/{line['instance']}"
    return {"kind": "skipped", "sampler": line["sampler"], "on": on, "reason": reason}


def _progress(done: int, total: int, seconds: float, line: Line) -> None:
    left = seconds / done * (total - done)
    what = line.get("sampler", line["kind"])
    text = f"\r{done}/{total}, about {left / 60:.1f} min left ({what})"
    print(f"{text:<78}", end="\n" if done == total else "", file=sys.stderr, flush=True)
