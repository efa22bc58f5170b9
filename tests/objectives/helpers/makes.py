"""Bases of many makes, tiny and random, and what is trained on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transformers import DeepseekV3Config
from transformers import FalconConfig
from transformers import Gemma2Config
from transformers import Gemma3Config
from transformers import Gemma3TextConfig
from transformers import GPT2Config
from transformers import GPTNeoXConfig
from transformers import GptOssConfig
from transformers import JetMoeConfig
from transformers import LlamaConfig
from transformers import MambaConfig
from transformers import MistralConfig
from transformers import MixtralConfig
from transformers import OPTConfig
from transformers import Phi3Config
from transformers import PhimoeConfig
from transformers import PreTrainedConfig
from transformers import Qwen2Config
from transformers import Qwen2MoeConfig
from transformers import Qwen3Config
from transformers import Qwen3MoeConfig

from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings


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


def gemma3_that_sees() -> PreTrainedConfig:
    eyes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    patches = {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    return Gemma3Config(
        text_config=SHAPE, vision_config={**eyes, **patches}, mm_tokens_per_image=4
    )


def jetmoe() -> PreTrainedConfig:
    return JetMoeConfig(
        **BARE, num_key_value_heads=1, kv_channels=8, intermediate_size=24, num_local_experts=2
    )


MAKES = {
    "llama": Make(lambda: LlamaConfig(**SHAPE), f"{QKVO}, {MLP}"),
    "mistral": Make(lambda: MistralConfig(**SHAPE), f"{QKVO}, {MLP}"),
    "qwen2": Make(lambda: Qwen2Config(**SHAPE), f"{QKVO}, {MLP}"),
    "qwen3": Make(lambda: Qwen3Config(**SHAPE), f"{QKVO}, {MLP}"),
    "gemma2": Make(lambda: Gemma2Config(**SHAPE), f"{QKVO}, {MLP}"),
    "gemma3": Make(lambda: Gemma3TextConfig(**SHAPE), f"{QKVO}, {MLP}"),
    "gemma3 that sees": Make(gemma3_that_sees, f"{QKVO}, {MLP}", "vision_tower (reads no text)"),
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
