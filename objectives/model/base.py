"""Loads the base and its tokenizer, and checks that the base can be trained; trains nothing."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from safetensors import SafetensorError
import torch
from transformers import AutoConfig
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers import PreTrainedConfig
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase
from transformers.initialization import no_init_weights
from transformers.utils.logging import disable_progress_bar

from objectives.data import hub
from objectives.data.corpus import Corpus
from objectives.data.corpus import rows_of
from objectives.errors import UserError
from objectives.model.extras import apply_liger
from objectives.model.memory import is_out_of_memory
from objectives.model.padding_free import check_padding_free
from objectives.model.quantized import check_trainable
from objectives.model.quantized import loading_arguments
from objectives.model.quantized import prepared
from objectives.model.sharded import load_shares
from objectives.model.targets import resolve
from objectives.settings.config import Experiment
from objectives.settings.sections.model import ModelSettings


__all__ = [
    "check_base",
    "load_base",
    "load_skeleton",
    "load_tokenizer",
    "load_whole",
    "mixed_precision",
    "notes_of_dtype",
]


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The base's.

    Raises:
        UserError: It cannot be had.
    """
    with _as_user_error(settings):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            settings.name, revision=settings.revision or "main"
        )
    return tokenizer


def load_skeleton(settings: ModelSettings) -> PreTrainedModel:
    """The base as its configuration has it, without weights.

    Raises:
        UserError: It cannot be had, or is no decoder.
    """
    with _as_user_error(settings):
        config = AutoConfig.from_pretrained(settings.name, revision=settings.revision or "main")
    _check_decoder(config, settings)
    _check_attention(config, settings)
    with _as_user_error(settings), no_init_weights(), torch.device("meta"):
        base: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return base


def _check_attention(config: PreTrainedConfig, settings: ModelSettings) -> None:
    """transformers knows which models can, and which package each kind needs."""
    kind = settings.attn_implementation
    if kind is None:
        return
    try:
        with no_init_weights(), torch.device("meta"):
            AutoModelForCausalLM.from_config(
                config, attn_implementation=kind, dtype=_dtype(settings)
            )
    except (ImportError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"`[model] attn_implementation` = {kind!r}: {reason}; "
            'write "sdpa" or "eager", or leave it out for what the model takes'
        ) from None


def load_base(settings: ModelSettings, accelerator: Accelerator) -> PreTrainedModel:
    """Frozen, on the device; in shares if that is wanted.

    Raises:
        UserError: It cannot be had, or is not whole.
    """
    disable_progress_bar()  # "Loading weights"
    if not settings.sharded:
        return load_whole(settings, accelerator.device)
    return load_shares(partial(load_whole, settings, torch.device("cpu")), accelerator)


def load_whole(
    settings: ModelSettings, device: torch.device, *, as_stored: bool = False
) -> PreTrainedModel:
    """Frozen, on the device, and not in shares.

    Args:
        settings: Of the base.
        device: A 4-bit one is put there while it is loaded.
        as_stored: Whether `dtype` "auto" is that of the files, not of the machine.

    Raises:
        UserError: It cannot be had, is not whole, or does not fit.
    """
    try:
        return _loaded(settings, device, as_stored=as_stored)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(_too_large(settings, device)) from None


def _loaded(settings: ModelSettings, device: torch.device, *, as_stored: bool) -> PreTrainedModel:
    quantized = settings.quantization is not None
    stored = as_stored and settings.dtype == "auto" and not quantized
    dtype = _dtype(settings)
    more = loading_arguments(dtype, device) if quantized else {}
    base: PreTrainedModel
    with _as_user_error(settings):
        base, info = AutoModelForCausalLM.from_pretrained(
            settings.name,
            revision=settings.revision or "main",
            dtype="auto" if stored else dtype,
            output_loading_info=True,
            attn_implementation=settings.attn_implementation,
            **more,
        )
    if settings.use_liger_kernel:
        apply_liger(base)
    _check_complete(info["missing_keys"], settings)
    if quantized:
        return prepared(base)
    return base.to(device).requires_grad_(False)


def _too_large(settings: ModelSettings, device: torch.device) -> str:
    """What does not fit, and the ways out."""
    quantized, on_gpu = settings.quantization is not None, device.type != "cpu"
    size = load_skeleton(settings).num_parameters()
    size *= 0.5 if quantized else _dtype(settings).itemsize
    ways = ["start fewer --workers on it"] if on_gpu else []
    if on_gpu and not quantized:
        ways += [
            'set `[model] quantization` = "4bit"',
            "share the base among GPUs with `[model] sharded` = true and --gpus-per-trial 2",
        ]
    return (
        f"`[model] name` = {settings.name!r}: its weights ({size / 2**30:.3g} GiB"
        f"{' in 4 bits' if quantized else ''}) do not fit into what is free on {device}; "
        f"{', '.join([*ways, 'or name a smaller base'])}"
    )


