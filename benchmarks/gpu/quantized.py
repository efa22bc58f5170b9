"""Part: losses on the stand-in in 4 bits beside those of the whole base, alone and in a pack."""

from __future__ import annotations

from importlib.util import find_spec

from accelerate.state import AcceleratorState

from benchmarks.gpu.stage import Skipped
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.suite import tests
from benchmarks.gpu.work import adapter
from benchmarks.gpu.work import close
from benchmarks.gpu.work import standin
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.pack.packed import train_pack
from objectives.pack.packed import Trained
from objectives.settings.config import Experiment
from objectives.training import lora


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
    bench, settings, alone = load_bench(experiment), experiment.training, []
    for chosen in PACK:
        trained = lora.train(bench, settings, chosen, report=lambda *_: None)
        release(bench, trained.model)
        alone.append(trained.validation_loss)
    results = train_pack(bench, settings, PACK, report=lambda *_: False)
    return alone, [r.validation_loss for r in results if isinstance(r, Trained)]
