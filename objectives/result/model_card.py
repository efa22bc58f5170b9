"""The model card of the best adapter, as the hub reads it; text in, text out."""

from __future__ import annotations

from collections.abc import Sequence
import json
import re

from optuna.trial import FrozenTrial

from objectives.data.corpus import prompt
from objectives.report.figures import FinalRow
from objectives.result.final import honesty
from objectives.result.names import named_base
from objectives.result.names import origin
from objectives.settings.config import Experiment
from objectives.settings.sections import DataSettings
from objectives.settings.sections import ModelSettings
from objectives.settings.sections import portable


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
from transformers import AutoModelForCausalLM, AutoTokenizer

{variables}

tokenizer = AutoTokenizer.from_pretrained(ADAPTER)
base = AutoModelForCausalLM.from_pretrained({arguments})
model = PeftModel.from_pretrained(base, ADAPTER)

text = {text}
tokens = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
answer = model.generate(**tokens, max_new_tokens=64)[0, tokens["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True).strip())
```

## Merge and push

These lines put the adapter into the base's weights. The merged model needs no peft.

```python
model.merge_and_unload().save_pretrained("merged")
tokenizer.save_pretrained("merged")
```

These put the merged model on the hub, or the adapter alone:

```sh
hf upload YOUR_NAME/YOUR_MODEL merged .
hf upload YOUR_NAME/YOUR_ADAPTER best_adapter .
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
    looks: int = 1,
) -> str:
    """Markdown with the hub's front matter; names no path of this machine.

    Args:
        experiment: Settings of the study.
        study: Its name.
        trial: The best one.
        rows: The final test; none: the card has no such section.
        looks: How often adapters of the study have been scored on its tasks.
    """
    chosen = experiment.hyperparameters(trial.params).told()
    test = _FINAL.format(honesty=honesty(experiment, looks), table=_table(rows)) if rows else ""
    return _CARD.format(
        front=_front_matter(experiment),
        study=study,
        number=trial.number,
        objective=experiment.value_name,
        value=trial.value,
        made_of=_made_of(experiment),
        hyperparameters="\n".join(f"| {name} | {text} |" for name, text in chosen.items()),
        final=test,
        prompts=_prompts(experiment.data),
        variables=_variables(experiment),
        arguments=_arguments(experiment.model),
        text=_text(experiment.data),
    )


def _front_matter(experiment: Experiment) -> str:
    """The hub links base and data by it, so it names what is on the hub."""
    base, data = named_base(experiment.model), portable(experiment.data.train)
    lines = [
        f"base_model: {base.name}" if base.on_hub else "",
        f"datasets: [{data}]" if data == experiment.data.train else "",
        "library_name: peft",
        "pipeline_tag: text-generation",
        "tags: [lora, optuna, optuna-partition]",
    ]
    return "\n".join(filter(None, lines))


def _made_of(experiment: Experiment) -> str:
    """Base, data and epochs, as sentences."""
    epochs, data = experiment.training.epochs, experiment.data
    rows = "" if data.limit is None else f" ({data.limit} of its rows)"
    return (
        f"The base is {_base(experiment.model)}. The adapter was trained for {epochs:g} "
        f"epoch{'' if epochs == 1 else 's'} on `{portable(data.train)}`{rows}."
    )


def _base(model: ModelSettings) -> str:
    base, made_from = named_base(model), origin(model)
    revision = f" at revision `{base.revision}`" if base.revision else ""
    bits = ", in 4 bits (NF4)" if model.quantization else ""
    if base.on_hub:
        return f"`{base.name}`{revision}{bits}"
    named = f"; its configuration says that it was made from `{made_from}`" if made_from else ""
    return f"`{base.name}`{bits}, a folder that is not on the hub{named}"


def _templates(data: DataSettings) -> list[str]:
    """What stands before the answer; of Alpaca's two the one without an input first."""
    fields = {"instruction": "{instruction}", "input": "{input}"}
    bare = [prompt(fields | {"input": ""}, data.template)] if data.template == "alpaca" else []
    return [*bare, prompt(fields, data.template)]


def _prompts(data: DataSettings) -> str:
    return "\n\nWith an input:\n\n".join(map(_fenced, _templates(data)))


def _fenced(text: str) -> str:
    """A block of Markdown, also of text that has such blocks."""
    ticks = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def _variables(experiment: Experiment) -> str:
    """The top of the example: what a reader sets."""
    base, template = named_base(experiment.model), _templates(experiment.data)[0]
    set_base = "" if base.on_hub else "  # set this: the folder that holds the base"
    lines = [
        f"BASE = {_literal(base.name)}{set_base}",
        'ADAPTER = "best_adapter"  # set this: the folder of this card, or a name on the hub',
        f"PROMPT = {_literal(template.rstrip())}",
        'INSTRUCTION = "Name the three primary colours."',
        'INPUT = "Write one a line."' if "{input}" in template else "",
    ]
    return "\n".join(filter(None, lines))


def _text(data: DataSettings) -> str:
    filled = 'PROMPT.replace("{instruction}", INSTRUCTION)'
    return filled + ('.replace("{input}", INPUT)' if "{input}" in _templates(data)[0] else "")


def _arguments(model: ModelSettings) -> str:
    """What loads the base as it was loaded for training."""
    base = named_base(model)
    revision = "" if base.revision is None else f", revision={_literal(base.revision)}"
    dtype = "" if model.dtype == "auto" else f", dtype={_literal(model.dtype)}"
    return f"BASE{revision}{dtype}"


def _literal(text: str) -> str:
    """As Python has it: what JSON escapes, Python reads alike."""
    return json.dumps(text, ensure_ascii=False)


def _table(rows: Sequence[FinalRow]) -> str:
    tasks = list(rows[0].scores)
    head = ["", "validation loss", *map(rows[0].heading, tasks)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        scores = [row.told(task) for task in tasks]
        lines.append("| " + " | ".join([row.name, f"{row.validation_loss:.4f}", *scores]) + " |")
    return "\n".join(lines)
