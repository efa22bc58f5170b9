"""Merged weights say what the adapter says, without peft."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path

from peft import PeftModel
import pytest
from rounding import gamma
import torch
from transformers import AutoConfig
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import LlamaForCausalLM
from transformers import PreTrainedTokenizerFast

from objectives.adapter.found import adapter_of
from objectives.adapter.merge import merge
from objectives.errors import UserError


Searched = Callable[..., Path]

# peft 0.21, transformers 5
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=torch.arange(3, 60).unsqueeze(0)).logits
    return found


@pytest.mark.parametrize(
    "kind", [{}, {"rslora": True}, {"dora": True}, {"init_lora_weights": "pissa"}]
)
def test_merged_logits_are_the_adapter_s(
    searched: Searched, tiny_model_folder: Path, tmp_path: Path, kind: dict[str, object]
) -> None:
    folder = searched(training=kind)
    told = merge(adapter_of(folder), tmp_path / "merged")
    assert told.startswith("checked        its logits are off by ")
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    before = logits(base)
    after = logits(PeftModel.from_pretrained(base, folder / "best_adapter"))
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"))
    moved = (after - before).abs().max()
    assert moved > 0.1, "the adapter has learned"
    # float32 on both ways, each with sums of at most 64 products in two layers of seven matrices
    assert (merged - after).abs().max() < 14 * gamma(64, torch.float32) * after.abs().max()
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


def test_the_tokenizer_comes_along_with_the_experiment_s_chat_template(
    searched: Searched, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
    folder = searched(data={"template": "chat", "chat_template": template})
    merge(adapter_of(folder), tmp_path / "merged")
    there = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert there.chat_template == template
    assert there("Name a river.")["input_ids"] == tiny_tokenizer("Name a river.")["input_ids"]


def test_weights_keep_the_type_of_the_files_unless_told_otherwise(
    kept: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    half = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(tiny_model_folder).save_pretrained(tmp_path / "half")
    told = json.loads((kept / "best_adapter" / "experiment.json").read_text())
    assert told["experiment"]["model"]["dtype"] == "float32"  # the experiment's counts
    merge(adapter_of(kept, str(tmp_path / "half")), tmp_path / "as_trained")
    merge(adapter_of(kept, str(tmp_path / "half")), tmp_path / "asked", "bfloat16")
    types = [AutoConfig.from_pretrained(tmp_path / name).dtype for name in ("as_trained", "asked")]
    assert types == [torch.float32, torch.bfloat16]


@pytest.mark.filterwarnings("ignore:Model (has|with) `tie_word_embeddings=True`")
def test_a_merge_that_would_say_something_else_is_refused(
    searched: Searched, tmp_path: Path
) -> None:
    """The head's weights are those of the embeddings, which would change as well."""
    folder = searched(training={"targets": ["lm_head"]})
    with pytest.raises(UserError, match="the merged model is another one .*serve the adapter"):
        merge(adapter_of(folder), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_base_stored_in_few_bits_is_refused(
    kept: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    config = json.loads((tiny_model_folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    AutoTokenizer.from_pretrained(tiny_model_folder).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is stored in few bits, and no adapter goes into such"):
        merge(adapter_of(kept, str(tmp_path)), tmp_path / "merged")


def of_four_bits(run_folder: Path) -> Path:
    """What is said of its base."""
    file = run_folder / "best_adapter" / "experiment.json"
    told = json.loads(file.read_text())
    told["experiment"]["model"] |= {"quantization": "4bit", "dtype": "bfloat16"}
    file.write_text(json.dumps(told))
    return run_folder


def test_a_base_of_four_bits_needs_bitsandbytes(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("objectives.adapter.merge.find_spec", lambda _: None)
    with pytest.raises(UserError, match="trained on a base in 4 bits, which bitsandbytes makes"):
        merge(adapter_of(of_four_bits(run_folder)), tmp_path / "merged")


def test_a_base_of_four_bits_is_made_whole_again(
    run_folder: Path,
    tiny_model_folder: Path,
    tiny_tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    """Its weights are those of the table of NormalFloat 4, and no others."""
    pytest.importorskip("bitsandbytes", reason="pip install bitsandbytes to test 4-bit bases")
    merge(adapter_of(of_four_bits(run_folder)), tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert isinstance(merged, LlamaForCausalLM) and not hasattr(
        merged.config, "quantization_config"
    )
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    tuned = logits(PeftModel.from_pretrained(base, run_folder / "best_adapter"))
    off = (logits(merged).float() - tuned).abs().mean()
    assert 0 < off < 0.5 * tuned.abs().mean()
