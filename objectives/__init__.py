"""LoRA fine-tuning and scoring as an Optuna objective; run from the checkout.

What a notebook takes from here is imported when it is used; see docs/python.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any
from typing import TYPE_CHECKING

from objectives.starting import importing
from objectives.starting import wait_gently


if TYPE_CHECKING:
    from objectives.errors import UserError
    from objectives.notebook import best_adapter
    from objectives.notebook import score
    from objectives.notebook import train_once
    from objectives.notebook import Trained
    from objectives.objective import LoraObjective
    from objectives.settings.config import Experiment
    from objectives.settings.config import load_experiment

__all__ = [
    "Experiment",
    "LoraObjective",
    "Trained",
    "UserError",
    "best_adapter",
    "load_experiment",
    "score",
    "train_once",
]

_WHERE = {
    "Experiment": "settings.config",
    "LoraObjective": "objective",
    "Trained": "notebook",
    "UserError": "errors",
    "best_adapter": "notebook",
    "load_experiment": "settings.config",
    "score": "notebook",
    "train_once": "notebook",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'objectives' has no attribute {name!r}")
    wait_gently()
    with importing():
        module = import_module(f"objectives.{_WHERE[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
