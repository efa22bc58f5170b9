"""Which hyperparameters are searched, within which bounds, as Optuna distributions; no files.

One entry of `[search]` is a number (fixed), a range or a list of choices:

    rank = 8
    learning_rate = {low = 1e-5, high = 1e-2, log = true}
    effective_batch = {choices = [8, 16, 32]}

and settings of `[training]` may be searched too, see objectives/settings/search/variants.py.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
import math
from typing import Annotated
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import Discriminator
from pydantic import Field
from pydantic import model_validator
from pydantic import Tag
from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from objectives.errors import UserError
from objectives.settings.config_errors import near
from objectives.settings.config_errors import refuse
from objectives.settings.config_errors import SETTING_SYNTAX
from objectives.settings.config_errors import toml
from objectives.settings.search.ranges import check_bounds
from objectives.settings.search.ranges import check_step
from objectives.settings.search.ranges import Expectation
from objectives.settings.search.ranges import Range
from objectives.settings.search.variants import checked
from objectives.settings.search.variants import Variant
from objectives.settings.sections.training import SEARCHABLE
from objectives.settings.sections.training import TrainingSettings
from objectives.settings.strict import STRICT


__all__ = ["PEFT_DEFAULTS", "Choices", "Hyperparameters", "SearchSettings"]
__all__ += ["hyperparameters_of"]


@dataclass(frozen=True)
class Hyperparameters:
    """What one trial trains with. What may be None is then as `[training]` says.

    Attributes:
        learning_rate: The optimizer's, at the top of the schedule.
        weight_decay: The optimizer's, on the adapter's weights.
        rank: Rows of lora_A.
        alpha: The adapter's output is scaled by alpha / rank.
        dropout: Probability, on the adapter's input.
        effective_batch: Samples per optimizer step.
        targets: Modules that get an adapter, a group or names joined by "+". Like the others of
            `SEARCHABLE` below, see `TrainingSettings`.
    """

    learning_rate: float
    weight_decay: float
    rank: int
    alpha: float | int
    dropout: float
    effective_batch: int
    targets: str | None = None
    rslora: bool | None = None
    dora: bool | None = None
    loraplus_lr_ratio: float | None = None
    init_lora_weights: str | None = None
    optimizer: str | None = None
    warmup: float | None = None
    schedule: str | None = None
    clip: float | None = None
    neftune_noise_alpha: float | None = None
    beta: float | None = None
    loss_type: str | None = None

    def told(self) -> dict[str, str]:
        """Names and values for people, without what is not searched."""
        return {name: _text(v) for name, v in asdict(self).items() if v is not None}

    def over(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings as this trial has them."""
        own = {name: getattr(self, name) for name in SEARCHABLE}
        return settings.model_copy(update={n: v for n, v in own.items() if v is not None})


def _text(value: float | str | bool) -> str:
    """A number as short as it can be; a truth value is no number."""
    return str(value) if isinstance(value, bool | str) else f"{value:g}"


PEFT_DEFAULTS = Hyperparameters(2e-4, 0.0, 8, 8, 0.0, 16)
"""peft's rank, alpha and dropout, with the learning rate and batch its users start from."""


class Choices(BaseModel):
    """Values without an order.

    Attributes:
        choices: The values.
        prior: The one that is expected to be the best.
    """

    model_config = STRICT

    choices: list[float] = Field(min_length=1)
    prior: Any = None


@dataclass(frozen=True)
class _Domain:
    """The values a hyperparameter can have at all, in code and in words."""

    holds: Callable[[float], bool]
    rule: str
    way_out: str
    integer: bool = False


