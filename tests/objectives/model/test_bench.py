"""The bench: what it refuses to load, and adapters that come off as they went on."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import shutil

import pytest
from rows_of_text import CHAT
from safetensors.torch import load_file
from to_the_end import trained
import torch
from transformers import AutoTokenizer
from transformers import BartConfig
from transformers import BartForConditionalGeneration
from transformers import BertConfig
from transformers import BertLMHeadModel
from transformers import LlamaForCausalLM
from transformers import Mxfp4Config
from transformers import T5Config
from transformers import T5ForConditionalGeneration
from transformers import ViTConfig
from transformers import ViTForImageClassification
from transformers.quantizers.quantizer_mxfp4 import Mxfp4HfQuantizer

from objectives.errors import UserError
from objectives.model.base import check_base
from objectives.model.base import load_whole
from objectives.model.base import notes_of_dtype
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import load_data
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.scoring.criterion import measure
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.scoring import ScoringSettings
from objectives.settings.sections.training import TrainingSettings


CHOSEN = Hyperparameters(
    learning_rate=5e-3, weight_decay=0.1, rank=4, alpha=8, dropout=0.0, effective_batch=12
)
SETTINGS = TrainingSettings(micro_batch=5, validations=1)


def test_loading_is_quiet(tiny_experiment: Experiment, capfd: pytest.CaptureFixture[str]) -> None:
    """The terminal belongs to the study."""
    load_bench(tiny_experiment)
    assert capfd.readouterr() == ("", "")


def test_a_saved_adapter_gives_the_same_loss(
    tiny_experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    learner = trained(bench, SETTINGS, CHOSEN)
    save_adapter(learner.model, tmp_path / "adapter")
    release(bench, bench.base)
    model = load_adapter(bench, tmp_path / "adapter")
    loss = measure(
        model,
        bench.corpus.validation,
        pad_id=bench.corpus.pad_id,
        micro_batch=SETTINGS.micro_batch,
        accelerator=bench.accelerator,
    ).loss
    release(bench, model)
    assert loss == learner.validations[-1].loss
    assert {file.name for file in (tmp_path / "adapter").iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_experiment.model.name
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2 and all("lora_" in name for name in weights)


def test_a_pad_token_that_the_base_does_not_know_is_not_looked_up(
    tiny_experiment: Experiment, bench: Bench, task_folder: Path, tmp_path: Path
) -> None:
    """As of a tokenizer to which [PAD] was added, beside a base that was not resized."""
    shutil.copytree(tiny_experiment.model.name, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tmp_path / "model")
    model = tiny_experiment.model.model_copy(update={"name": str(tmp_path / "model")})
    padded = load_bench(tiny_experiment.model_copy(update={"model": model}))
    losses = [trained(each, SETTINGS, CHOSEN).losses for each in (bench, padded)]
    release(bench, bench.base)
    assert losses[0] == losses[1]
    scoring = ScoringSettings(tasks=str(task_folder))
    scores = [
        Scorer.load(scoring, each.tokenizer, ["answers"]).score(each.base, "answers")
        for each in (bench, padded)
    ]
    assert scores[0] == scores[1]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": {"name": "no-such-user/no-such-model"}},
            r"`\[model\] name` = 'no-such-user/no-such-model': is neither a folder here nor whole "
            "in the hub's cache, and HF_HUB_OFFLINE is set; unset it, give a folder",
        ),
        (
            {"training": {"targets": ["q_proj", "v_prj"]}},
            r"`\[training\] targets`: the model has no module 'v_prj'; .* q_proj, up_proj, v_proj",
        ),
        (
            {"training": {"targets": ["mlp"]}},
            r"`\[training\] targets`: 'mlp' is a LlamaMLP, not linear; its linear ones are",
        ),
        (
            {"data": {"max_length": 513}},
            r"`\[data\] max_length` = 513: the model takes 512 tokens at most; write",
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(
    tiny_experiment: Experiment, change: dict[str, dict[str, object]], message: str
) -> None:
    section, keys = next(iter(change.items()))
    changed = getattr(tiny_experiment, section).model_copy(update=keys)
    with pytest.raises(UserError, match=message) as caught:
        load_bench(tiny_experiment.model_copy(update={section: changed}))
    assert "\n" not in str(caught.value)
    error = caught.value
    assert error.__cause__ is None and (error.__suppress_context__ or error.__context__ is None)


def test_a_task_that_asks_chats_without_their_template_is_told_of(
    tiny_experiment: Experiment,
) -> None:
    chats = {"template": "chat", "chat_template": CHAT}
    asked = ScoringSettings(objective="quiz", test=["river", "scores:mine"])
    for data, scoring, told in (
        (chats, asked, True),
        (chats, ScoringSettings(), False),
        ({}, asked, False),
    ):
        changed = {
            "data": tiny_experiment.data.model_copy(update=data),
            "scoring": scoring,
        }
        _, corpus = load_data(tiny_experiment.model_copy(update=changed))
        note = "scoring: lm-eval asks quiz, river without the chat template"
        assert any(line.startswith(note) for line in corpus.notes) is told


@pytest.mark.parametrize("bits", [None, "4bit"])
def test_a_base_that_does_not_fit_is_one_message(
    tiny_experiment: Experiment, monkeypatch: pytest.MonkeyPatch, bits: str | None
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    where = "to" if bits is None else "from_pretrained"  # a 4-bit one is loaded to its device
    monkeypatch.setattr(LlamaForCausalLM, where, no_memory)
    model = tiny_experiment.model.model_copy(update={"quantization": bits})
    with pytest.raises(UserError, match="do not fit into what is free on cuda:1; ") as caught:
        load_whole(model, torch.device("cuda:1"))
    assert ('quantization` = "4bit"' in str(caught.value)) is (bits is None)
    assert "start fewer --workers on it, " in str(caught.value)


def test_a_base_that_is_stored_in_few_bits_is_trained_where_it_can_be(
    tiny_experiment: Experiment, bench: Bench, task_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another kind than bitsandbytes', whose weights need a GPU."""
    scorer = Scorer.load(ScoringSettings(tasks=str(task_folder)), bench.tokenizer, ["colours"])
    expected = scorer.score(bench.base, "colours")
    monkeypatch.setattr(bench.base.config, "quantization_config", Mxfp4Config(), raising=False)
    assert scorer.score(bench.base, "colours") == expected
    quantizer = Mxfp4HfQuantizer(Mxfp4Config())
    monkeypatch.setattr(bench.base, "hf_quantizer", quantizer, raising=False)
    with pytest.raises(UserError, match="is stored as mxfp4, .* trains nothing; name the same"):
        check_base(bench.base, tiny_experiment, bench.corpus)


