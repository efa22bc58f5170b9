"""Bases of many makes, tiny and random: adapters sit where the line says, learn, and come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

from fingerprints import fingerprint
from peft import PeftModel
import pytest
from safetensors.torch import load_file
from to_the_end import losses
from to_the_end import of
from to_the_end import trained
from to_the_end import trained_pack
import torch
from transformers import AutoModelForCausalLM
from transformers import DeepseekV3Config
from transformers import FalconConfig
from transformers import Gemma2Config
from transformers import Gemma3TextConfig
from transformers import GPT2Config
from transformers import GPTNeoXConfig
from transformers import GptOssConfig
from transformers import JetMoeConfig
from transformers import LlamaConfig
from transformers import MambaConfig
from transformers import MixtralConfig
from transformers import OPTConfig
from transformers import Phi3Config
from transformers import PhimoeConfig
from transformers import PreTrainedConfig
from transformers import PreTrainedTokenizerFast
from transformers import Qwen2Config
from transformers import Qwen2MoeConfig
from transformers import Qwen3Config
from transformers import Qwen3MoeConfig

from objectives.errors import UserError
from objectives.model.architecture import check_architecture
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.pack.packed import check_packable
from objectives.scoring.score import validation_loss
from objectives.settings.config import Experiment
from objectives.settings.search_space import Hyperparameters
from objectives.settings.search_space import SearchSettings
from objectives.settings.sections import TrainingSettings
from objectives.training.learner import Learner


CHOSEN = Hyperparameters(1e-2, 0.1, 2, 4, 0.1, 4)
SETTINGS = TrainingSettings(micro_batch=4, validations=1)

TOKENS = {"vocab_size": 384, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BARE = {**TOKENS, "hidden_size": 16, "num_hidden_layers": 2}
HEADS = {**BARE, "num_attention_heads": 2, "max_position_embeddings": 256}
SHAPE = {**HEADS, "num_key_value_heads": 1, "intermediate_size": 24, "head_dim": 8}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 8}
QKVO = "q_proj, k_proj, v_proj, o_proj"
MLP = "gate_proj, up_proj, down_proj"
KV = "kv_a_proj_with_mqa, kv_b_proj, o_proj"
CLAIMED = f"{MLP} (peft takes the name for an expert's)"
FUSED = "experts (fused weights)"


@dataclass(frozen=True)
class Make:
    """A kind of base, where "all-linear" puts adapters, and what of the layers it leaves out."""

    config: Callable[[], PreTrainedConfig]
    adapted: str
    left: str = ""
    outside: str = ""

    @property
    def line(self) -> str:
        rest = f"; not adapted: {self.left}" if self.left else ""
        outside = f", {self.outside}" if self.outside else ""
        return f"adapters: {self.adapted} in 2 layers{outside} ({{}} of the base's weights){rest}"


def gpt2() -> PreTrainedConfig:
    return GPT2Config(**TOKENS, n_embd=16, n_layer=2, n_head=2, n_positions=256)


def opt() -> PreTrainedConfig:
    return OPTConfig(**HEADS, ffn_dim=24, word_embed_proj_dim=8)


def deepseek() -> PreTrainedConfig:
    """A dense layer, then one of experts and a shared one."""
    ranks = {"q_lora_rank": None, "kv_lora_rank": 8, "v_head_dim": 8}
    heads = {"qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "num_key_value_heads": 2}
    experts = {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1}
    return DeepseekV3Config(**HEADS, **MOE, **ranks, **heads, **experts, intermediate_size=24)


def jetmoe() -> PreTrainedConfig:
    return JetMoeConfig(
        **BARE, num_key_value_heads=1, kv_channels=8, intermediate_size=24, num_local_experts=2
    )


MAKES = {
    "llama": Make(lambda: LlamaConfig(**SHAPE), f"{QKVO}, {MLP}"),
    "qwen2": Make(lambda: Qwen2Config(**SHAPE), f"{QKVO}, {MLP}"),
    "qwen3": Make(lambda: Qwen3Config(**SHAPE), f"{QKVO}, {MLP}"),
    "gemma2": Make(lambda: Gemma2Config(**SHAPE), f"{QKVO}, {MLP}"),
    "gemma3": Make(lambda: Gemma3TextConfig(**SHAPE), f"{QKVO}, {MLP}"),
    "phi3": Make(lambda: Phi3Config(**SHAPE), "o_proj, qkv_proj, gate_up_proj, down_proj"),
    "gpt2": Make(gpt2, "c_attn, c_proj, c_fc"),
    "neox": Make(
        lambda: GPTNeoXConfig(**HEADS, intermediate_size=24),
        "query_key_value, dense, dense_h_to_4h, dense_4h_to_h",
    ),
    "opt": Make(opt, "k_proj, v_proj, q_proj, out_proj, fc1, fc2", "", "project_out, project_in"),
    "falcon": Make(
        lambda: FalconConfig(**HEADS), "query_key_value, dense, dense_h_to_4h, dense_4h_to_h"
    ),
    "mixtral": Make(lambda: MixtralConfig(**SHAPE, num_local_experts=4), QKVO, f"router, {FUSED}"),
    "phimoe": Make(lambda: PhimoeConfig(**SHAPE, num_local_experts=4), QKVO, f"router, {FUSED}"),
    "gpt-oss": Make(lambda: GptOssConfig(**SHAPE, num_local_experts=4), QKVO, f"router, {FUSED}"),
    "qwen2-moe": Make(
        lambda: Qwen2MoeConfig(**SHAPE, **MOE, num_experts=4, shared_expert_intermediate_size=8),
        f"{QKVO}, {MLP}",
        f"router, {FUSED}",
    ),
    "qwen3-moe": Make(
        lambda: Qwen3MoeConfig(**SHAPE, **MOE, num_experts=4), QKVO, f"{FUSED}, router"
    ),
    "qwen3-moe with a dense layer": Make(
        lambda: Qwen3MoeConfig(**SHAPE, **MOE, num_experts=4, mlp_only_layers=[0]),
        QKVO,
        f"{CLAIMED}, {FUSED}, router",
    ),
    "deepseek": Make(deepseek, f"q_proj, {KV}", f"{CLAIMED}, {FUSED}, router"),
    "jetmoe": Make(jetmoe, "kv_proj", f"{FUSED}, router"),
    "mamba": Make(
        lambda: MambaConfig(**BARE, state_size=4),
        "in_proj",
        "x_proj, dt_proj, out_proj (state-space kernels pass by an adapter there)",
    ),
}


@pytest.fixture(scope="session")
def saved(
    tiny_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The folder of a make, written when it is first asked for."""
    folders: dict[str, Path] = {}

    def folder(make: str) -> Path:
        if make not in folders:
            folders[make] = tmp_path_factory.mktemp("make")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = AutoModelForCausalLM.from_config(MAKES[make].config())
            model.save_pretrained(folders[make])
            tiny_tokenizer.save_pretrained(folders[make])
        return folders[make]

    return folder


