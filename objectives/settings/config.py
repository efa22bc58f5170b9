"""Experiment file -> typed, checked settings; reads that one file.

`load_experiment` is the way in. Every mistake in a file is found at once, one line each:

    examples/standin.toml: 2 problems
      [search] rank = 0: must be >= 1; usual values are 4 to 64
      [trainig]: there is no such section; did you mean [training]?
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
import logging
from pathlib import Path
import tomllib
from typing import Any
from typing import Literal

from optuna.distributions import BaseDistribution
from pydantic import BaseModel
from pydantic import field_validator
from pydantic import ValidationError
from pydantic import ValidationInfo

from objectives.errors import UserError
from objectives.settings.config_errors import describe
from objectives.settings.config_errors import refuse
from objectives.settings.search_space import Hyperparameters
from objectives.settings.search_space import SearchSettings
from objectives.settings.search_space import STRICT
from objectives.settings.sections import DataSettings
from objectives.settings.sections import ModelSettings
from objectives.settings.sections import ScoringSettings
from objectives.settings.sections import StudySettings
from objectives.settings.sections import TrainingSettings
from objectives.settings.variants import VARIANTS


__all__ = ["Experiment", "load_experiment"]

_logger = logging.getLogger(__name__)

# lm-eval's metrics registered with higher_is_better=False (lm_eval 0.4.13, api/metrics.py).
_LOWER_IS_BETTER = {
    "bits_per_byte",
    "brier_score",
    "byte_perplexity",
    "perplexity",
    "ter",
    "word_perplexity",
}


class Experiment(BaseModel):
    """An experiment file; each attribute is the section of that name."""

    model_config = STRICT

    model: ModelSettings
    data: DataSettings
    training: TrainingSettings = TrainingSettings()
    scoring: ScoringSettings = ScoringSettings()
    search: SearchSettings = SearchSettings()
    study: StudySettings = StudySettings()

    @field_validator("search")
    @classmethod
    def _said_once(cls, search: SearchSettings, info: ValidationInfo) -> SearchSettings:
        fixed = info.data["training"].model_fields_set if "training" in info.data else set()
        for name in VARIANTS:
            if name in fixed and getattr(search, name) is not None:
                value = {"choices": list(getattr(search, name).choices)}
                raise refuse(
                    "is fixed under [training] as well",
                    "leave it out in one of the two sections",
                    key=name,
                    value=value,
                )
        return search

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """Optuna's direction of the objective."""
        loss = self.scoring.objective == "loss" or self.scoring.metric in _LOWER_IS_BETTER
        return "minimize" if loss else "maximize"

    @property
    def value_name(self) -> str:
        """What a trial's value is, for people."""
        scoring = self.scoring
        if scoring.objective == "loss":
            return "validation loss"
        return f"{scoring.metric} on {scoring.objective}"

    def targets(self) -> list[tuple[str, str | list[str]]]:
        """What each kind of adapter there may be is put on, behind the setting that says so."""
        searched = self.search.targets
        choices = () if searched is None else searched.choices
        fixed = ("`[training] targets`", self.training.targets)
        return [fixed, *(("`[search] targets`", str(choice)) for choice in choices)]

    def search_space(self) -> dict[str, BaseDistribution]:
        """The searched hyperparameters, in a fixed order."""
        return self.search.distributions()

    def hyperparameters(self, params: Mapping[str, Any]) -> Hyperparameters:
        """A trial's parameters with the fixed ones filled in."""
        return self.search.hyperparameters(params)


def load_experiment(path: str | Path) -> Experiment:
    """Reads and checks an experiment file.

    Args:
        path: A TOML file. Relative paths in `[model]`, `[data]` and `[scoring]` start at its
            folder and come back absolute.

    Raises:
        UserError: The file cannot be read, or holds mistakes: all of them, one per line.
    """
    path = Path(path)
    raw = _read(path)
    try:
        experiment = Experiment.model_validate(raw, context={"folder": path.resolve().parent})
    except ValidationError as error:
        lines = describe(error, Experiment)
        count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
        raise UserError("\n  ".join([f"{path}: {count}", *lines])) from None
    if experiment.scoring.objective in experiment.scoring.test:
        task = experiment.scoring.objective
        _logger.warning("%s is objective and test: its final score flatters the winner", task)
    return experiment


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8).decode())
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such experiment file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a TOML file") from None
    except (ValueError, RecursionError) as error:  # also of a number of thousands of digits
        raise UserError(f"{path}: is not valid TOML: {error}; correct that line") from None