def test_an_empty_folder_is_no_model(tiny_experiment: Experiment, tmp_path: Path) -> None:
    model = tiny_experiment.model.model_copy(update={"name": str(tmp_path)})
    with pytest.raises(UserError, match=r"`\[model\] name` = .*cannot be loaded"):
        load_bench(tiny_experiment.model_copy(update={"model": model}))


def encoder(folder: Path) -> None:
    """Sees what it is to predict."""
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertLMHeadModel(BertConfig(vocab_size=384, **shape)).save_pretrained(folder)


def encoder_decoder(folder: Path) -> None:
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(vocab_size=384, **shape)).save_pretrained(folder)


def encoder_decoder_with_half_of_it(folder: Path) -> None:
    """Of which transformers makes a decoder, with weights that are not there."""
    BartForConditionalGeneration(
        BartConfig(vocab_size=384, d_model=32, encoder_layers=1, decoder_layers=1)
    ).save_pretrained(folder)


def of_pictures(folder: Path) -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ViTForImageClassification(ViTConfig(**shape)).save_pretrained(folder)


def without_a_head(folder: Path) -> None:
    LlamaForCausalLM.from_pretrained(folder).model.save_pretrained(folder)


def broken_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def with_another_configuration(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 80}))


def with_few_tokens(folder: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(100)
    model.save_pretrained(folder)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (encoder, "BertLMHeadModel does not predict from left to right: .*; name a decoder"),
        (
            encoder_decoder,
            r"is an encoder-decoder \(t5\), which .*; needed is a causal decoder, .*: name one",
        ),
        (encoder_decoder_with_half_of_it, r"is an encoder-decoder \(bart\), which .*: name one"),
        (of_pictures, r"is no causal language model \(vit\); needed is a causal decoder, .*"),
        (without_a_head, "lacks the weights lm_head.weight; give a model saved from"),
        (broken_off, r"cannot be loaded \(.*\); the folder must hold a decoder's configuration"),
        (with_another_configuration, r"cannot be loaded \(.*\); the folder must hold"),
        (with_few_tokens, r"gives token \d+, and the model knows 100: .*resize_token_embeddings"),
    ],
)
def test_a_folder_whose_model_cannot_be_trained(
    tiny_experiment: Experiment,
    tiny_model_folder: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    LlamaForCausalLM.from_pretrained(folder).save_pretrained(folder)  # with a head of its own
    spoil(folder)
    model = tiny_experiment.model.model_copy(update={"name": str(folder)})
    with pytest.raises(UserError, match=message):
        load_bench(tiny_experiment.model_copy(update={"model": model}))


def test_an_adapter_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    learner = trained(bench, SETTINGS, CHOSEN)
    (folder := tmp_path / "adapter").mkdir()
    (folder / "adapter_model.safetensors").mkdir()
    with pytest.raises(UserError, match=f"--output: {folder} cannot be written .Is a directory"):
        save_adapter(learner.model, folder)
    release(bench, bench.base)


@pytest.mark.parametrize(("dtype", "imitated"), [("auto", 1), ("float16", 0)])
def test_a_gpu_that_imitates_bfloat16_is_told_of(
    tiny_experiment: Experiment, monkeypatch: pytest.MonkeyPatch, dtype: str, imitated: int
) -> None:
    """As a T4 does."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    model = tiny_experiment.model.model_copy(update={"dtype": dtype})
    for emulated, count in ((True, imitated), (False, 0)):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, e=emulated: not e
        )
        found = list(notes_of_dtype(model))
        assert len(found) == count and all('write dtype = "float16"' in line for line in found)


def test_on_a_cpu_nothing_is_in_half_precision_whatever_the_machine_has(
    tiny_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    bench = load_bench(tiny_experiment)
    assert bench.base.dtype == torch.float32
    assert bench.accelerator.mixed_precision == "no"
