"""Bases of many makes, tiny and random: adapters sit where the line says, learn, and come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fingerprints import fingerprint
from makes import CHOSEN
from makes import MAKES
from makes import MLP
from makes import QKVO
from makes import SETTINGS
from peft import PeftModel
import pytest
from safetensors.torch import load_file
from to_the_end import trained

from objectives.errors import UserError
from objectives.model.architecture import check_architecture
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.scoring.criterion import measure
from objectives.settings.config import Experiment
from objectives.settings.search.space import SearchSettings


def loss(bench: Bench, model: PeftModel) -> float:
    found = measure(
        model,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=4,
        accelerator=bench.accelerator,
    ).loss
    release(bench, model)
    return found


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # peft 0.21, transformers 5
@pytest.mark.parametrize("make", MAKES)
def test_each_learns_is_saved_and_comes_back(
    make: str, experiment_of: Callable[[str], Experiment], tmp_path: Path
) -> None:
    experiment = experiment_of(make)
    bench = load_bench(experiment)
    share = bench.notes[0].partition("(")[2].partition(" of")[0]
    assert bench.notes[0] == MAKES[make].line.format(share)
    before = fingerprint(bench.base)
    learner = trained(bench, SETTINGS, CHOSEN)
    save_adapter(learner.model, tmp_path)
    release(bench, bench.base)
    expected = learner.validations[-1].loss
    assert fingerprint(bench.base) == before
    weights = load_file(tmp_path / "adapter_model.safetensors")
    names = {path.partition(".lora_")[0].rpartition(".")[2] for path in weights}
    told = f"{MAKES[make].adapted}, {MAKES[make].outside}".removesuffix(", ")
    assert names == set(told.split(", "))
    assert all(weight.any() for path, weight in weights.items() if "lora_B" in path), "all learn"
    assert loss(bench, load_adapter(bench, tmp_path)) == expected
    peft = PeftModel.from_pretrained(bench.base, str(tmp_path))
    assert loss(bench, peft) == pytest.approx(expected, rel=1e-5), "as others do"


@pytest.mark.parametrize(
    ("make", "targets", "message"),
    [
        ("llama", ["q_prj"], r"the model has no module 'q_prj'; its linear ones are down_proj, g"),
        ("mixtral", "mlp", r"no module in 'mlp' that takes an adapter \(router, experts take no"),
        ("mixtral", ["q_proj", "gate"], "'gate' is a router, which gets no adapter; its linear"),
        ("mixtral", ["experts"], "'experts' has fused weights and is no linear module; its linea"),
        ("gpt-oss", ["gate_up_proj"], "the model has no module 'gate_up_proj'; its linear ones"),
        ("phimoe", ["router"], "'router' is a router, which gets no adapter; its linear ones are"),
        ("deepseek", ["mlp.up_proj"], "'mlp.up_proj' gets no adapter: peft takes the name for"),
        ("gemma3 that sees", ["vision_tower"], "'vision_tower' gets no adapter: vision_tower rea"),
        ("gemma3 that sees", ["fc1"], "'fc1' gets no adapter: vision_tower reads no text; its li"),
        ("mamba", "attention", r"'attention' that takes an adapter .*linear ones are in_proj; or"),
        ("mamba", ["in_proj", "out_proj"], "'out_proj' gets no adapter: state-space kernels"),
    ],
    ids=str,
)
def test_what_gets_no_adapter_is_named_before_weights_are_loaded(
    make: str,
    targets: str | list[str],
    message: str,
    experiment_of: Callable[[str], Experiment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("objectives.model.bench.load_base", None)
    experiment = experiment_of(make)
    training = SETTINGS.model_copy(update={"targets": targets})
    with pytest.raises(UserError, match=r"^`\[training\] targets`: .*" + message):
        load_bench(experiment.model_copy(update={"training": training}))
    search = SearchSettings.model_validate({"targets": {"choices": ["all-linear", targets]}})
    with pytest.raises(UserError, match=r"^`\[search\] targets`: .*" + message):
        load_bench(experiment.model_copy(update={"search": search}))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`", "ignore:Model has `tie_word_emb")
@pytest.mark.parametrize("targets", ["attention", ["q_proj", "v_proj"], ["q_proj", "lm_head"]])
def test_a_name_of_the_text_and_of_a_tower_is_the_texts(
    targets: str | list[str], experiment_of: Callable[[str], Experiment]
) -> None:
    bench = load_bench(experiment_of("gemma3 that sees"))
    learner = trained(bench, SETTINGS.model_copy(update={"targets": targets}), CHOSEN)
    assert all("language_model" in name or "lm_head" in name for name in learner.parameters)
    learned = {n for n, weight in learner.parameters.items() if "lora_B" in n and weight.any()}
    assert {name for name in learner.parameters if "lora_B" in name} == learned != set()


def test_kinds_that_are_searched_have_a_line_each(
    experiment_of: Callable[[str], Experiment],
) -> None:
    choices = {"choices": ["all-linear", "attention", ["gate_proj", "lm_head"]]}
    search = SearchSettings.model_validate({"targets": choices})
    lines = check_architecture(experiment_of("llama").model_copy(update={"search": search}))
    assert lines == [
        f"adapters (all-linear): {QKVO}, {MLP} in 2 layers (24 % of the base's weights)",
        f"adapters (attention): {QKVO} in 2 layers (9 % of the base's weights); "
        f"not adapted: {MLP}",
        "adapters (gate_proj+lm_head): gate_proj in 2 layers, lm_head (43 % of the base's "
        f"weights); not adapted: {QKVO}, up_proj, down_proj",
    ]
