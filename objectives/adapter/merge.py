"""Puts an adapter into the weights of its base, checks the result and saves it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from peft import PeftModel
import torch
from torch import nn
from torch import Tensor
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase

from objectives.adapter.found import Adapter
from objectives.errors import UserError
from objectives.model.architecture import quiet_peft
from objectives.model.base import load_skeleton
from objectives.model.base import load_tokenizer
from objectives.model.base import load_whole
from objectives.model.quantized import dequantized
from objectives.output import check_writable
from objectives.output import writing
from objectives.settings.sections.model import ModelSettings


__all__ = ["merge", "tokenizer_of"]

_TEXT = "The quick brown fox jumps over the lazy dog. 0123456789"
_DTYPES = ("float32", "bfloat16", "float16")
_OFF = 0.5  # of what the adapter changes: merged weights that are farther off say something else


def merge(adapter: Adapter, to: Path, dtype: str | None = None) -> str:
    """Saves weights and tokenizer for plain transformers.

    A base in 4 bits is made whole again: an adapter was trained beside those very weights.

    Args:
        adapter: On disk.
        to: A folder that is made.
        dtype: Of the weights; None leaves them as the base is stored.

    Returns:
        A line about how far the merged model is off.

    Raises:
        UserError: The folder is not empty, or the adapter does not go into such weights.
    """
    if dtype is not None and dtype not in _DTYPES:
        raise UserError(f"--dtype {dtype}: must be one of {', '.join(_DTYPES)}")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"--to {to}: is there and not empty; give another, or delete it")
    check_writable(to)
    tokenizer, base = tokenizer_of(adapter), _base(adapter, dtype)
    with quiet_peft():
        model = PeftModel.from_pretrained(base, str(adapter.folder)).eval()
    ids = torch.tensor([tokenizer(_TEXT)["input_ids"]])
    with torch.no_grad():
        tuned = _logits(model, ids)
        with model.disable_adapter():
            moved = _farthest(tuned, _logits(model, ids))
        merged = model.merge_and_unload()
        off = _farthest(tuned, _logits(merged, ids))
    told = f"its logits are off by {off:.2g} at most, of {moved:.2g} that the adapter changes"
    if off > _OFF * moved:
        raise UserError(
            f"{adapter.folder}: the merged model is another one ({told}); give --dtype float32, "
            "or serve the adapter beside its base"
        )
    with writing(to):
        merged.save_pretrained(to)
        tokenizer.save_pretrained(to)
    return f"checked        {told}"


def tokenizer_of(adapter: Adapter) -> PreTrainedTokenizerBase:
    """With the experiment's chat template, where it has one."""
    if adapter.tokenizer is not None:
        return load_tokenizer(ModelSettings(name=str(adapter.tokenizer)))
    tokenizer = load_tokenizer(adapter.model)
    if adapter.data.chat_template is not None:
        tokenizer.chat_template = adapter.data.chat_template
    return tokenizer


def _base(adapter: Adapter, dtype: str | None) -> PreTrainedModel:
    settings = adapter.model
    stored = getattr(load_skeleton(settings).config, "quantization_config", None)
    if stored is not None:
        raise UserError(
            f"{settings.name}: is stored in few bits, and no adapter goes into such weights; "
            "name one in whole weights with --base, or serve the adapter beside it"
        )
    if settings.quantization is None:
        changed = {"dtype": dtype} if dtype else {}
        cpu = torch.device("cpu")
        return load_whole(settings.model_copy(update=changed), cpu, as_stored=True)
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"{adapter.folder}: was trained on a base in 4 bits, which bitsandbytes makes whole "
            "again; pip install bitsandbytes, or serve the adapter beside its base"
        )
    trained = "bfloat16" if settings.dtype == "auto" else settings.dtype  # as on a GPU
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = load_whole(settings.model_copy(update={"dtype": trained}), device)
    return dequantized(base, getattr(torch, dtype or trained)).to("cpu")


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids).logits
    return logits.float()


def _farthest(logits: Tensor, others: Tensor) -> float:
    return (logits - others).abs().max().item()
