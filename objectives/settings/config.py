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
from typing import TypeVar

from optuna.distributions import BaseDistribution
from pydantic import BaseModel
from pydantic import field_validator
from pydantic import ValidationError
from pydantic import ValidationInfo

from objectives.errors import UserError
from objectives.settings.config_errors import describe
from objectives.settings.config_errors import refuse
from objectives.settings.search.ranges import Range
from objectives.settings.search.space import Hyperparameters
from objectives.settings.search.space import SearchSettings
from objectives.settings.search.variants import Alternatives
from objectives.settings.sections.data import DataSettings
from objectives.settings.sections.model import ModelSettings
from objectives.settings.sections.proxy import ProxySettings
from objectives.settings.sections.scoring import ACCURACY
from objectives.settings.sections.scoring import Direction
from objectives.settings.sections.scoring import ScoringSettings
from objectives.settings.sections.study import check_start
from objectives.settings.sections.study import StudySettings
from objectives.settings.sections.training import SEARCHABLE
from objectives.settings.sections.training import TrainingSettings
from objectives.settings.strict import STRICT


__all__ = ["Experiment", "checked", "load_experiment", "lora_experiment", "read_toml"]

_logger = logging.getLogger(__name__)


class Experiment(BaseModel):
    """An experiment file; each attribute is the section of that name."""

    model_config = STRICT

    model: ModelSettings
    data: DataSettings
    training: TrainingSettings = TrainingSettings()
    scoring: ScoringSettings = ScoringSettings()
    search: SearchSettings = SearchSettings()
    study: StudySettings = StudySettings()
    proxy: ProxySettings | None = None

    @classmethod
    def from_dict(
        cls, sections: Mapping[str, Mapping[str, Any]], folder: str | Path = "."
    ) -> Experiment:
        """An experiment from what its file would say, with the same checks and messages.

        Args:
            sections: Section -> key -> value, as TOML's tables.
            folder: Where relative paths start; by default the working directory.

        Raises:
            UserError: All mistakes, one per line.
        """
        return lora_experiment(sections, Path(folder).expanduser().resolve(), "experiment")

    @field_validator("scoring")
    @classmethod
    def _of_the_method(cls, scoring: ScoringSettings, info: ValidationInfo) -> ScoringSettings:
        method = info.data["training"].method if "training" in info.data else "dpo"
        if scoring.objective == ACCURACY and method != "dpo":
            raise refuse(
                "is of preferences, and the training has none",
                'set `[training] method` = "dpo", or objective = "loss"',
                key="objective",
                value=ACCURACY,
            )
        return scoring

    @field_validator("search")
    @classmethod
    def _said_once(cls, search: SearchSettings, info: ValidationInfo) -> SearchSettings:
        fixed = info.data["training"].model_fields_set if "training" in info.data else set()
        for name in SEARCHABLE:
            searched = getattr(search, name)
            if name in fixed and searched is not None:
                raise refuse(
                    "is fixed under [training] as well",
                    "leave it out in one of the two sections",
                    key=name,
                    value=_as_written(searched),
                )
        return search

    @field_validator("study")
    @classmethod
    def _starts_within(cls, study: StudySettings, info: ValidationInfo) -> StudySettings:
        if "search" in info.data:
            check_start(study, info.data["search"].distributions())
        return study

    @property
    def direction(self) -> Direction | None:
        """Optuna's direction of the objective; None: its task says it, when it is loaded."""
        return self.scoring.known_direction

    @property
    def value_name(self) -> str:
        """What a trial's value is, for people."""
        return self.scoring.value_name

    @property
    def unit(self) -> str:
        """The same in a word."""
        return self.scoring.unit

    @property
    def tests(self) -> list[str]:
        """The tasks of the final test."""
        return self.scoring.test

    @property
    def finalists(self) -> int:
        """How many adapters it scores."""
        return self.scoring.best

    @property
    def n_reports(self) -> int:
        """How many validation losses a training has."""
        return self.training.validations

    def values_of(self, name: str) -> tuple[Any, ...]:
        """Those that a trial may have of a training setting; of a searched range the ends."""
        searched = getattr(self.search, name, None)
        if searched is None:
            return (getattr(self.training, name),)
        if isinstance(searched, Alternatives):
            return searched.choices
        return (searched.low, searched.high)

    def targets(self) -> list[tuple[str, str | list[str]]]:
        """What each kind of adapter there may be is put on, behind the setting that says so."""
        fixed = ("`[training] targets`", self.training.targets)
        choices = () if self.search.targets is None else self.values_of("targets")
        return [fixed, *(("`[search] targets`", str(choice)) for choice in choices)]

    def search_space(self) -> dict[str, BaseDistribution]:
        """The searched hyperparameters, in a fixed order."""
        return self.search.distributions()

    def hyperparameters(self, params: Mapping[str, Any]) -> Hyperparameters:
        """A trial's parameters with the fixed ones filled in."""
        return self.search.hyperparameters(params)


def _as_written(searched: Alternatives | Range) -> object:
    return {"choices": list(searched.choices)} if isinstance(searched, Alternatives) else searched


def load_experiment(path: str | Path) -> Experiment:
    """Reads and checks an experiment file.

    Args:
        path: A TOML file. Relative paths in `[model]`, `[data]` and `[scoring]` start at its
            folder and come back absolute.

    Raises:
        UserError: The file cannot be read, or holds mistakes: all of them, one per line.
    """
    return lora_experiment(read_toml(Path(path)), Path(path).resolve().parent, str(path))


def lora_experiment(sections: Mapping[str, Any], folder: Path, told: str) -> Experiment:
    """The same of sections that are read; see `checked`."""
    experiment = checked(Experiment, sections, folder, told)
    for task in experiment.scoring.goals.keys() & set(experiment.scoring.test):
        _logger.warning("%s is objective and test: its final score flatters the winner", task)
    return experiment


Kind = TypeVar("Kind", bound=BaseModel)


def checked(kind: type[Kind], sections: Mapping[str, Any], folder: Path, told: str) -> Kind:
    """An experiment of that kind.

    Args:
        kind: Its fields are the sections.
        sections: What they say.
        folder: Where relative paths start.
        told: What messages blame.

    Raises:
        UserError: There are mistakes: all of them, one per line.
    """
    try:
        return kind.model_validate(dict(sections), context={"folder": folder})
    except ValidationError as error:
        lines = describe(error, kind)
        count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
        raise UserError("\n  ".join([f"{told}: {count}", *lines])) from None


def read_toml(path: Path) -> dict[str, Any]:
    """What an experiment file says, not yet checked.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return tomllib.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8).decode())
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such experiment file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a TOML file") from None
    except (ValueError, RecursionError) as error:  # also of a number of thousands of digits
        raise UserError(f"{path}: is not valid TOML: {error}; correct that line") from None
