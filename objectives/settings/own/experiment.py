"""`[command]`: a trainer of the user's own, what is searched of it, and whether they fit together.

Reads no file but the trainer's config.
"""

from __future__ import annotations

from collections.abc import Collection
import shlex
from typing import Annotated
from typing import Literal

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import distribution_to_json
from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import Field
from pydantic import field_validator
from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from objectives.errors import UserError
from objectives.settings.config_errors import near
from objectives.settings.config_errors import refuse
from objectives.settings.own.base_file import BaseFile
from objectives.settings.own.base_file import read_base
from objectives.settings.own.search import flat
from objectives.settings.own.search import OwnSearch
from objectives.settings.own.value import JsonValue
from objectives.settings.own.value import PrintedValue
from objectives.settings.own.value import Value
from objectives.settings.own.words import CONFIG
from objectives.settings.own.words import OUTPUT
from objectives.settings.own.words import placeholders
from objectives.settings.own.words import words_of
from objectives.settings.sections.study import check_start
from objectives.settings.sections.study import holds
from objectives.settings.sections.study import StudySettings
from objectives.settings.strict import STRICT


__all__ = ["CommandSettings", "OwnExperiment", "check_own"]

Scalar = bool | int | float | str


class CommandSettings(BaseModel):
    """`[command]`: what trains, and where its value comes from.

    Attributes:
        run: Words of the command, run without a shell in the experiment file's folder. `{name}`
            is a parameter, `{output}` the trial's own folder, `{config}` its copy of the config.
        config: YAML, JSON or TOML that the trainer reads. Parameters whose names are dotted paths
            in it are written there. A text in it that begins with `{output}` is filled as well.
        value: Where a trial's value is found, and those on the way to it.
        direction: Whether small or large values are good.
        keep: Whose `{output}` is kept: of the best three trials so far, of all that have a value,
            or of none. What a trainer prints is always kept.
        baseline: Parameters that the study begins with, to be compared with; those that are left
            out are as the config has them.
    """

    model_config = STRICT

    run: Annotated[tuple[str, ...], BeforeValidator(words_of)] = Field(
        examples=["python train.py --lr {learning_rate}"]
    )
    config: Annotated[BaseFile | None, BeforeValidator(read_base)] = None
    value: Value = Field(examples=[{"json": "{output}/results.json", "key": "eval.loss"}])
    direction: Literal["minimize", "maximize"] = Field(examples=["minimize"])
    keep: Literal["best", "all", "none"] = "best"
    baseline: Annotated[dict[str, Scalar], BeforeValidator(flat)] | None = None


class OwnExperiment(BaseModel):
    """An experiment file with `[command]`; each attribute is the section of that name."""

    model_config = STRICT

    search: OwnSearch = Field(default={}, validate_default=True)
    command: CommandSettings
    study: StudySettings = StudySettings()

    @field_validator("command")
    @classmethod
    def _fits(cls, command: CommandSettings, info: ValidationInfo) -> CommandSettings:
        if "search" in info.data:
            space = info.data["search"].distributions()
            _check_placeholders(command, space)
            _check_parameters(command, space)
            _check_output(command)
            if command.baseline is not None:
                _check_baseline(command, space)
        return command

    @field_validator("study")
    @classmethod
    def _starts_within(cls, study: StudySettings, info: ValidationInfo) -> StudySettings:
        if "search" in info.data:
            check_start(study, info.data["search"].distributions())
        return study

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """Optuna's."""
        return self.command.direction

    @property
    def value_name(self) -> str:
        """What a trial's value is, for people."""
        name: str = self.command.value.name
        return name

    unit = value_name

    @property
    def tests(self) -> list[str]:
        """There is no final test: the trainer's own values are all that is known."""
        return []

    @property
    def finalists(self) -> int:
        """How many the final test scores."""
        return 0

    @property
    def n_reports(self) -> int | None:
        """How many values a training has on the way: the trainer knows."""
        return None

    def search_space(self) -> dict[str, BaseDistribution]:
        """The searched parameters."""
        return self.search.distributions()

    def baseline(self) -> dict[str, Scalar] | None:
        """Its parameters, all of them."""
        return _baseline(self.command, self.search_space())

    def values_depend_on(self) -> dict[str, str]:
        """What makes values comparable, as text: not what is kept, and not where the config is."""
        command, space = self.command, self.search_space()
        leaves = {} if command.config is None else command.config.leaves()
        return {
            **{f"[search] {name}": distribution_to_json(d) for name, d in space.items()},
            "[command] run": shlex.join(command.run),
            "[command] value": str(command.value.model_dump(by_alias=True, exclude={"step"})),
            **{f"config {k}": str(v) for k, v in leaves.items() if k not in space},
        }


