"""What serves an adapter, as lines to copy; text out, loads nothing."""

from __future__ import annotations

import json
from pathlib import Path
import shlex

from objectives.adapter.found import Adapter
from objectives.result.serving import four_bits
from objectives.result.serving import vllm_lora


__all__ = ["serving"]

_PEFT = """\
{quantization}tokenizer = AutoTokenizer.from_pretrained({tokenizer})
base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, {adapter})"""


def serving(adapter: Adapter) -> str:
    """vLLM's line and peft's three."""
    return (
        f"# vLLM, whose model is then called {adapter.name}\n{_vllm(adapter)}\n\n{_peft(adapter)}"
    )


def _vllm(adapter: Adapter) -> str:
    lora = vllm_lora(adapter.config, adapter.name, str(adapter.folder))
    if not lora:
        merge = f"python -m objectives.adapter merge {shlex.quote(str(adapter.folder))}"
        merged = shlex.quote(str(adapter.folder.parent / "merged"))
        name = shlex.quote(adapter.name)
        return f"{merge}   # vLLM takes no DoRA\nvllm serve {merged} --served-model-name {name}"
    words = ["vllm", "serve", adapter.model.name]
    if adapter.model.revision is not None:
        words += ["--revision", adapter.model.revision]
    if adapter.model.quantization is not None:
        words += ["--quantization", "bitsandbytes"]
    template = adapter.folder / "chat_template.jinja"
    if template.is_file():
        words += ["--chat-template", str(template)]
    return shlex.join([*words, *lora])


def _peft(adapter: Adapter) -> str:
    revision = adapter.model.revision
    base = json.dumps(adapter.model.name) + (
        "" if revision is None else f", revision={revision!r}"
    )
    quantization = four_bits(adapter.model)
    base += ", quantization_config=QUANTIZATION" if quantization else ""
    tokenizer: str | Path = adapter.tokenizer or adapter.model.name
    lines = _PEFT.format(
        quantization=quantization,
        tokenizer=json.dumps(str(tokenizer)),
        base=base,
        adapter=json.dumps(str(adapter.folder)),
    )
    imports = "from transformers import AutoModelForCausalLM, AutoTokenizer"
    imports += ", BitsAndBytesConfig" if quantization else ""
    return f"# peft\nfrom peft import PeftModel\n{imports}\n\n{lines}"
