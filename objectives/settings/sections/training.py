"""`[training]`: what every trial has in common, and what a trial may have for itself instead.

The settings of `SEARCHABLE` are fixed here or searched in `[search]`, within the rules of this
file; see objectives/settings/search/variants.py.
"""

from __future__ import annotations

from typing import Annotated
from typing import Literal

from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import Field
from pydantic import model_validator
from pydantic import ValidationInfo

from objectives.settings.config_errors import refuse
from objectives.settings.sections.targets import ALL_LINEAR
from objectives.settings.sections.targets import Targets
from objectives.settings.strict import Count
from objectives.settings.strict import Seed
from objectives.settings.strict import STRICT


__all__ = [
    "OF_PREFERENCES",
    "SEARCHABLE",
    "PreferenceLoss",
    "TrainingSettings",
    "is_of_bitsandbytes",
    "starts_in_base",
]

PreferenceLoss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "nca_pair", "apo_zero", "apo_down"
]
OF_PREFERENCES = ("beta", "loss_type")
"""Settings that nothing depends on unless the method is "dpo"."""
SEARCHABLE = (
    *("targets", "rslora", "dora"),
    *("loraplus_lr_ratio", "init_lora_weights", "optimizer"),
    *("warmup", "schedule", "clip", "neftune_noise_alpha"),
    *OF_PREFERENCES,
)
"""In the order in which they are searched, after the hyperparameters of `[search]` alone."""

_FROM_DATA = ("eva", "corda", "loftq", "lora_ga")


def starts_in_base(init_lora_weights: object) -> bool:
    """Whether an adapter takes a part out of the base, which then is not whole beside it."""
    return str(init_lora_weights).startswith(("pissa", "olora"))


def is_of_bitsandbytes(optimizer: object) -> bool:
    """Whether that package has it, and neither torch nor transformers."""
    return str(optimizer).endswith(("8bit", "32bit"))


def _start(value: object) -> object:
    if value in _FROM_DATA:
        raise refuse(
            "needs gradients, activations or a quantised base, and an adapter here starts from "
            "the base's weights alone",
            'write "pissa_niter_16", "olora", "gaussian" or "default"',
        )
    return value


def _on_off_auto(value: object) -> object:
    if isinstance(value, bool) or value == "auto":
        return value
    raise refuse('must be true, false or "auto"', "for example gradient_checkpointing = true")


class TrainingSettings(BaseModel):
    """`[training]`: what every trial has in common.

    Attributes:
        method: "sft" lowers the loss of the answers' tokens; "dpo" that of preferences, pairs of a
            better and a worse answer (direct preference optimisation), beside the base alone.
        beta: How far a preference may take the adapter from the base; a smaller one lets it go
            farther. With method "dpo", as the next one.
        loss_type: TRL's name of the loss.
        epochs: Passes over the training rows; 0.5 is a random half of them.
        max_steps: Optimizer steps of every training, in the place of epochs; the rows are read
            again where they are fewer.
        micro_batch: Samples per forward; memory and speed depend on it, the loss does not.
        gradient_checkpointing: Keep the inputs of the layers alone for the backward pass, which
            computes the rest again. "auto" does so where a micro-batch of 1 does not fit.
        padding_free: Lay the samples of a micro-batch end to end in one row.
        warmup: Share of the steps in which the learning rate rises.
        schedule: Of the learning rate, after the warm-up.
        clip: Largest norm of the gradient.
        optimizer: transformers' name of it; see `objectives.training.optimizers`.
        loraplus_lr_ratio: Learning rate of B over that of A (LoRA+); 1 is plain LoRA.
        neftune_noise_alpha: Of the noise on the embeddings while training (NEFTune); 0 is none.
        init_lora_weights: How an adapter starts, peft's names; see `objectives.model.starts`.
        targets: Modules that get an adapter: "all-linear", "attention", "mlp", or their names.
            No group has the output head, a router, experts whose weights are fused, or what
            `model.targets` has besides.
        rslora: Scale by alpha / sqrt(rank) instead of alpha / rank.
        dora: Weight-decomposed adapter; about 1.5 times the time.
        seed: Of the adapter's start, the dropout and the order of the samples.
        validations: Times the validation loss is taken in a trial and a pruner asked, at equal
            shares of its data, the last at the end: with epochs = 2 and validations = 8 after
            every quarter of the rows, whatever the effective batch.
    """

    model_config = STRICT

    method: Literal["sft", "dpo"] = "sft"
    beta: float = Field(default=0.1, gt=0)
    loss_type: PreferenceLoss = "sigmoid"
    epochs: float = Field(default=1.0, gt=0)
    max_steps: Count | None = Field(default=None, examples=[200])
    micro_batch: Count = 8
    gradient_checkpointing: Annotated[bool | Literal["auto"], BeforeValidator(_on_off_auto)] = (
        "auto"
    )
    padding_free: bool = False
    warmup: float = Field(default=0.05, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = Field(default=1.0, gt=0)
    optimizer: Literal[
        "adamw_torch_fused",
        "adamw_torch",
        "adafactor",
        "sgd",
        "adamw_8bit",
        "paged_adamw_8bit",
        "paged_adamw_32bit",
        "lion_8bit",
        "lion_32bit",
        "paged_lion_8bit",
    ] = "adamw_torch_fused"
    loraplus_lr_ratio: float = Field(default=1.0, ge=1)
    neftune_noise_alpha: float = Field(default=0.0, ge=0)
    init_lora_weights: Annotated[
        Literal["default", "gaussian", "pissa", "pissa_niter_4", "pissa_niter_16", "olora"],
        BeforeValidator(_start),
    ] = "default"
    targets: Targets = ALL_LINEAR
    rslora: bool = False
    dora: bool = False
    seed: Seed = 0
    validations: Count = 4

    @model_validator(mode="after")
    def _of_its_method(self, info: ValidationInfo) -> TrainingSettings:
        of_file = info.context is not None  # settings that are passed on have every key
        for name in OF_PREFERENCES:
            if of_file and self.method != "dpo" and name in self.model_fields_set:
                raise refuse(
                    "is of preferences",
                    'set method = "dpo", or leave it out',
                    key=name,
                    value=getattr(self, name),
                )
        return self

    @model_validator(mode="after")
    def _one_length(self, info: ValidationInfo) -> TrainingSettings:
        of_file = info.context is not None  # settings that are passed on have every key
        if of_file and self.max_steps is not None and "epochs" in self.model_fields_set:
            raise refuse(
                "is in the place of epochs, and both are given",
                "leave one of the two out",
                key="max_steps",
                value=self.max_steps,
            )
        return self