@pytest.fixture
def experiment_of(
    saved: Callable[[str], Path], tiny_experiment: Experiment
) -> Callable[[str], Experiment]:
    def experiment(make: str) -> Experiment:
        model = tiny_experiment.model.model_copy(update={"name": str(saved(make))})
        few = {"limit": 8, "validation_limit": 4, "max_length": 96}
        data = tiny_experiment.data.model_copy(update=few)
        return tiny_experiment.model_copy(update={"model": model, "data": data})

    return experiment


def loss(bench: Bench, model: PeftModel) -> float:
    found = validation_loss(
        model,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=4,
        accelerator=bench.accelerator,
    )
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


def test_a_pack_on_a_mixture_of_experts_learns_what_each_learns_alone(
    experiment_of: Callable[[str], Experiment],
) -> None:
    bench = load_bench(experiment_of("mixtral"))
    both = [CHOSEN, replace(CHOSEN, rank=4, learning_rate=1e-3)]
    alone = [losses(bench, SETTINGS, chosen)[-1] for chosen in both]
    check_packable([Learner(bench, SETTINGS, chosen) for chosen in both])
    packed = trained_pack(bench, SETTINGS, both)
    assert [of(each)[-1] for each in packed] == pytest.approx(alone, abs=1e-5)


def test_a_pack_that_cannot_be_trained_is_refused_before_the_first_trial(
    experiment_of: Callable[[str], Experiment],
) -> None:
    """A shared expert gets tokens without their rows."""
    bench = load_bench(experiment_of("qwen2-moe"))
    before = fingerprint(bench.base)
    with pytest.raises(UserError, match="--pack: an adapted module does not get .* leave --pack"):
        check_packable([Learner(bench, SETTINGS, CHOSEN) for _ in range(2)])
    assert fingerprint(bench.base) == before
    attention = SETTINGS.model_copy(update={"targets": "attention"})
    check_packable([Learner(bench, attention, CHOSEN) for _ in range(2)])
