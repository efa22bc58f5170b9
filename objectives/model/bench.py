"""Loads base, tokenizer and corpus once, and puts adapters on the base and takes them off.

    bench = load_bench(experiment)                     once per worker
    model = new_adapter(bench, settings, chosen)       or load_adapter(bench, folder)
    save_adapter(model, folder)
    release(bench, model)                              the untouched base is on the bench again

It reads the model and the data, writes the cache of the tokenised data where `load_bench` is told
to and adapters where `save_adapter` is, and trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from datetime import timedelta
import os
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import DistributedType
from accelerate.utils import InitProcessGroupKwargs
from accelerate.utils import set_seed
from peft import get_peft_model
from peft import LoraConfig
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase

from objectives.data.corpus import Corpus
from objectives.data.load import load_corpus
from objectives.errors import UserError
from objectives.model.architecture import check_architecture
from objectives.model.architecture import quiet_peft
from objectives.model.base import check_base
from objectives.model.base import load_base
from objectives.model.base import load_tokenizer
from objectives.model.base import mixed_precision
from objectives.model.base import notes_of_dtype
from objectives.model.extras import check_extras
from objectives.model.extras import notes_of_paging
from objectives.model.starts import keep_start
from objectives.model.starts import keep_weights
from objectives.model.starts import save_for_whole
from objectives.model.targets import resolve
from objectives.output import unwritable
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.scoring import is_function
from objectives.settings.sections.training import starts_in_base
from objectives.settings.sections.training import TrainingSettings


__all__ = [
    "Bench",
    "load_adapter",
    "load_bench",
    "load_data",
    "new_adapter",
    "release",
    "save_adapter",
]


@dataclass
class Bench:
    """What a worker loads once.

    Attributes:
        accelerator: The one of this process; its settings cannot change afterwards.
        base: Frozen, on the accelerator's device, without adapter between two trainings.
        tokenizer: The base's.
        corpus: Token samples for training and validation.
        revision: Of the base, as the experiment names it; goes into the adapter's configuration.
        notes: What the user should know of base and data before the first training, a line each.
        undo: What `release` does beside taking the adapter off: a training that changes more of
            the base puts here how that is put back.
    """

    accelerator: Accelerator
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    corpus: Corpus
    revision: str | None = None
    notes: tuple[str, ...] = ()
    undo: ExitStack = field(default_factory=ExitStack)


def load_bench(experiment: Experiment, *, cache: Path | None = None) -> Bench:
    """Loads tokenizer, data and base: a mistake in the data shows before gigabytes are loaded.

    Args:
        experiment: What to load.
        cache: Folder for the tokenised data; None keeps it in memory only.

    Raises:
        UserError: Model or data is not there, or does not fit the settings.
    """
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=1))  # while another loads or scores
    accelerator = Accelerator(
        mixed_precision=mixed_precision(experiment.model), kwargs_handlers=[patience]
    )
    _check_configuration(accelerator)
    check_extras(experiment)
    adapters = check_architecture(experiment)
    tokenizer, corpus = load_data(experiment, cache=cache)
    base = load_base(experiment.model, accelerator)
    check_base(base, experiment, corpus)
    if corpus.pad_id >= base.get_input_embeddings().num_embeddings:
        # added to the tokenizer alone; what stands behind a row's end does not matter
        tokenizer.pad_token = tokenizer.eos_token
        corpus = replace(corpus, pad_id=tokenizer.eos_token_id)
    of_machine = (*notes_of_dtype(experiment.model), *notes_of_paging(experiment))
    notes = (*of_machine, *adapters, *corpus.notes)
    return Bench(accelerator, base, tokenizer, corpus, experiment.model.revision, notes)


def _check_configuration(accelerator: Accelerator) -> None:
    """Its configuration may come from a launcher's file."""
    kind = accelerator.distributed_type
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(
            f"Accelerate is configured for {kind.value}, which takes the base apart for every "
            "trial; leave it out of Accelerate's configuration, and to share the base among the "
            "ranks set `[model] sharded` = true"
        )
    started = os.environ.get("WORLD_SIZE", "1")
    if str(accelerator.num_processes) != started:
        raise UserError(
            f"WORLD_SIZE = {started}, and Accelerate counts {accelerator.num_processes}: it finds "
            "no GPU for the ranks; set ACCELERATE_USE_CPU=true to have them on the CPU"
        )


