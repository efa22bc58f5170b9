"""The model card of the best adapter, as the hub reads it; text in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import shlex
from typing import Any

from optuna.trial import FrozenTrial

from objectives.report.given import FinalRow
from objectives.result.asking import Asking
from objectives.result.asking import asking
from objectives.result.asking import literal
from objectives.result.final import honesty
from objectives.result.names import named_base
from objectives.result.names import origin
from objectives.result.serving import four_bits
from objectives.result.serving import vllm_lora
from objectives.settings.config import Experiment
from objectives.settings.sections.model import ModelSettings
from objectives.settings.sections.sources import in_words
from objectives.settings.sections.sources import on_hub


__all__ = ["model_card"]

_CARD = """\
---
{front}
---

# {study}: the best LoRA adapter

Trial {number} of the Optuna study `{study}`, chosen by its {objective}, {value:.4f}.

{made_of} All settings are in `experiment.json`.

| hyperparameter | value |
|---|---|
{hyperparameters}

{final}## Prompt

{prompts}

The answer follows.

## Generate

```python
from peft import PeftModel
from transformers import {classes}

{variables}

tokenizer = AutoTokenizer.from_pretrained(ADAPTER)
{quantization}base = AutoModelForCausalLM.from_pretrained({arguments})
model = PeftModel.from_pretrained(base, ADAPTER)

text = {text}
tokens = tokenizer(text, return_tensors="pt", return_token_type_ids=False{options})
answer = model.generate(**tokens.to(model.device), max_new_tokens=64{stop})
answer = answer[0, tokens["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True).strip())
```

## Merge and push

{merge}

These put the merged model on the hub, or the adapter alone:

```sh
hf upload YOUR_NAME/YOUR_MODEL merged .
hf upload YOUR_NAME/YOUR_ADAPTER best_adapter .
```
{serve}"""

_MERGE = """\
These lines put the adapter into the base's weights. The merged model needs no peft.

```python
model.merge_and_unload().save_pretrained("merged")
tokenizer.save_pretrained("merged")
```"""

_MERGE_WHOLE = """\
This command of optuna-partition makes the base's weights whole again, and puts the adapter into
them. The merged model needs no peft.

```sh
{line}
```"""

_SERVE = """
## Serve

{told}

```sh
{line}
```
"""

_FINAL = """\
## Final test

{honesty}

{table}

"""


def model_card(
    experiment: Experiment,
    study: str,
    trial: FrozenTrial,
    rows: Sequence[FinalRow],
    *,
    looks: int,
    way: str,
    end: str | None,
    config: Mapping[str, Any],
) -> str:
    """Markdown with the hub's front matter; names no path of this machine.

    Args:
        experiment: Settings of the study.
        study: Its name.
        trial: The best one.
        rows: The final test; none: the card has no such section.
        looks: How often adapters of the study have been scored on its tasks.
        way: How the adapter is asked; see `asking`.
        end: What ends a turn of a chat, beside the base's own ends.
        config: peft's.
    """
    chosen = experiment.hyperparameters(trial.params).told()
    asked, quantization = asking(experiment.data, way), four_bits(experiment.model)
    test = _FINAL.format(honesty=honesty(experiment, looks), table=_table(rows)) if rows else ""
    return _CARD.format(
        front=_front_matter(experiment),
        study=study,
        number=trial.number,
        objective=experiment.scoring.in_words,
        value=trial.value,
        made_of=_made_of(experiment),
        hyperparameters="\n".join(f"| {name} | {text} |" for name, text in chosen.items()),
        final=test,
        prompts=asked.prompts,
        classes="AutoModelForCausalLM, AutoTokenizer"
        + (", BitsAndBytesConfig" if quantization else ""),
        variables=_variables(experiment, asked),
        quantization=quantization,
        arguments=_arguments(experiment.model),
        text=asked.text,
        stop="" if end is None else f", stop_strings={literal(end)}, tokenizer=tokenizer",
        options="" if asked.begins else ", add_special_tokens=False",
        merge=_merge(experiment.model),
        serve=_serve(experiment.model, config),
    )


def _front_matter(experiment: Experiment) -> str:
    """The hub links base and data by it, so it names what is on the hub."""
    base, data = named_base(experiment.model), on_hub(experiment.data.train)
    lines = [
        f"base_model: {base.name}" if base.on_hub else "",
        f"datasets: [{', '.join(data)}]" if data else "",
        "library_name: peft",
        "pipeline_tag: text-generation",
        "tags: [lora, optuna, optuna-partition]",
    ]
    return "\n".join(filter(None, lines))


def _made_of(experiment: Experiment) -> str:
    """Base, data and the training's length, as sentences."""
    training, data = experiment.training, experiment.data
    rows = "" if data.limit is None else f" ({data.limit} of its rows)"
    length = f"{training.epochs:g} epoch{'' if training.epochs == 1 else 's'}"
    if training.max_steps is not None:
        length = f"{training.max_steps} steps"
    return (
        f"The base is {_base(experiment.model)}. The adapter was trained for {length} "
        f"on `{in_words(data.train)}`{rows}{_by(experiment)}."
    )


