"""PiSSA, OLoRA and others: as peft's own, the base back to the bit, adapters for all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fingerprints import fingerprint
from peft import get_peft_model
from peft import LoraConfig
from peft import PeftModel
import pytest
from to_the_end import losses
from to_the_end import trained
import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers import set_seed

from objectives.errors import UserError
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import new_adapter
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.scoring.criterion import measure
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.search.space import SearchSettings
from objectives.settings.sections.training import TrainingSettings


# peft 0.21 asks transformers 5 for an attribute by its old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

CHOSEN = Hyperparameters(5e-3, 0.1, 4, 8, 0.0, 12)
SETTINGS = TrainingSettings(micro_batch=6, validations=1)
IN_BASE = ("pissa", "pissa_niter_4", "pissa_niter_16", "olora")
# W back from W - s B A rounds each weight to float32, and an SVD's factors are as good: some ten
# roundings a weight, which a loss near 6 passes on; measured 2e-7
CLOSE = 1e-5


def own(start: str, **more: object) -> TrainingSettings:
    return SETTINGS.model_copy(update={"init_lora_weights": start, **more})


def loss(bench: Bench, model: nn.Module) -> float:
    found = measure(
        model,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=6,
        accelerator=bench.accelerator,
    ).loss
    release(bench, model)
    return found


@pytest.mark.parametrize("start", ["gaussian", "pissa", "olora"])
def test_a_start_is_pefts(bench: Bench, tiny_model_folder: Path, start: str) -> None:
    """To the bit on one processor, which draws and factors the same way twice."""
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    set_seed(SETTINGS.seed)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        init_lora_weights=start,
    )
    theirs = get_peft_model(base, config)
    model = new_adapter(bench, own(start), CHOSEN)
    assert fingerprint(model) == fingerprint(theirs)
    release(bench, model)


@pytest.mark.parametrize("variant", [{}, {"rslora": True}], ids=["lora", "rslora"])
@pytest.mark.parametrize("start", IN_BASE)
def test_the_base_comes_back_and_the_adapter_is_for_all_of_it(
    bench: Bench,
    tiny_model_folder: Path,
    tmp_path: Path,
    start: str,
    variant: dict[str, object],
) -> None:
    """`bench` compares the base to the bit."""
    before = losses(bench, SETTINGS, CHOSEN)
    learner = trained(bench, own(start, **variant), CHOSEN)
    expected = learner.validations[-1].loss
    save_adapter(learner.model, tmp_path)
    release(bench, bench.base)
    assert loss(bench, load_adapter(bench, tmp_path)) == pytest.approx(expected, rel=CLOSE)
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, str(tmp_path))
    assert loss(replace(bench, base=base), theirs) == pytest.approx(expected, rel=CLOSE)
    assert losses(bench, SETTINGS, CHOSEN) == before
    assert learner.losses != pytest.approx(before[:-1], rel=CLOSE), "another training"


def test_it_starts_as_the_base(bench: Bench) -> None:
    """W - s B0 A0 + s B0 A0: nothing is learned at such a rate."""
    still = replace(CHOSEN, learning_rate=1e-12)
    whole = losses(bench, SETTINGS, still)
    for start in IN_BASE:
        assert losses(bench, own(start), still) == pytest.approx(whole, rel=CLOSE)


def test_a_training_that_breaks_leaves_the_base_whole(bench: Bench) -> None:
    model = new_adapter(bench, own("pissa"), CHOSEN)
    weight = bench.base.get_parameter("model.layers.0.self_attn.q_proj.base_layer.weight")
    weight[0, 0] += 1
    release(bench, model)


@pytest.mark.parametrize(
    ("make", "targets", "start", "rank", "message"),
    [
        ("llama", "all-linear", "pissa", 64, "has a weight of rank 16, and a trial may have rank"),
        ("gpt2", "all-linear", "olora", 4, "is a Conv1D, which peft's OLoRA takes for a Linear"),
        ("llama", ["embed_tokens"], "olora", 4, "is of kind Embedding;"),
    ],
)
def test_what_has_no_such_part_is_refused_before_weights_are_loaded(
    make: str,
    targets: str | list[str],
    start: str,
    rank: int,
    message: str,
    experiment_of: Callable[[str], Experiment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("objectives.model.bench.load_base", None)
    search = SearchSettings.model_validate(
        {"rank": rank, "init_lora_weights": {"choices": ["default", start]}}
    )
    training = SETTINGS.model_copy(update={"targets": targets})
    experiment = experiment_of(make).model_copy(update={"search": search, "training": training})
    with pytest.raises(UserError, match=f"^init_lora_weights = '{start}': .* {message}"):
        load_bench(experiment)


def test_pissa_of_a_gpt2(experiment_of: Callable[[str], Experiment], tmp_path: Path) -> None:
    """Its weights are transposed."""
    experiment = experiment_of("gpt2")
    bench = load_bench(experiment)
    before = fingerprint(bench.base)
    learner = trained(bench, own("pissa"), CHOSEN)
    expected = learner.validations[-1].loss
    save_adapter(learner.model, tmp_path)
    release(bench, bench.base)
    assert fingerprint(bench.base) == before
    base = AutoModelForCausalLM.from_pretrained(experiment.model.name, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, str(tmp_path))
    assert loss(replace(bench, base=base), theirs) == pytest.approx(expected, rel=CLOSE)
