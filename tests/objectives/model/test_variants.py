"""Kinds of adapter: groups of modules in bases of several makes, and that a trial has its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import sys

from accelerate.state import AcceleratorState
import optuna
from peft import get_peft_model
from peft import LoraConfig
import pytest
from safetensors.torch import load_file
from to_the_end import losses
from to_the_end import of
from to_the_end import trained_pack
import torch
from torch import nn
from transformers import AutoConfig
from transformers import GPT2Config
from transformers import GPT2LMHeadModel
from transformers import GPTNeoXConfig
from transformers import GPTNeoXForCausalLM
from transformers import LlamaForCausalLM
from transformers import OPTConfig
from transformers import OPTForCausalLM
from transformers import PreTrainedTokenizerFast

from objectives.errors import UserError
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.model.targets import resolve
from objectives.objective import LoraObjective
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.search.space import SearchSettings
from objectives.settings.sections.scoring import ScoringSettings
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner
from optuna_partition import SOOSampler


CHOSEN = Hyperparameters(5e-3, 0.1, 4, 8, 0.0, 12)
SETTINGS = TrainingSettings(micro_batch=6, validations=1)
SMALL = {"num_hidden_layers": 2, "vocab_size": 64, "hidden_size": 32, "num_attention_heads": 4}


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=64))


def neox() -> nn.Module:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL, intermediate_size=64))


def opt() -> nn.Module:
    return OPTForCausalLM(OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=32))


def wrapped(base: nn.Module, targets: str | list[str]) -> set[str]:
    """The modules that peft gives an adapter."""
    model = get_peft_model(base, LoraConfig(target_modules=targets, task_type="CAUSAL_LM"))
    paths = {
        name.partition(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name
    }
    return {path.removeprefix("base_model.model.") for path in paths}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # peft 0.21, transformers 5
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")  # peft mends it
@pytest.mark.parametrize("make", [gpt2, neox, opt])
def test_attention_and_mlp_are_what_peft_calls_all_linear(make: object) -> None:
    assert callable(make)
    attention, mlp, everything = (
        wrapped(make(), resolve(make(), group, "here"))
        for group in ("attention", "mlp", "all-linear")
    )
    assert attention | mlp == everything and not attention & mlp
    assert all("attn" in path or "attention" in path for path in attention)
    assert len(attention) >= 4 and len(mlp) == 4  # two layers


def test_groups_of_a_llama(bench: Bench) -> None:
    assert resolve(bench.base, "attention", "here") == [
        f"self_attn.{name}_proj" for name in ("k", "o", "q", "v")
    ]
    assert resolve(bench.base, "mlp", "here") == [f"mlp.{n}_proj" for n in ("down", "gate", "up")]
    assert resolve(bench.base, "q_proj+v_proj", "here") == ["q_proj", "v_proj"]


def test_a_base_without_such_modules() -> None:
    with pytest.raises(UserError, match=r"here: the model has no module in 'attention'; its lin"):
        resolve(nn.Sequential(nn.Linear(2, 2)), "attention", "here")


@pytest.mark.parametrize(
    "variant",
    [
        {"targets": "attention"},
        {"targets": "q_proj+v_proj"},
        {"rslora": True},
        {"dora": True},
        {"targets": "mlp", "rslora": True, "dora": True},
    ],
)
def test_a_trials_own_kind_trains_as_the_same_kind_for_all(
    bench: Bench, variant: dict[str, object]
) -> None:
    """And not as the plain one."""
    targets = variant.get("targets")
    listed = targets.split("+") if isinstance(targets, str) and "+" in targets else targets
    fixed = {**variant, "targets": listed or "all-linear"}
    own = losses(bench, SETTINGS, replace(CHOSEN, **variant))
    assert own == losses(bench, SETTINGS.model_copy(update=fixed), CHOSEN)
    assert own != losses(bench, SETTINGS, CHOSEN)


def test_a_sampler_of_ours_searches_them(
    tiny_experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    search = {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        **{"alpha": 8, "rank": 2, "effective_batch": 24, "weight_decay": 0, "dropout": 0},
        "targets": {"choices": ["all-linear", ["q_proj", "v_proj"]]},
        "rslora": {"choices": [True, False]},
        "dora": {"choices": [False, True]},
    }
    settings = SearchSettings.model_validate(search)
    experiment = tiny_experiment.model_copy(update={"search": settings, "training": SETTINGS})
    sampler = SOOSampler(search_space=experiment.search_space())
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.NopPruner())
    study.optimize(LoraObjective(experiment, Runner(experiment, bench, None), tmp_path), 12)
    kinds = {tuple(t.params[n] for n in ("targets", "rslora", "dora")) for t in study.trials}
    assert len(kinds) > 3
    for trial in study.trials:
        folder = Path(trial.user_attrs["adapter"])
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["use_rslora"], config["use_dora"]) == (
            trial.params["rslora"],
            trial.params["dora"],
        )
        weights = load_file(folder / "adapter_model.safetensors")
        modules = 7 if trial.params["targets"] == "all-linear" else 2
        assert sum("lora_A" in name for name in weights) == 2 * modules
        assert any("magnitude" in name for name in weights) == trial.params["dora"]


def test_a_choice_that_the_model_has_not_is_named_before_the_search(
    tiny_experiment: Experiment,
) -> None:
    search = SearchSettings.model_validate({"targets": {"choices": ["all-linear", ["c_attn"]]}})
    with pytest.raises(UserError, match=r"`\[search\] targets`: the model has no module 'c_attn'"):
        load_bench(tiny_experiment.model_copy(update={"search": search}))


def four_bits(experiment: Experiment) -> Experiment:
    model = experiment.model.model_copy(update={"quantization": "4bit"})
    return experiment.model_copy(update={"model": model})


def test_four_bits_without_bitsandbytes_or_a_device(
    tiny_experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    without = [p for p in sys.path if not (Path(p) / "bitsandbytes").exists()]
    monkeypatch.setattr("sys.path", without)
    with pytest.raises(UserError, match="needs bitsandbytes; pip install bitsandbytes"):
        load_bench(four_bits(tiny_experiment))
    (tmp_path / "bitsandbytes").mkdir()
    (tmp_path / "bitsandbytes" / "__init__.py").touch()
    monkeypatch.setattr("sys.path", [str(tmp_path), *without])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r'quantization` = "4bit": needs a CUDA device'):
        load_bench(four_bits(tiny_experiment))


@pytest.fixture
def wide_experiment(
    tiny_experiment: Experiment, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> Experiment:
    """The tiny model twice as wide: a block of 4-bit weights is 64 of them."""
    config = AutoConfig.from_pretrained(tiny_experiment.model.name)
    config.update({"hidden_size": 64, "head_dim": 16})
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    model = tiny_experiment.model.model_copy(update={"name": str(tmp_path)})
    return tiny_experiment.model_copy(update={"model": model})


@pytest.fixture
def load_four_bits(
    wide_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Bench]:
    """On a CPU bitsandbytes can begin, and cannot go on after a validation: a bench is used once.

    With autocast, as on a GPU.
    """
    monkeypatch.setattr("objectives.model.extras.check_can_quantize", lambda: None)
    monkeypatch.setattr("objectives.model.base._check_causal", lambda *_: None)  # as a validation
    pytest.importorskip("bitsandbytes", reason="pip install bitsandbytes to test 4-bit bases")
    model = wide_experiment.model.model_copy(update={"dtype": "bfloat16"})

    def load() -> Bench:
        AcceleratorState._reset_state(True)  # which has one precision for a process
        bench = load_bench(four_bits(wide_experiment.model_copy(update={"model": model})))
        kind = bench.accelerator.device.type
        monkeypatch.setattr(
            bench.accelerator, "autocast", lambda: torch.autocast(kind, torch.bfloat16)
        )
        return bench

    return load


def test_adapters_train_on_a_base_of_four_bits(
    wide_experiment: Experiment, load_four_bits: Callable[[], Bench]
) -> None:
    AcceleratorState._reset_state(True)
    full = losses(load_bench(wide_experiment), SETTINGS, CHOSEN)
    quantized = load_four_bits()
    weights = {p.dtype for n, p in quantized.base.named_parameters() if "_proj" in n}
    assert weights == {torch.uint8}
    times = 2 if torch.cuda.is_available() else 1
    found = [losses(quantized, SETTINGS, CHOSEN) for _ in range(times)]
    for each in found:
        assert each == found[0] != full and each == pytest.approx(full, rel=0.02)


def test_a_pack_trains_on_a_base_of_four_bits(load_four_bits: Callable[[], Bench]) -> None:
    both = [CHOSEN, replace(CHOSEN, rank=1, dropout=0.3, effective_batch=8)]
    alone = [losses(load_four_bits(), SETTINGS, chosen) for chosen in both]
    packed = trained_pack(load_four_bits(), SETTINGS, both)
    for each, expected in zip(packed, alone, strict=True):
        assert of(each) == pytest.approx(expected, rel=1e-3)


def test_a_base_of_four_bits_is_scored_in_half_precision(
    load_four_bits: Callable[[], Bench], task_folder: Path
) -> None:
    """As it is trained: with its float32 norms everything behind them would be float32."""
    bench = load_four_bits()
    scorer = Scorer.load(ScoringSettings(tasks=str(task_folder)), bench.tokenizer, ["colours"])
    types = set()
    bench.base.lm_head.register_forward_hook(lambda _, __, logits: types.add(logits.dtype))
    assert 0 < scorer.score(bench.base, "colours").value < 1
    assert types == {torch.bfloat16}
