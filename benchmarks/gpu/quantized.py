"""Part: losses on the stand-in in 4 bits beside those of the whole base, alone and in a pack."""

from __future__ import annotations

from importlib.util import find_spec

from accelerate.state import AcceleratorState

from benchmarks._trainings import alone
from benchmarks._trainings import together
from benchmarks.gpu.stage import Skipped
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.suite import tests
from benchmarks.gpu.work import adapter
from benchmarks.gpu.work import close
from benchmarks.gpu.work import standin
from objectives.model.bench import load_bench
from objectives.settings.config import Experiment


ROWS = 128
PACK = [adapter(number, learning_rate=5e-3) for number in range(2)]


def run(stage: Stage) -> None:
    if find_spec("bitsandbytes") is None:
        raise Skipped("there is no bitsandbytes: make wheels CUDA=13.0 takes it along")
    if not stage.on_gpu:
        raise Skipped("bitsandbytes trains wrongly on a CPU after a validation")
    whole = standin(ROWS)
    model = whole.model.model_copy(update={"quantization": "4bit"})
    expected, _ = _losses(whole)
    found, packed = _losses(whole.model_copy(update={"model": model}))
    stage.write(whole=expected, four_bits=found, four_bits_in_a_pack=packed)
    stage.write(
        from_whole=close(found, expected, 0.1, "4 bits and the whole base"),
        from_pack=close(packed, found, 0.02, "4 bits in a pack and alone"),
    )
    tests(stage, "model/test_variants.py", "-k", "four_bits")


def _losses(experiment: Experiment) -> tuple[list[float], list[float]]:
    """Validation losses of adapters alone, and in a pack."""
    AcceleratorState._reset_state(True)
    bench, settings = load_bench(experiment), experiment.training
    apart = [alone(bench, settings, chosen) for chosen in PACK]
    at_once = together(bench, settings, PACK)
    first, second = ([each.validations[-1].loss for each in kind] for kind in (apart, at_once))
    return first, second
