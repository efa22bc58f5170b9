"""The model card of the best adapter, as the hub reads it; text in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from objectives.config import Experiment
from objectives.report.figures import FinalRow


__all__ = ["honesty", "model_card"]

_CARD = """\
---
base_model: {base}
library_name: peft
pipeline_tag: text-generation
tags: [lora, optuna, optuna-partition]
---

# {study}: the best LoRA adapter

Trial {number} of the Optuna study `{study}`, chosen by {objective} = {value:.4f}.

| hyperparameter | value |
|---|---|
{hyperparameters}

Trained for {epochs:g} epoch(s) on {data}; all settings are in `experiment.json`.

{final}
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained({arguments})
model = PeftModel.from_pretrained(base, "best_adapter")
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
    """Markdown with the hub's front matter.

    Args:
        experiment: Settings of the study.
        study: Its name.
        trial: The best one.
        rows: The final test; none: the card has no such section.
        looks: How often adapters of the study have been scored on its tasks.
    """
    scoring = experiment.scoring
    metric = "validation loss" if scoring.objective == "loss" else scoring.metric
    chosen = experiment.hyperparameters(trial.params).told()
    return _CARD.format(
        base=experiment.model.name,
        arguments=_arguments(experiment),
        study=study,
        number=trial.number,
        objective=metric if scoring.objective == "loss" else f"{scoring.objective} {metric}",
        value=trial.value,
        hyperparameters="\n".join(f"| {name} | {text} |" for name, text in chosen.items()),
        epochs=experiment.training.epochs,
        data=_data(experiment),
        final=_FINAL.format(honesty=honesty(experiment, looks), table=_table(rows))
        if rows
        else "",
    )


def _arguments(experiment: Experiment) -> str:
    """What loads the base as it was loaded for training."""
    model = experiment.model
    revision = "" if model.revision is None else f", revision={model.revision!r}"
    dtype = "" if model.dtype == "auto" else f", dtype={model.dtype!r}"
    return f"{model.name!r}{revision}{dtype}"


def _data(experiment: Experiment) -> str:
    data = experiment.data
    return f"`{data.train}`" + ("" if data.limit is None else f" ({data.limit} of its rows)")


def honesty(experiment: Experiment, looks: int) -> str:
    """How far the scores of the final test may be believed.

    Args:
        experiment: Its test tasks, and what the adapters were chosen by.
        looks: How often adapters of the study have been scored on those tasks.
    """
    scoring = experiment.scoring
    part = "" if scoring.limit is None else f" Of each task, {scoring.limit} documents."
    return _chosen_by(experiment, looks) + part


def _chosen_by(experiment: Experiment, looks: int) -> str:
    scoring = experiment.scoring
    if scoring.objective in scoring.test:
        return f"The adapters were chosen by {scoring.objective}: their scores on it flatter."
    if looks > 1:
        return (
            f"This is look {looks} at these tasks, after more search: the scores flatter, "
            "as those of a validation do."
        )
    return "The adapters were chosen without these tasks, and scored on them once."


def _table(rows: Sequence[FinalRow]) -> str:
    tasks = list(rows[0].scores)
    head = ["", "validation loss", *map(rows[0].heading, tasks)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        scores = [row.told(task) for task in tasks]
        lines.append("| " + " | ".join([row.name, f"{row.validation_loss:.4f}", *scores]) + " |")
    return "\n".join(lines)
