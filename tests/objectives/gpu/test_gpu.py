"""On a GPU: what the other tests show on a CPU, within the rounding of its products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import subprocess

from accelerate.state import AcceleratorState
from commands import command
from commands import environment
from commands import experiment
from commands import load as load_study
from plain_loop import CHOSEN
from plain_loop import plain_losses
from plain_loop import SETTINGS
import pytest
from to_the_end import losses
from to_the_end import of
from to_the_end import trained
from to_the_end import trained_pack
import torch

from objectives.job import OutOfMemory
from objectives.model.bench import Bench
from objectives.model.bench import release
from objectives.pack.runner import pack_size
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.sections.scoring import ScoringSettings


__all__ = ["experiment"]  # the fixture

Load = Callable[[str], Bench]

HAS_CUDA = torch.cuda.is_available()
GPUS = torch.cuda.device_count() if HAS_CUDA else 2


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-3), ("bfloat16", 2e-2)])
def test_losses_are_those_of_a_plain_loop_on_a_cpu(
    load: Load, tiny_model_folder: Path, dtype: str, close: float
) -> None:
    bench = load(dtype)
    assert bench.base.dtype == getattr(torch, dtype)
    *found, _ = losses(bench, SETTINGS, CHOSEN)
    assert found == pytest.approx(plain_losses(tiny_model_folder, bench, "all-linear"), rel=close)
    assert found[-1] < found[0] - 0.005


@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-4), ("bfloat16", 2e-2)])
def test_a_pack_gives_what_its_adapters_give_alone(load: Load, dtype: str, close: float) -> None:
    """With dropout: the masks are the same, whatever trains beside it."""
    bench = load(dtype)
    pack = [CHOSEN, replace(CHOSEN, rank=1, dropout=0.4), replace(CHOSEN, rank=64, alpha=3)]
    alone = [losses(bench, SETTINGS, chosen) for chosen in pack]
    for found, expected in zip(trained_pack(bench, SETTINGS, pack), alone, strict=True):
        assert of(found) == pytest.approx(expected, rel=close)


@pytest.mark.skipif(not HAS_CUDA, reason="a CPU's memory is not rationed")
def test_memory_that_really_runs_out_costs_one_training(load: Load) -> None:
    bench = load("float32")
    clean = losses(bench, SETTINGS, CHOSEN)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        learner = trained(bench, SETTINGS, replace(CHOSEN, rank=4096))
        assert isinstance(learner.ended, OutOfMemory)
        del learner
    finally:
        release(bench, bench.base)
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert losses(bench, SETTINGS, CHOSEN) == pytest.approx(clean, rel=1e-5)


def test_a_gpu_holds_more_than_one_small_adapter(load: Load, tiny_experiment: Experiment) -> None:
    assert 2 <= pack_size(tiny_experiment, load("float32")) <= 8


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # lm-eval's `git describe`
def test_scores_are_those_of_lm_eval(
    load: Load, task_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval.models.huggingface", exc_type=ImportError)
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    bench = load("float32")
    settings = ScoringSettings(objective="colours", tasks=str(task_folder))
    scorer = Scorer.load(settings, bench.tokenizer, ["colours"])
    found = scorer.score(bench.base, "colours").value
    monkeypatch.chdir(task_folder)  # lm-eval itself finds data files nowhere else
    answers = simple_evaluate(
        model=HFLM(pretrained=bench.base, tokenizer=bench.tokenizer, batch_size=8),
        tasks=["colours"],
        task_manager=TaskManager(include_path=str(task_folder), include_defaults=False),
        bootstrap_iters=0,
    )
    assert found == answers["results"]["colours"]["acc,none"]


@pytest.mark.parametrize("sharded", [False, True], ids=["whole bases", "shares"])
def test_a_gang_on_all_gpus_finishes_a_study(experiment: Path, sharded: bool) -> None:
    if sharded and GPUS == 1:
        pytest.skip("shares need two GPUs")
    text = experiment.read_text().replace('test = ["colours"]', "test = []")
    experiment.write_text(text.replace("[model]", f"[model]\nsharded = {json.dumps(sharded)}"))
    AcceleratorState._reset_state(True)
    options = ["--output", experiment.parent / "runs", "--gpus-per-trial", GPUS, "--trials", 2]
    ended = subprocess.run(
        command(experiment, *map(str, options)), env=environment(), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    trials = load_study(experiment).trials
    assert len(trials) == 2 and all(trial.value is not None for trial in trials)
    assert all(trial.user_attrs["peak_memory"] > 2**20 for trial in trials)
