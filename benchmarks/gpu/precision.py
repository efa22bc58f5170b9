"""Part: losses of the stand-in on a GPU in float32 and bfloat16, beside a CPU's in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accelerate import Accelerator
from accelerate.state import AcceleratorState

from benchmarks._trainings import alone
from benchmarks._trainings import together
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.work import adapter
from benchmarks.gpu.work import close
from benchmarks.gpu.work import standin
from objectives.job import Training
from objectives.model.base import load_base
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.model.bench import load_data
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.training.learner import Learner


CHOSEN = adapter(1, learning_rate=5e-3, dropout=0.0)
PACK = [CHOSEN, replace(CHOSEN, rank=2, dropout=0.3), replace(CHOSEN, rank=32, learning_rate=1e-3)]
CLOSE = {"float32": 1e-3, "bfloat16": 5e-2}  # relative, of all losses


def run(stage: Stage) -> None:
    rows = 128 if stage.on_gpu else 16
    experiment = standin(rows, "float32")
    expected = _losses(_on_cpu(experiment), experiment)
    stage.write(device="cpu", dtype="float32", first=expected[0], validation=expected[-1])
    for dtype, within in CLOSE.items():
        AcceleratorState._reset_state(True)  # which has one precision for a process
        experiment = standin(rows, dtype)
        bench = load_bench(experiment)
        kind = bench.accelerator.device.type
        found = _losses(bench, experiment)
        stage.write(device=kind, dtype=dtype, first=found[0], validation=found[-1])
        largest = close(found, expected, within, f"{kind} in {dtype} and CPU in float32")
        stage.write(device=kind, dtype=dtype, largest_difference=largest)
        _compare_pack(stage, bench, experiment, within)


def _on_cpu(experiment: Experiment) -> Bench:
    """A bench on the CPU of a machine that has a GPU."""
    accelerator = Accelerator(cpu=True)
    tokenizer, corpus = load_data(experiment)
    return Bench(accelerator, load_base(experiment.model, accelerator), tokenizer, corpus)


def _losses(
    bench: Bench, experiment: Experiment, chosen: Hyperparameters = CHOSEN
) -> Sequence[float]:
    """Of every step, and of the validation."""
    return _of(alone(bench, experiment.training, chosen))


def _of(learner: Learner) -> Sequence[float]:
    if not isinstance(learner.ended, Training):
        raise AssertionError(f"rank {learner.chosen.rank}: {learner.ended}")
    return [*learner.losses, learner.ended.validation_loss]


def _compare_pack(stage: Stage, bench: Bench, experiment: Experiment, within: float) -> None:
    """The same masks, so the same losses but for rounding."""
    apart = [_losses(bench, experiment, chosen) for chosen in PACK]
    at_once = together(bench, experiment.training, PACK)
    for chosen, found, expected in zip(PACK, at_once, apart, strict=True):
        largest = close(_of(found), expected, within, "pack and alone")
        stage.write(rank=chosen.rank, in_pack_of=len(PACK), largest_difference=largest)
