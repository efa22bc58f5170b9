"""The command line of the comparison on curves: `python -m benchmarks.curves --help`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

from benchmarks.compare import results
from benchmarks.curves import entrants
from benchmarks.curves import make
from benchmarks.curves import tables
from benchmarks.curves import work
from benchmarks.curves.families import FAMILIES
from benchmarks.curves.families import KEPT
from benchmarks.curves.families import SPLITS
from benchmarks.curves.families import standin


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves")
    commands = parser.add_subparsers(required=True)
    _add_run(commands.add_parser("run", help="run entrants on problems, what is missing of it"))
    table = commands.add_parser("table", help="Markdown tables of results files")
    table.add_argument("results", type=Path, nargs="+")
    table.add_argument("--budgets", type=_numbers, default=tables.BUDGETS)
    table.set_defaults(command=_table)
    made = commands.add_parser("make", help="train and export what a family is made of")
    made.add_argument("--family", choices=standin.ROWS, default="standin")
    made.add_argument("--folder", type=Path, default=Path("runs/curves"), help="of its studies")
    made.add_argument("--trials", type=int, default=300, help="of each of its two searches")
    made.add_argument("--storages", nargs="*", default=(), help="URLs of studies made already")
    made.set_defaults(command=_make)
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    known = f"SAMPLER+PRUNER, pruners {', '.join(entrants.PRUNERS)}; {', '.join(entrants.PEERS)}"
    run.add_argument("--entrants", type=_names, default=entrants.USUAL, help=known)
    run.add_argument("--families", type=_names, default=("all",), help=", ".join(FAMILIES))
    run.add_argument("--problems", type=_names, default=(), help="only those of these names")
    run.add_argument("--budget", type=int, default=100, help="full trainings' worth of steps")
    run.add_argument("--shifts", type=int, default=1, help="random shifts of each problem")
    run.add_argument("--seeds", type=int, default=1, help="runs on each problem")
    run.add_argument("--split", choices=SPLITS, default="tune", help="which shifts")
    run.add_argument("--workers", type=_numbers, default=(1,), help="numbers of simulated workers")
    run.add_argument("--jobs", type=int, default=1, help="processes")
    run.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    run.set_defaults(command=_run)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _run(options: argparse.Namespace) -> None:
    usual = tuple(f for f in FAMILIES if options.split == "final" or f not in KEPT)
    first = SPLITS[options.split]
    plan = work.Plan(
        entrants=options.entrants,
        families=usual if options.families == ("all",) else options.families,
        shifts=tuple(range(first, first + options.shifts)),
        seeds=tuple(range(options.seeds)),
        workers=options.workers,
        budget=options.budget,
        names=options.problems,
    )
    work.execute(plan, options.out, options.jobs)


def _table(options: argparse.Namespace) -> None:
    lines = (line for path in options.results for line in results.read(path))
    print("\n\n".join(tables.tables(results.longest(lines), options.budgets)))


def _make(options: argparse.Namespace) -> None:
    make.make(options.folder, options.family, options.trials, options.storages)


if __name__ == "__main__":
    main()