def load_data(
    experiment: Experiment, *, cache: Path | None = None
) -> tuple[PreTrainedTokenizerBase, Corpus]:
    """The part of a bench that needs no accelerator and little memory.

    Raises:
        UserError: Model or data is not there, or the data does not fit the settings.
    """
    tokenizer = load_tokenizer(experiment.model)
    preferences = experiment.training.method == "dpo"
    corpus = load_corpus(experiment.data, tokenizer, cache, preferences=preferences)
    notes = (*corpus.notes, *_notes_of_scoring(experiment, corpus))
    return tokenizer, replace(corpus, notes=notes)


def _notes_of_scoring(experiment: Experiment, corpus: Corpus) -> Iterator[str]:
    scoring = experiment.scoring
    tasks = [task for task in (*scoring.goals, *scoring.test) if not is_function(task)]
    if corpus.is_chat and tasks:
        yield (
            f"scoring: lm-eval asks {', '.join(dict.fromkeys(tasks))} without the chat template "
            "that writes the rows out, so that scores are of prompts that were not learned; a "
            "function of your own can ask by it"
        )


def new_adapter(bench: Bench, settings: TrainingSettings, chosen: Hyperparameters) -> PeftModel:
    """Seeds the random numbers and puts a fresh adapter on the base; `release` takes it off."""
    own = chosen.over(settings)
    config = _lora_config(bench, own, chosen)
    in_base = starts_in_base(own.init_lora_weights)
    if in_base:
        bench.undo.callback(keep_weights(bench.base, config.target_modules))
    # here and not earlier: the adapter's start is random, and so is dropout
    set_seed(settings.seed)
    with quiet_peft():
        model = get_peft_model(bench.base, config)
    assert isinstance(model, PeftModel)
    if in_base:
        keep_start(model)
    if bench.accelerator.num_processes > 1:  # the same adapter on every rank, but other dropout
        set_seed(settings.seed, device_specific=True)
    return model


def _lora_config(bench: Bench, own: TrainingSettings, chosen: Hyperparameters) -> LoraConfig:
    start = own.init_lora_weights
    return LoraConfig(
        r=chosen.rank,
        lora_alpha=chosen.alpha,
        lora_dropout=chosen.dropout,
        target_modules=resolve(bench.base, own.targets, "targets"),
        use_rslora=own.rslora,
        use_dora=own.dora,
        init_lora_weights=True if start == "default" else start,
        task_type="CAUSAL_LM",
        revision=bench.revision,
    )


def load_adapter(bench: Bench, folder: Path) -> PeftModel:
    """Puts a saved adapter on the base, frozen; `release` takes it off."""
    device = _for_safetensors(bench.accelerator.device)
    with quiet_peft():
        model = PeftModel.from_pretrained(bench.base, str(folder), torch_device=device)
    assert isinstance(model, PeftModel)
    return model


def _for_safetensors(device: torch.device) -> str:
    """The rank's own GPU: unless told, peft reads to the first. "cpu:0" is no word of its."""
    return "cpu" if device.type == "cpu" else str(device)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Writes the adapter alone: weights, configuration and model card, as peft reads them.

    Raises:
        UserError: The folder cannot be written.
    """
    try:
        # Without the `False` peft asks the hub, on every save, whether the vocabulary was resized.
        save_for_whole(
            model,
            lambda weights: model.save_pretrained(
                str(folder), save_embedding_layers=False, state_dict=weights
            ),
        )
    except (OSError, SafetensorError) as error:
        raise unwritable(folder, error) from None


def release(bench: Bench, model: nn.Module) -> None:
    """Takes the adapter off the base, and frees its memory and the optimizer's.

    Args:
        bench: Its base is afterwards as `load_bench` left it.
        model: From `new_adapter` or `load_adapter`, trained or not, or the base itself with an
            adapter on it. Use it no more.
    """
    bench.undo.close()
    # What peft's `unload` does; but this also clears up after a `get_peft_model` that stopped
    # half-way.
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                setattr(parent, name, child.get_base_layer())
    if hasattr(bench.base, "peft_config"):
        del bench.base.peft_config
    bench.base.eval()
    bench.accelerator.free_memory()