def _dtype(settings: ModelSettings) -> torch.dtype:
    if settings.dtype == "auto":
        return torch.bfloat16 if _has_cuda() else torch.float32
    dtype: torch.dtype = getattr(torch, settings.dtype)
    return dtype


def mixed_precision(settings: ModelSettings) -> str:
    """Autocast where there is CUDA, in the base's half precision; nowhere else."""
    names = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    return names.get(_dtype(settings), "no") if _has_cuda() else "no"


def notes_of_dtype(settings: ModelSettings) -> Iterator[str]:
    """Where "auto" is a precision that the GPU imitates, as those before Ampere do."""
    auto = settings.dtype == "auto" and _has_cuda()
    if auto and not torch.cuda.is_bf16_supported(including_emulation=False):
        yield (
            '`[model] dtype` = "auto": is bfloat16 on a GPU, and this one imitates it slowly; '
            'write dtype = "float16"'
        )


def _has_cuda() -> bool:
    """Whether Accelerate will take a GPU."""
    return torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")


@contextmanager
def _as_user_error(settings: ModelSettings) -> Iterator[None]:
    """transformers' many ways to say that a model cannot be had, as one short message."""
    if not Path(settings.name).is_dir():
        hub.check()
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"`[model] name` = {settings.name!r}: {_told(settings, reason)}") from None


def _told(settings: ModelSettings, reason: str) -> str:
    """What is wrong, and the way out."""
    if Path(settings.name).is_dir():
        return (
            f"cannot be loaded ({reason}); the folder must hold a decoder's configuration, "
            "weights and tokenizer, as `save_pretrained` of AutoModelForCausalLM and "
            "AutoTokenizer writes them"
        )
    return hub.missing(
        "is neither a folder here nor whole in the hub's cache",
        "give a folder with the model in it",
    ) or (
        f"cannot be loaded ({reason}); check the spelling, run `hf auth login` for a gated model, "
        "or give a folder with the model in it"
    )


def _check_complete(missing: Collection[str], settings: ModelSettings) -> None:
    """transformers draws what is missing at random, in every process anew."""
    if missing:
        some = ", ".join(sorted(missing)[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(
            f"`[model] name` = {settings.name!r}: lacks the weights {some}; "
            "give a model saved from AutoModelForCausalLM"
        )


def _check_decoder(config: PreTrainedConfig, settings: ModelSettings) -> None:
    """Encoder-decoders such as T5 have no causal decoder, or one with half of their weights."""
    kind = config.model_type
    of_their_own = getattr(config, "auto_map", {})  # code that comes with the model
    if getattr(config, "is_encoder_decoder", False):
        found = f"is an encoder-decoder ({kind}), which reads the prompt with an encoder"
    elif type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not of_their_own:
        found = f"is no causal language model ({kind})"
    else:
        return
    raise UserError(
        f"`[model] name` = {settings.name!r}: {found}; needed is a causal decoder, which predicts "
        "each token from those before it, as Llama, Qwen, Mistral or GPT-2 do: name one"
    )


def _check_causal(base: PreTrainedModel, settings: ModelSettings) -> None:
    """Encoders such as BERT can be loaded too, and see the tokens they are to predict."""
    ids = torch.tensor([[0, 1], [0, 2]], device=base.device)
    first, second = base(input_ids=ids).logits[:, 0].float()
    rounding = 10 * torch.finfo(base.dtype).eps * first.abs().max()
    if (first - second).abs().max() > rounding:
        raise UserError(
            f"`[model] name` = {settings.name!r}: {type(base).__name__} does not predict from "
            "left to right: a token's prediction depends on the next; name a decoder"
        )


def _check_vocabulary(base: PreTrainedModel, corpus: Corpus) -> None:
    known = base.get_input_embeddings().num_embeddings
    largest = max(int(row.both[0].max()) for row in rows_of((*corpus.train, *corpus.validation)))
    if largest >= known:
        raise UserError(
            f"the tokenizer gives token {largest}, and the model knows {known}: they do not "
            "belong together, or the model was not resized (`resize_token_embeddings`) and saved"
        )


def check_base(base: PreTrainedModel, experiment: Experiment, corpus: Corpus) -> None:
    """Before anything is trained.

    Raises:
        UserError: The base does not fit the settings or the samples, or is no decoder.
    """
    check_trainable(base, experiment.model)
    for where, targets in experiment.targets():
        resolve(base, targets, where)  # a model saved quantised has other kinds of modules
    _check_vocabulary(base, corpus)
    _check_causal(base, experiment.model)
    if experiment.training.padding_free:
        check_padding_free(base)