def check_own(
    settings: StudySettings, experiment: OwnExperiment, given: Collection[str] = ()
) -> None:
    """Refuses what a study of a command cannot have.

    Args:
        settings: Of the study, with the command line's over them.
        experiment: As its file says it.
        given: Names of the settings that the command line has.

    Raises:
        UserError: Names the setting, and how to get rid of it.
    """
    of_ours = {
        "gpus_per_trial": "--workers shares the GPUs out, and a trainer has all of its worker's",
        "launcher": "write it into `[command] run`",
        "pack": "a trainer is run once for each trial",
        "checkpoints": "a trainer's checkpoints are its own",
        "tracker": "tell the trainer to track",
    }
    for name, why in of_ours.items():
        if (value := getattr(settings, name)) is not None:
            option = f"--{name.replace('_', '-')} {value}"
            told = option if name in given else f"`[study] {name}`"
            raise UserError(f"{told}: is not for a [command]; {why}; leave it out")
    if not settings.warm:
        told = "--cold" if "warm" in given else "`[study] warm` = false"
        why = "each trial of a [command] has new processes anyway"
        raise UserError(f"{told}: {why}; leave it out")
    value = experiment.command.value
    if settings.pruner != "none" and isinstance(value, JsonValue) and not value.lines:
        raise UserError(
            f"--pruner {settings.pruner}: goes by values on the way, and {value.file} has one at "
            "the end only; have the trainer write JSON lines, take trainer_state or a pattern, or "
            "leave --pruner out"
        )


def _of_run(rule: str, way_out: str, command: CommandSettings) -> PydanticCustomError:
    return refuse(rule, way_out, key="run", value=shlex.join(command.run))


def _check_placeholders(command: CommandSettings, space: Collection[str]) -> None:
    named = placeholders(command.run)
    for name in named:
        if name not in (*space, OUTPUT, CONFIG):
            known = near(name, [*space, OUTPUT, CONFIG], "{{{}}}", otherwise="")
            way_out = known or f"search it under [search], or write {{{{{name}}}}} for the text"
            raise _of_run(f"nothing fills {{{name}}}", way_out, command)
    if command.config is None and CONFIG in named:
        raise _of_run("{config} is a copy of a file", "say which: config = ...", command)
    if command.config is not None and CONFIG not in named:
        raise _of_run("nothing reads the config", "write {config} where its path belongs", command)


def _check_parameters(command: CommandSettings, space: Collection[str]) -> None:
    """Each goes somewhere."""
    named = placeholders(command.run)
    config = command.config
    leaves = {} if config is None else config.leaves()
    for name in space:
        if name in named or name in leaves:
            continue
        if config is None:
            raise _of_run(
                f"nothing takes the parameter {name}", f"write {{{name}}} in it", command
            )
        inside = [path for path in leaves if path.startswith(f"{name}.")]
        way_out = f"its keys are {', '.join(inside)}" if inside else near(name, leaves, "{}")
        raise refuse(
            f"has no value under {name}, and `run` no {{{name}}}",
            way_out,
            key="config",
            value=config.path.name,
        )


def _check_output(command: CommandSettings) -> None:
    """Whoever is to write there is told where."""
    told = command.config is not None and command.config.has_output()
    if OUTPUT in placeholders(command.run) or told or isinstance(command.value, PrintedValue):
        return
    rule = "the value is read in {output}, and nothing tells the trainer to write there"
    raise _of_run(rule, 'write {output} in it, or "{output}" in the config', command)


def _check_baseline(command: CommandSettings, space: dict[str, BaseDistribution]) -> None:
    given, whole = command.baseline or {}, _baseline(command, space) or {}
    for name in given:
        if name not in space:
            raise refuse(
                f"`{name}` is not searched", near(name, space, "{}"), key="baseline", value=given
            )
    for name, distribution in space.items():
        if name not in whole:
            raise refuse(f"`{name}` is missing", "add it", key="baseline", value=given)
        if name not in given:
            _check_no_text(command, name, whole[name], distribution)
        if not holds(distribution, whole[name]):
            rule = f"`{name}` = {whole[name]} is not within [search]"
            raise refuse(rule, "widen the range, or change it", key="baseline", value=given)


def _check_no_text(
    command: CommandSettings, name: str, value: Scalar, distribution: BaseDistribution
) -> None:
    """YAML takes 1e-4 for a text: a number has a point."""
    if isinstance(distribution, CategoricalDistribution) or not isinstance(value, str):
        return
    assert command.config is not None
    file = command.config.path.name
    rule = f'`{name}` is the text "{value}" in {file}'
    way_out = "write a number there; YAML takes 1e-4 for a text, and 1.0e-4 for a number"
    raise refuse(rule, way_out, key="baseline", value=command.baseline)


def _baseline(command: CommandSettings, space: Collection[str]) -> dict[str, Scalar] | None:
    if command.baseline is None:
        return None
    leaves = {} if command.config is None else command.config.leaves()
    return {name: leaves[name] for name in space if name in leaves} | command.baseline
