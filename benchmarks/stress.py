"""Many workers under fire: `python benchmarks/stress.py [--storages sqlite,grpc] [--kills 10]`.

Worker processes share one study with an objective that costs nothing. Workers are killed with
SIGKILL at random moments and replaced; with `--restart-database` a private server crashes and
comes back in the middle of a run. After each run no point may have been evaluated twice, no cell
may be lost, and what was evaluated must be part of the rule's tree; a new process must be able to
go on. Optuna's samplers run under the same fire on the same storage.

`--spaces 20` does something else: 20 random mixed spaces, given to the sampler or left to be
inferred, with 2 to 64 trials in flight, in one process.

PostgreSQL and MariaDB are started in a temporary folder where their programs are installed; a
server named by OPTUNA_PARTITION_POSTGRES or OPTUNA_PARTITION_MYSQL is used as it is, and left
running.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import json
from pathlib import Path
import sys
import warnings

import optuna


sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks._stress_run import Plan
from benchmarks._stress_run import Result
from benchmarks._stress_run import run
from benchmarks._stress_run import serving
from benchmarks._stress_servers import Missing
from benchmarks._stress_servers import STORAGES
from benchmarks._stress_spaces import rows
from benchmarks._stress_worker import SAMPLERS


OURS = ("soo", "direct", "soo-inferred", "direct-inferred", "bamsoo")
HEAD = """\
| storage | sampler | trials/s | ask p50 | p95 | p99 | claims lost | killed | died \
| duplicates | lost | outside |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def row(kind: str, result: Result) -> str:
    s = result.summary()
    cells = [kind, result.sampler, s["trials_per_second"]]
    cells += [f"{s[f'ask_p{p}_ms']:,.0f} ms" for p in (50, 95, 99)]
    cells += [s[name] for name in ("refused", "killed", "died", "duplicates", "lost", "outside")]
    return "| " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |"


def _progress(kind: str, plan: Plan) -> Callable[[int], object]:
    def show(done: int) -> None:
        if not sys.stderr.isatty():
            return
        line = f"\r{kind}, {plan.sampler}: {done} of {plan.trials} evaluations\033[K"
        print(line, end="", file=sys.stderr, flush=True)

    return show


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        for name in text.split(","):
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return text.split(",")

    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="many workers under fire")
    parser.add_argument("--storages", type=_names(STORAGES), default=list(STORAGES))
    parser.add_argument("--samplers", type=_names(SAMPLERS), default=list(SAMPLERS))
    parser.add_argument("--processes", type=int, default=8, help="workers at a time")
    parser.add_argument("--trials", type=int, default=300, help="finished trials of a run")
    parser.add_argument("--kills", type=int, default=10, help="workers killed in a run")
    parser.add_argument("--restart-database", action="store_true", help="in the middle of a run")
    parser.add_argument("--spaces", type=int, help="random spaces in one process, no workers")
    parser.add_argument("--out", type=Path, help="file for one JSON line per run")
    return parser.parse_args()


def measure(kind: str, arguments: argparse.Namespace) -> Iterator[Result]:
    """All samplers on one storage, each in a study of its own."""
    with serving(kind) as server:
        for sampler in arguments.samplers:
            plan = Plan(
                sampler,
                arguments.processes,
                arguments.trials,
                arguments.kills,
                arguments.restart_database,
            )
            yield run(plan, server, _progress(kind, plan))


def _search_random_spaces(spaces: int) -> int:
    clean = True
    print("| sampler | space | in flight | repeated | lost |\n|---|---|---|---|---|", flush=True)
    for cells, found in rows(spaces):
        print(f"| {cells} | {found.repeated} | {found.lost} |", flush=True)
        clean = clean and not (found.repeated or found.lost)
    return 0 if clean else 1


def main() -> int:
    arguments = _arguments()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if arguments.spaces:
        return _search_random_spaces(arguments.spaces)
    clean = True
    print(HEAD, flush=True)
    for kind in arguments.storages:
        try:
            for result in measure(kind, arguments):
                if sys.stderr.isatty():
                    print("\r\033[K", end="", file=sys.stderr, flush=True)
                print(row(kind, result), flush=True)
                clean = clean and (result.sampler not in OURS or result.verdict.is_clean)
                if arguments.out is not None:
                    with arguments.out.open("a") as out:
                        out.write(json.dumps({"storage": kind, **result.summary()}) + "\n")
        except Missing as missing:
            print(f"{kind} left out: {missing}", file=sys.stderr)
    return 0 if clean else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
