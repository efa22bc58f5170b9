"""The command line of the comparison: `python -m benchmarks.compare --help`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

from benchmarks.compare import peers
from benchmarks.compare import results
from benchmarks.compare import tables
from benchmarks.compare import work
from benchmarks.compare.families import FAMILIES
from benchmarks.compare.families import SPLITS
from benchmarks.compare.figures import regret_figures
from benchmarks.compare.regret import MEASURES


BUDGETS = (25, 50, 100, 200)
MEASURED = "regret of the best evaluated, of study.best_trial, of optuna_partition.best_trial"
SHORT = work.Plan(  # under ten minutes on one core, the Gaussian process being most of it
    samplers=("random", "tpe", "gp", "direct", "soo", "bamsoo"),
    families=("smooth", "lora", "conditional", "integer", "real"),
    shifts=(0,),
    seeds=(0,),
    workers=1,
    budget=50,
    names=(
        *("branin", "hartmann6", "shekel10", "ellipsoid5"),
        *("published", "narrow", "branching"),
        *("layers", "nested", "stairs", "network"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare")
    commands = parser.add_subparsers(required=True)
    _add_run(commands.add_parser("run", help="run samplers on instances, what is missing of it"))
    short = commands.add_parser("short", help="a small comparison and its table")
    short.add_argument("--samplers", type=_names, default=SHORT.samplers)
    short.add_argument("--out", type=Path, default=Path("runs/compare/short.jsonl"))
    short.set_defaults(command=_short)
    table = commands.add_parser("table", help="Markdown tables of a results file")
    table.add_argument("results", type=Path)
    table.add_argument("--budgets", type=_numbers, default=BUDGETS)
    table.add_argument("--measure", choices=MEASURES, default="seen", help=MEASURED)
    table.add_argument("--real", action="store_true", help="when `real` is good, how often")
    table.set_defaults(command=_table)
    figure = commands.add_parser("figure", help="PNG files of a results file")
    figure.add_argument("results", type=Path)
    figure.add_argument("--out", type=Path, required=True, help="folder")
    figure.set_defaults(command=_figure)
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    peer = f"names among {', '.join(peers.SAMPLERS)}, or module:function"
    run.add_argument("--samplers", type=_names, default=("random", "tpe", "direct"), help=peer)
    run.add_argument("--families", type=_names, default=("all",), help=", ".join(FAMILIES))
    run.add_argument("--problems", type=_names, default=(), help="only those of these names")
    run.add_argument("--budget", type=int, default=50, help="evaluations of a run")
    run.add_argument("--shifts", type=int, default=1, help="random shifts of each problem")
    run.add_argument("--seeds", type=int, default=1, help="runs on each instance")
    run.add_argument("--split", choices=SPLITS, default="tune", help="which shifts")
    run.add_argument("--workers", type=int, default=1, help="simulated asynchronous workers")
    run.add_argument("--jobs", type=int, default=1, help="processes")
    run.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    run.set_defaults(command=_run)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _run(options: argparse.Namespace) -> None:
    families = tuple(FAMILIES) if options.families == ("all",) else options.families
    first = SPLITS[options.split]
    plan = work.Plan(
        samplers=options.samplers,
        families=families,
        shifts=tuple(range(first, first + options.shifts)),
        seeds=tuple(range(options.seeds)),
        workers=options.workers,
        budget=options.budget,
        names=options.problems,
    )
    work.execute(plan, options.out, options.jobs)


def _short(options: argparse.Namespace) -> None:
    plan = work.Plan(**{**vars(SHORT), "samplers": options.samplers})
    work.execute(plan, options.out, jobs=1)
    print(tables.regret_table(results.longest(results.read(options.out)), SHORT.budget))


def _table(options: argparse.Namespace) -> None:
    lines = results.longest(results.read(options.results))
    if options.real:
        for n in options.budgets:
            print(tables.real_table(lines, n), end="\n\n")
        return
    print("\n\n".join(tables.tables(lines, options.budgets, options.measure)))


def _figure(options: argparse.Namespace) -> None:
    for path in regret_figures(results.longest(results.read(options.results)), options.out):
        print(path)


if __name__ == "__main__":
    main()