# What matters most stands first, since a sampler that cuts one axis at a time takes the first of
# equally long ones: the learning rate by common experience, then by rank correlation with the
# score in the 50 random ones of the published evaluations (alpha -0.47, rank 0.31, weight decay
# 0.13, dropout -0.01); the effective batch, which those held fixed, before the weak ones.
_DOMAINS = {
    "learning_rate": _Domain(lambda v: v > 0, "must be > 0", "usual values are 1e-5 to 1e-3"),
    "alpha": _Domain(lambda v: v > 0, "must be > 0", "usual values are 4 to 64", integer=True),
    "rank": _Domain(lambda v: v >= 1, "must be >= 1", "usual values are 4 to 64", integer=True),
    "effective_batch": _Domain(
        lambda v: v >= 1, "must be >= 1", "usual values are 4 to 64 samples", integer=True
    ),
    "weight_decay": _Domain(lambda v: v >= 0, "must be >= 0", "0 switches it off"),
    "dropout": _Domain(
        lambda v: 0 <= v < 1,
        "must be >= 0 and < 1",
        "at 1 the adapter gets no gradient; usual values are 0 to 0.1",
    ),
}


def _kind(value: object) -> str | None:
    """The tag of an entry as TOML gives it; None for what is no entry."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, Range) or (isinstance(value, dict) and "choices" not in value):
        return "range"
    return "choices" if isinstance(value, Choices | dict) else None


def _check(value: float | Range | Choices, info: ValidationInfo) -> float | Range | Choices:
    name = info.field_name
    assert name is not None
    if isinstance(value, Range):
        _check_range(name, value)
    elif isinstance(value, Choices):
        _check_choices(name, value)
    else:
        _check_value(name, "", value, _DOMAINS[name].integer and name != "alpha")
    return value


def _check_value(name: str, where: str, value: float, integer: bool) -> None:
    domain = _DOMAINS[name]
    if not domain.holds(value):
        raise refuse(f"{where}{domain.rule}", domain.way_out)
    if integer and not float(value).is_integer():
        raise refuse(f"{where}must be a whole number", f"for example {round(value) or 1}")


def _check_range(name: str, range_: Range) -> None:
    _check_integer_key(name, range_)
    integer = _is_integer(name, range_)
    check_bounds(range_)
    _check_value(name, "`low` ", range_.low, integer)
    _check_value(name, "`high` ", range_.high, integer)
    check_step(range_, integer=integer)


def _check_integer_key(name: str, range_: Range) -> None:
    if name != "alpha" and range_.integer not in (None, _DOMAINS[name].integer):
        kind = "whole numbers" if _DOMAINS[name].integer else "not whole numbers"
        raise refuse(f"`integer` cannot be changed, {name} takes {kind}", "leave integer out")


def _check_choices(name: str, choices: Choices) -> None:
    if len(set(choices.choices)) < len(choices.choices):
        raise refuse("`choices` must differ from each other", "leave the repeated ones out")
    if choices.prior is not None and choices.prior not in choices.choices:
        raise refuse(f"`prior` = {toml(choices.prior)} must be one of `choices`", "change it")
    for value in choices.choices:
        whole = _DOMAINS[name].integer and name != "alpha"
        _check_value(name, "each of `choices` ", value, whole)


def _is_integer(name: str, range_: Range) -> bool:
    return _DOMAINS[name].integer if range_.integer is None else range_.integer


Setting = Annotated[
    Annotated[float, Tag("number")]
    | Annotated[Range, Tag("range")]
    | Annotated[Choices, Tag("choices")],
    Discriminator(
        _kind,
        custom_error_type="rule",
        custom_error_message="must be a number, a range or choices; " + SETTING_SYNTAX,
    ),
    AfterValidator(_check),
]


class SearchSettings(BaseModel):
    """`[search]`: one entry per hyperparameter; the default is the papers' space.

    The bounds are those the experiments of Davouse and Talbi (OLA 2025) were run with. The paper
    gives others (its Table 1: rank 2 to 32, alpha 16 to 64, weight decay from 1e-3; its text:
    alpha 1 to 64, dropout to 1), but its published values come from the code, and 1e-3 and 16
    would cut away most of the points it reports as best. That space has no effective batch: it is
    LitGPT's default of 16 there, which here is the middle of its logarithmic range.
    """

    model_config = STRICT

    learning_rate: Setting = Range(low=1e-10, high=1e-1, log=True)
    alpha: Setting = Range(low=1, high=64)
    rank: Setting = Range(low=2, high=64)
    effective_batch: Setting = Range(low=4, high=64, log=True)
    weight_decay: Setting = Range(low=1e-5, high=1e-1, log=True)
    dropout: Setting = Range(low=0.0, high=0.5)
    targets: Variant = None
    rslora: Variant = None
    dora: Variant = None
    loraplus_lr_ratio: Variant = None
    init_lora_weights: Variant = None
    optimizer: Variant = None
    warmup: Variant = None
    schedule: Variant = None
    clip: Variant = None
    neftune_noise_alpha: Variant = None
    beta: Variant = None
    loss_type: Variant = None

    @model_validator(mode="after")
    def _something_is_searched(self) -> SearchSettings:
        if not self.distributions():
            raise refuse("every hyperparameter is fixed", "give at least one of them a range")
        return self

    def distributions(self) -> dict[str, BaseDistribution]:
        """The searched hyperparameters, in the order of the fields."""
        settings = ((name, getattr(self, name)) for name in _DOMAINS)
        numbers = {n: _distribution(n, s) for n, s in settings if not isinstance(s, float)}
        variants = ((name, getattr(self, name)) for name in SEARCHABLE)
        return {**numbers, **{n: v.distribution() for n, v in variants if v is not None}}

    def prior(self) -> dict[str, Expectation]:
        """Where the best values are expected, of the parameters of which that is said."""
        entries = ((name, getattr(self, name)) for name in (*_DOMAINS, *SEARCHABLE))
        found = {name: getattr(entry, "prior", None) for name, entry in entries}
        return {name: prior for name, prior in found.items() if prior is not None}

    def fixed(self) -> dict[str, float]:
        """The hyperparameters that have one value."""
        return {n: s for n in _DOMAINS if isinstance(s := getattr(self, n), float)}

    def hyperparameters(self, params: Mapping[str, Any]) -> Hyperparameters:
        """A trial's parameters with the fixed ones filled in.

        Args:
            params: A value for every searched hyperparameter, as `trial.params` holds them.
        """
        values: dict[str, Any] = {
            n: _native(n, v) if n in _DOMAINS else v for n, v in {**self.fixed(), **params}.items()
        }
        return Hyperparameters(**values)


def hyperparameters_of(given: Mapping[str, Any], search: SearchSettings) -> Hyperparameters:
    """Those that are given, over what the search fixes, over PEFT's defaults.

    Args:
        given: Hyperparameters, and settings of `[training]` that may be searched.
        search: An experiment's.

    Raises:
        UserError: There is no such hyperparameter, or it cannot have that value.
    """
    defaults = {name: getattr(PEFT_DEFAULTS, name) for name in _DOMAINS}
    return search.hyperparameters(
        {**defaults, **search.fixed(), **{name: _given(name, v) for name, v in given.items()}}
    )


def _given(name: str, value: Any) -> Any:
    if name not in SEARCHABLE and name not in _DOMAINS:
        known = [*_DOMAINS, *SEARCHABLE]
        raise UserError(f"{name}: there is no such hyperparameter; {near(name, known, '{}')}")
    try:
        if name in SEARCHABLE:
            return checked(name, value, "")
        if _kind(value) != "number" or not math.isfinite(value):
            raise refuse("must be a number", _DOMAINS[name].way_out)
        _check_value(name, "", value, _DOMAINS[name].integer and name != "alpha")
    except PydanticCustomError as error:
        rule, _, way_out = error.message().partition("; ")
        if name in SEARCHABLE:  # its way out is for `[search]`
            way_out = f"leave it out for `[training] {name}`"
        raise UserError(f"{name} = {toml(value)}: {rule}; {way_out}") from None
    return value


def _native(name: str, value: float) -> float | int:
    """`value` as Python's int where the hyperparameter is whole, as TOML's 8.0 for a rank."""
    whole = _DOMAINS[name].integer and float(value).is_integer()
    return int(value) if whole else float(value)


def _distribution(name: str, setting: Range | Choices) -> BaseDistribution:
    if isinstance(setting, Choices):
        return CategoricalDistribution([_native(name, v) for v in setting.choices])
    return setting.distribution(integer=_is_integer(name, setting))
