"""Trials per hour beside a plain script: `python benchmarks/throughput.py [--trials 8]`.

The same trials are run as

    plain    one process each, with transformers' Trainer, peft and lm-eval's simple_evaluate, as
             anybody writes it (_throughput_plain.py)
    cold     by our command with --cold: one new process for each trial
    warm     by our command: base, data and tasks are loaded once
    packK    by our command with --pack K: K adapters are trained at once

Every trial is a training of one epoch, its validation loss, and its score on a task. All modes
get the same rows in the same order, effective batch, schedule, clipping and seed; the order is
ours, which has neighbours in length together, so that Trainer pads as little as we do. Dropout is
off: its masks cannot be the same, since Trainer's loader draws in between. Effective batches are
powers of two, because Trainer's micro-batches must divide them.

The largest difference of the validation losses from the plain script's says whether it was the
same work. The plain script's are taken from its adapters, since Trainer's own evaluation is a mean
of batch means; that figure is compared as well. Everything counts, from the start of a process to
its end: wall and CPU seconds, of which the second do not see other load. lm-eval looks up all its
own tasks in the plain script, as it does unless told otherwise; the last ratio is without that.

`--model random:1b` takes a Llama of random weights, on a GPU where there is one, with
micro-batches of 1 and 4, and shows how busy the GPU was. Its losses differ by bfloat16's rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
import json
import os
from pathlib import Path
import sys
import tempfile

import optuna


sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks._throughput_check import Agreement
from benchmarks._throughput_check import Yardstick
from benchmarks._throughput_model import random_model
from benchmarks._throughput_model import SIZES
from benchmarks._throughput_modes import Ours
from benchmarks._throughput_modes import ours
from benchmarks._throughput_modes import Plain
from benchmarks._throughput_modes import plain
from benchmarks._throughput_process import Cost
from benchmarks._throughput_work import prepare
from benchmarks._throughput_work import STANDIN
from benchmarks._throughput_work import Work


MODES = ("cold", "warm", "pack4", "pack8")
HEAD = (
    "micro-batch  mode    trials/h  tokens/s  wall s  CPU s    ratio: wall    CPU  no index  "
    "|d loss|  |d acc|   GiB  GPU GiB  busy   seconds of a trial"
)


@dataclass(frozen=True)
class Line:
    """One mode's figures.

    Attributes:
        micro_batch: Samples per forward.
        mode: Its name.
        trials: How many.
        tokens: Read in training.
        cost: Of all trials.
        ratios: The plain script's cost over this one's, by name.
        agreement: See `Yardstick.agreement`; of the plain script, Trainer's evaluation from ours.
        seconds: Part -> seconds of a trial; what no part has is "rest".
        load: Of the machine when the mode began.
    """

    micro_batch: int
    mode: str
    trials: int
    tokens: int
    cost: Cost
    ratios: dict[str, float]
    agreement: Agreement
    seconds: dict[str, float]
    load: float

    def text(self) -> str:
        c, r, a = self.cost, self.ratios, self.agreement
        parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in self.seconds.items())
        gpu = f"{_or_none(c.gpu_memory, '.1f'):>7}  {_or_none(c.gpu_busy, '.0%'):>4}"
        return (
            f"{self.micro_batch:>11}  {self.mode:<6} {3600 * self.trials / c.wall:>9.0f} "
            f"{self.tokens / c.wall:>9.0f} {c.wall / self.trials:>7.1f} "
            f"{c.cpu / self.trials:>6.1f} {r['wall']:>14.2f} {r['cpu']:>6.2f} "
            f"{r['cpu_without_index']:>9.2f}  {a['loss']:>8.0e} {a['accuracy']:>8.4f} "
            f"{c.memory:>5.1f}  {gpu}   {parts}"
        )


def _or_none(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def total(costs: Sequence[Cost]) -> Cost:
    """Of processes one after the other."""
    busy = [c.gpu_busy * c.wall for c in costs if c.gpu_busy is not None]
    wall = sum(c.wall for c in costs)
    return Cost(
        wall,
        sum(c.cpu for c in costs),
        max(c.memory for c in costs),
        max((c.gpu_memory for c in costs if c.gpu_memory is not None), default=None),
        sum(busy) / wall if busy else None,
    )


def measure(work: Work, modes: Sequence[str], seed: int, *, index: bool) -> Iterator[Line]:
    """The plain script's line, then one for each mode."""
    size, trials, tokens = work.experiment.training.micro_batch, len(work.trials), work.tokens()

    def line(mode: str, cost: Cost, done: Plain | Ours, agreement: Agreement, load: float) -> Line:
        index = done.index if isinstance(done, Plain) else 0.0
        ratios = {
            "wall": base.wall / cost.wall,
            "cpu": base.cpu / cost.cpu,
            "cpu_without_index": (base.cpu - them.index) / (cost.cpu - index),
        }
        seconds = {part: value / trials for part, value in done.seconds.items()}
        seconds["rest"] = cost.wall / trials - sum(seconds.values())
        return Line(size, mode, trials, tokens, cost, ratios, agreement, seconds, load)

    load = os.getloadavg()[0]
    them = plain(work, index=index, say=lambda text: print(text, file=sys.stderr, flush=True))
    base = total(them.costs)
    yardstick = Yardstick(work, them)
    evaluation = {"loss": yardstick.evaluation, "accuracy": 0.0}
    yield line("plain", base, them, evaluation, load)
    for mode in modes:
        load = os.getloadavg()[0]
        done = ours(work, mode, seed)
        yield line(mode, done.cost, done, yardstick.agreement(done), load)


def _modes(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in ("cold", "warm") and not name.removeprefix("pack").isdecimal():
            raise argparse.ArgumentTypeError(f"{name!r} is none of cold, warm, pack4, pack8, ...")
    return names


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    models = ["standin", *(f"random:{size}" for size in SIZES)]
    parser = argparse.ArgumentParser(description="trials per hour beside a plain script")
    parser.add_argument("--model", choices=models, default="standin")
    parser.add_argument("--modes", type=_modes, default=list(MODES), help="beside the script")
    parser.add_argument("--micro-batches", type=_numbers, help="default 16; 1,4 if random")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--rows", type=int, default=1500, help="training rows of a trial")
    parser.add_argument("--questions", type=int, default=0, help="of the task; default all")
    parser.add_argument("--seed", type=int, default=0, help="of the trials' hyperparameters")
    parser.add_argument(
        "--no-index", action="store_true", help="the script does not look up lm-eval's own tasks"
    )
    parser.add_argument("--out", type=Path, help="file for one JSON line per mode")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> list[Line]:
    """Prints the table.

    Args:
        given: By default this process's arguments.
    """
    arguments = _arguments(given)
    random = arguments.model.startswith("random:")
    lines = []
    print(HEAD, flush=True)
    for size in arguments.micro_batches or ([1, 4] if random else [16]):
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent)
            model = STANDIN / "model"
            if random:
                model = random_model(arguments.model.partition(":")[2], model, folder / "model")
            work = prepare(
                folder,
                model,
                rows=arguments.rows,
                micro_batch=size,
                trials=arguments.trials,
                seed=arguments.seed,
                limit=arguments.questions,
            )
            for line in measure(
                work, arguments.modes, arguments.seed, index=not arguments.no_index
            ):
                print(line.text(), flush=True)
                lines.append(line)
    if arguments.out is not None:
        arguments.out.write_text("".join(f"{json.dumps(asdict(line))}\n" for line in lines))
    return lines


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    main()
