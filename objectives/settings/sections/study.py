"""`[study]`: defaults of the command line, which overrides them."""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Annotated
from typing import Any
from typing import cast
from typing import Literal

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import Field

from objectives.settings.budget import checked_budget
from objectives.settings.config_errors import near
from objectives.settings.config_errors import refuse
from objectives.settings.config_errors import toml
from objectives.settings.strict import Count
from objectives.settings.strict import Seed
from objectives.settings.strict import STRICT


__all__ = ["StudySettings", "check_start", "holds"]

Scalar = bool | int | float | str


def _country(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise refuse("must be three capital letters (ISO 3166)", 'for example country = "FRA"')
    return value


def _params(table: object) -> dict[str, Any]:
    """By dotted path: without quotes, TOML makes a table of `adapter.rank`."""
    if not isinstance(table, dict):
        raise refuse("must be tables of values", "for example start = [{rank = 8}]")
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": each for key, each in _params(value).items()}
        elif isinstance(value, bool | int | float | str) and value == value:
            found[name] = value
        else:
            raise refuse(f"`{name}` must be a number, a text, true or false", "correct it")
    return found


class StudySettings(BaseModel):
    """`[study]`: defaults of the command line, which overrides them.

    Attributes:
        name: Of the study; None takes the experiment file's.
        storage: URL of the database.
        sampler: Name of the sampler.
        trials: Finished trials wanted, counting those of earlier runs. Where there is a budget,
            only as they are given: a budget alone knows no number of trials.
        budget: Ends the search as well. A time is that of one call of the command, its final test
            included; trainings are the study's, a pruned one counting as the share that was done.
        seed: Of a sampler that draws.
        start: Hyperparameters to try first, such as those in use; each a table with values of some
            or all that are searched.
        previous: Earlier studies that tell where to look, each a name, or name@URL where it is in
            another storage; the sampler "bamsoo" takes them.
        pruner: Over the best validation so far: the smallest loss, or the largest preference
            accuracy. "bound" is this project's, the others are Optuna's; "asha" is its successive
            halving, of which the best third goes on.
        checkpoints: Whose trainings are kept on their way, for the next trial with the same
            hyperparameters to go on from. "unfinished": of a trial that was cut off, until it has
            been done again, or the study is at its end. "pruned": of pruned trials as well, which
            a sampler may ask for again, or somebody enqueue; those stay until the folder
            `checkpoints` is deleted. None is "pruned" with the pruner "bound", else "unfinished".
        output: Folder for adapters and report, relative to where the command runs.
        gpus_per_trial: Processes that train a trial together, each on a GPU, or on the CPU where
            there is none; None trains in the worker's own process.
        launcher: Command that starts those processes as `accelerate launch` does, on this and
            other machines; None has the worker start them on its own.
        time_limit: Seconds for a trial's training and scoring, in processes of their own.
        warm: Whether those processes serve the next trial too.
        pack: Trials that are trained together, in one process on one base; "auto" takes as many
            as the GPU's memory holds, 8 at most, and 4 on a CPU. None trains one at a time.
        energy: Measure the machine's energy and CO2-equivalent with codecarbon. A trial keeps its
            figure where it has the machine; with `--workers` and packs the study alone has one.
        country: Whose electricity that is, three letters (ISO 3166); None takes the world's.
        tracker: Where training and validation losses go as well, by Accelerate.
    """

    model_config = STRICT

    name: str | None = None
    storage: str | None = None
    sampler: str = "bamsoo"
    trials: Count = 50
    budget: Annotated[str, AfterValidator(checked_budget)] | None = Field(
        default=None, examples=["3h"]
    )
    seed: Seed = 0
    start: list[Annotated[dict[str, Scalar], BeforeValidator(_params)]] = Field(
        default=[], examples=[[{"rank": 8}]]
    )
    previous: list[Annotated[str, Field(min_length=1)]] = []
    pruner: Literal["none", "median", "hyperband", "asha", "bound"] = "none"
    checkpoints: Literal["none", "unfinished", "pruned"] | None = None
    output: str = Field(default="runs", min_length=1)
    gpus_per_trial: Count | None = Field(default=None, examples=[2])
    launcher: str | None = None
    time_limit: Annotated[float, Field(gt=0)] | None = Field(default=None, examples=[3600])
    warm: bool = True
    pack: Count | Literal["auto"] | None = Field(default=None, examples=[4])
    energy: bool = False
    country: Annotated[str, AfterValidator(_country)] | None = None
    tracker: Literal["tensorboard", "trackio", "wandb"] | None = None

    @property
    def kept_checkpoints(self) -> Literal["none", "unfinished", "pruned"]:
        """Whose trainings are kept, where the file does not say it."""
        return self.checkpoints or ("pruned" if self.pruner == "bound" else "unfinished")


def check_start(study: StudySettings, space: Mapping[str, BaseDistribution]) -> None:
    """Refuses configurations to try first that are none of the search's.

    Args:
        study: With its `start`.
        space: What is searched.
    """
    for params in study.start:
        where = {"key": "start", "value": params}
        unknown = [name for name in params if name not in space]
        if unknown:
            names = " and ".join(f"`{name}`" for name in unknown)
            rule = f"{names} {'are' if len(unknown) > 1 else 'is'} not searched"
            raise refuse(rule, near(unknown[0], space, "{}"), **where)
        outside = [f"`{n}` = {toml(v)}" for n, v in params.items() if not holds(space[n], v)]
        if outside:
            verb = "are" if len(outside) > 1 else "is"
            rule = f"{' and '.join(outside)} {verb} not within [search]"
            raise refuse(rule, "widen it there, or change the value", **where)


def holds(distribution: BaseDistribution, value: object) -> bool:
    """Whether a value is one of a distribution's."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and distribution._contains(float(cast(float, value)))