def _by(experiment: Experiment) -> str:
    preferences = experiment.training.method == "dpo"
    return ", by direct preference optimisation" if preferences else ""


def _base(model: ModelSettings) -> str:
    base, made_from = named_base(model), origin(model)
    revision = f" at revision `{base.revision}`" if base.revision else ""
    bits = ", in 4 bits (NF4)" if model.quantization else ""
    if base.on_hub:
        return f"`{base.name}`{revision}{bits}"
    named = f"; its configuration says that it was made from `{made_from}`" if made_from else ""
    return f"`{base.name}`{bits}, a folder that is not on the hub{named}"


def _variables(experiment: Experiment, asked: Asking) -> str:
    """The top of the example: what a reader sets."""
    base = named_base(experiment.model)
    set_base = "" if base.on_hub else "  # set this: the folder that holds the base"
    lines = [
        f"BASE = {literal(base.name)}{set_base}",
        'ADAPTER = "best_adapter"  # set this: the folder of this card, or a name on the hub',
        *asked.variables,
    ]
    return "\n".join(lines)


def _arguments(model: ModelSettings) -> str:
    """What loads the base as it was loaded for training."""
    base = named_base(model)
    revision = "" if base.revision is None else f", revision={literal(base.revision)}"
    dtype = "" if model.dtype == "auto" else f", dtype={literal(model.dtype)}"
    quantization = ", quantization_config=QUANTIZATION" if model.quantization else ""
    return f"BASE{revision}{dtype}{quantization}"


def _merge(model: ModelSettings) -> str:
    if not model.quantization:
        return _MERGE
    base = named_base(model)
    words = ["python", "-m", "objectives.adapter", "merge", "best_adapter", "--to", "merged"]
    words += [] if base.on_hub else ["--base", f"./{base.name}"]
    return _MERGE_WHOLE.format(line=shlex.join(words))


def _serve(model: ModelSettings, config: Mapping[str, Any]) -> str:
    """By vLLM, from the folder above the card's."""
    base, lora = named_base(model), vllm_lora(config, "tuned", "best_adapter")
    if not lora:
        told = "vLLM takes no DoRA adapter, but the merged model of above."
        return _SERVE.format(told=told, line="vllm serve merged --served-model-name tuned")
    words = ["vllm", "serve", base.name if base.on_hub else f"./{base.name}"]
    words += [] if base.revision is None else ["--revision", base.revision]
    words += ["--quantization", "bitsandbytes"] if model.quantization else []
    told = "vLLM serves base and adapter side by side; the adapter is the model `tuned`."
    return _SERVE.format(told=told, line=shlex.join([*words, *lora]))


def _table(rows: Sequence[FinalRow]) -> str:
    tasks = list(rows[0].scores)
    head = ["", "validation loss", *map(rows[0].heading, tasks)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        scores = [row.told(task) for task in tasks]
        lines.append("| " + " | ".join([row.name, f"{row.validation_loss:.4f}", *scores]) + " |")
    return "\n".join(lines)
