"""The folder `best_adapter`: adapter, tokenizer, settings and card, made to be published.

Whoever gets it finds in it no path of this machine, and no URL of a storage with its password.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
import json
from pathlib import Path
import shutil
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from objectives.data.chat import ChatTemplate
from objectives.data.load import way_of_asking
from objectives.model.base import load_tokenizer
from objectives.report.given import FinalRow
from objectives.result.adapters import best_trials
from objectives.result.final import looks
from objectives.result.model_card import model_card
from objectives.result.names import Named
from objectives.result.names import named_base
from objectives.settings.config import Experiment
from objectives.settings.sections.sources import in_words


__all__ = ["save_best"]


def save_best(
    experiment: Experiment,
    study: optuna.Study,
    rows: Sequence[FinalRow],
    folder: Path,
    order: Sequence[int] = (),
) -> Path | None:
    """Copies the best adapter to `folder/best_adapter`, with all that one needs to use it.

    Args:
        experiment: The study's.
        study: Finished.
        rows: Of the final test, for the card.
        folder: The study's.
        order: See `best_trials`.

    Returns:
        Where it is; None where no trial's adapter is.
    """
    best = best_trials(study, 1, order)
    if not best:
        return None
    (trial,) = best
    target = folder / "best_adapter"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(trial.user_attrs["adapter"], target)
    config = _name_base(target / "adapter_config.json", named_base(experiment.model))
    way = way_of_asking(experiment.data)
    _write(target / "experiment.json", _settings(experiment, trial, way))
    tokenizer, end = load_tokenizer(experiment.model), None
    if way == "chat":
        tokenizer.chat_template = experiment.data.chat_template or tokenizer.chat_template
        last = ChatTemplate(tokenizer, None).end
        if last not in (None, tokenizer.eos_token_id):
            end = tokenizer.convert_ids_to_tokens(last)
    card = model_card(
        experiment,
        study.study_name,
        trial,
        rows,
        looks=looks(study, experiment.scoring.test),
        way=way,
        end=end,
        config=config,
    )
    (target / "README.md").write_text(card, encoding="utf-8")
    tokenizer.save_pretrained(target)
    return target


def _name_base(file: Path, base: Named) -> dict[str, Any]:
    """Has peft's AutoPeftModel load the base where it can be had.

    A base that is not on the hub is a folder beside the reader: without the "./" the hub would be
    asked for a model of that name, which is another one. Returns peft's configuration.
    """
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    name = base.name if base.on_hub else f"./{base.name}"
    config |= {"base_model_name_or_path": name, "revision": base.revision}
    _write(file, config)
    return config


def _settings(experiment: Experiment, trial: FrozenTrial, way: str) -> dict[str, Any]:
    """All that a value depends on; of the machine that found it, nothing."""
    told = experiment.model_dump(
        mode="json", exclude={"study": {"storage", "output", "launcher"}, "scoring": {"tasks"}}
    )
    base, data = named_base(experiment.model), experiment.data
    told["model"] |= {"name": base.name, "revision": base.revision}
    told["data"]["train"] = in_words(data.train)
    told["data"]["validation"] = data.validation and in_words(data.validation)
    return {
        "hyperparameters": asdict(experiment.hyperparameters(trial.params)),
        "experiment": told,
        "asking": way,
    }


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
