"""What a trial keeps beside its value: measures, versions of packages, why it failed."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from typing import Any

from objectives.job import Finished


__all__ = ["CHECKPOINTING", "FAILURE", "measured", "versions"]

FAILURE = "failure"
"""User attribute of a trial that its hyperparameters, or a fault, have failed: why."""
CHECKPOINTING = "gradient_checkpointing"
"""User attribute: true where the training computed its activations twice."""
_PACKAGES = (
    "optuna-partition",
    "optuna",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "lm_eval",
)


def measured(outcome: Finished) -> dict[str, Any]:
    """User attributes of a trial with a value.

    `tokens` and `tokens_per_second` are of all steps and validations, also of those that an
    earlier trial has made; `seconds_training` are this one's.
    """
    training = outcome.training
    scores = {"scores": dict(outcome.scores)} if outcome.scores else {}
    error = {} if outcome.stderr is None else {"score_stderr": outcome.stderr}
    resumed = {"resumed_at": training.resumed_at} if training.resumed_at else {}
    return {
        "tokens": training.tokens,
        "tokens_per_second": training.tokens
        / (training.seconds_before + training.seconds_training),
        "seconds_setup": training.seconds_setup,
        "seconds_training": training.seconds_training,
        "seconds_scoring": outcome.seconds_scoring,
        "peak_memory": outcome.peak_memory,
        **error,
        **scores,
        **resumed,
    }


@cache
def versions() -> dict[str, str]:
    """Of the packages that a value depends on, of those that are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # ours may run from a checkout
            continue
    return found
