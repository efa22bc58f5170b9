"""`[scoring]`: what a trial is worth, and what the best few are shown on at the end."""

from __future__ import annotations

from collections.abc import Mapping
import math
import re
from typing import Annotated
from typing import Any
from typing import Literal
from typing import TypeAlias

from pydantic import AfterValidator
from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import Field
from pydantic import model_validator
from pydantic import PrivateAttr

from objectives.settings.config_errors import near
from objectives.settings.config_errors import refuse
from objectives.settings.sections.paths import folder
from objectives.settings.strict import Count
from objectives.settings.strict import STRICT


__all__ = ["ACCURACY", "IN_TRAINING", "LOSS", "MOST_ASKED", "Direction", "ScoringSettings"]
__all__ += ["is_function"]

LOSS = "loss"
ACCURACY = "preference_accuracy"
IN_TRAINING = (LOSS, ACCURACY)
"""Objectives that every validation has; the others are scored at the end."""
MOST_ASKED = 8
Direction: TypeAlias = Literal["minimize", "maximize"]
_FORMS = 'write "hellaswag", {hellaswag = 2, arc_easy = 1} or "my_module:my_function"'


def is_function(name: str) -> bool:
    """Whether it is of a user's own function; no task's name has a colon."""
    return ":" in name


def _objective(value: object) -> object:
    """A name, or tasks with their weights."""
    if isinstance(value, str) and value:
        return _name(value)
    if not isinstance(value, dict) or not value:
        raise refuse("must be a name, or a table of tasks with their weights", _FORMS)
    for name, weight in value.items():
        if not _is_weight(weight):
            raise refuse(f"the weight of {name} must be a number > 0", f"write {name} = 1")
        if name in IN_TRAINING or is_function(name):
            raise refuse(f"{name} is no lm-eval task, and they alone are weighted", _FORMS)
    return {name: float(weight) for name, weight in sorted(value.items())}


def _is_weight(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and value > 0


def _name(value: str) -> str:
    if is_function(value) and not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", value):
        raise refuse(
            "with a colon it names a module and a function of yours",
            'write "my_module:my_function", without a path or .py',
        )
    return value


def _metric(value: object) -> object:
    """A metric, or one for each task."""
    each = list(value.values()) if isinstance(value, dict) else [value]
    if not each or not all(isinstance(name, str) and name for name in each):
        raise refuse("must be a metric, or a table of them", 'write "acc" or {hellaswag = "acc"}')
    return value


class ScoringSettings(BaseModel):
    """`[scoring]`: what a trial is worth, and what the best few are shown on at the end.

    Attributes:
        objective: "loss" (validation loss, nats per token, or the mean loss of preferences),
            "preference_accuracy" (share of the validation's preferences that the adapter has
            right, with `[training] method` = "dpo"), the name of an lm-eval task, a table of tasks
            with their weights, or a function of your own, "my_module:score".
        metric: lm-eval's name of the score, or a table of one for each task. A test task that has
            not this one goes by its usual. "exact_match,strict-match" is that behind a filter.
        direction: "minimize" or "maximize"; for a function, and a metric of which lm-eval does not
            know it.
        tasks: Folder of the user's own task YAML.
        batch: Sequences per forward while scoring.
        limit: Documents per task.
        few_shot: Examples in the prompt; None leaves it to the task.
        test: Tasks, or functions, scored once, at the end.
        best: How many of the best adapters are scored at the end.
        answers: How many prompts of the validation rows the base and the best adapter answer for
            the report, at most 8.
        same_task: The objective's task may also be a test task.
        unsafe_code: Tasks that run code which the model wrote (HumanEval) may do so.
    """

    model_config = STRICT

    objective: Annotated[str | dict[str, float], BeforeValidator(_objective)] = "loss"
    metric: Annotated[str | dict[str, str], BeforeValidator(_metric)] = "acc"
    direction: Direction | None = None
    tasks: Annotated[str, AfterValidator(folder)] | None = None
    batch: Count = 32
    limit: Count | None = None
    few_shot: int | None = Field(default=None, ge=0)
    test: list[Annotated[str, AfterValidator(_name)]] = []
    best: Count = 3
    answers: int = Field(default=0, ge=0, le=MOST_ASKED)
    same_task: bool = False
    unsafe_code: bool = False
    _file_folder: str | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        """Keeps the experiment file's folder, where a function's module may lie."""
        self._file_folder = None if context is None else str(context["folder"])

    @property
    def file_folder(self) -> str | None:
        """Of the experiment file."""
        return self._file_folder

    @property
    def goals(self) -> Mapping[str, float]:
        """Tasks, or a function, that are scored for a trial's value, with their weights."""
        if isinstance(self.objective, dict):
            return self.objective
        return {} if self.objective in IN_TRAINING else {self.objective: 1.0}

    def metric_of(self, task: str) -> str:
        """The one that is wanted."""
        return self.metric if isinstance(self.metric, str) else self.metric.get(task, "acc")

    @property
    def unit(self) -> str:
        """What a trial's value is, in a word."""
        metrics = {"score" if is_function(goal) else self.metric_of(goal) for goal in self.goals}
        if not metrics:
            return "loss" if self.objective == LOSS else "accuracy"
        return metrics.pop() if len(metrics) == 1 else "score"

    @property
    def value_name(self) -> str:
        """What a trial's value is, for people, as short as a figure needs it."""
        if isinstance(self.objective, str):
            if self.objective in IN_TRAINING:
                return "validation loss" if self.objective == LOSS else "preference accuracy"
            return self._told(self.objective)
        return f"mean score of {len(self.goals)} tasks"

    @property
    def in_words(self) -> str:
        """The objective with all that it is made of."""
        if isinstance(self.objective, str):
            return self.value_name
        each = (f"{self._told(task)} (weight {w:g})" for task, w in self.goals.items())
        return f"mean of {', '.join(each)}"

    def _told(self, goal: str) -> str:
        return goal if is_function(goal) else f"{self.metric_of(goal)} on {goal}"

    @model_validator(mode="after")
    def _test_is_held_out(self) -> ScoringSettings:
        if self.goals.keys() & set(self.test) and not self.same_task:
            raise refuse(
                "must not hold the objective's task: the best of many trials on it is no test",
                "test on another task, or set same_task = true",
                key="test",
                value=self.test,
            )
        return self

    @model_validator(mode="after")
    def _metrics_are_of_tasks(self) -> ScoringSettings:
        if isinstance(self.metric, str):
            return self
        for task in self.metric:
            if task not in (tasks := [*self.goals, *self.test]):
                way_out = near(task, tasks, "{}", "leave it out")
                raise refuse(f"{task} is no task here", way_out, key="metric", value=self.metric)
        for task in self.goals:
            if task not in self.metric and not is_function(task):
                rule, way_out = f"names no metric of the objective {task}", f'add {task} = "acc"'
                raise refuse(rule, way_out, key="metric", value=self.metric)
        return self

    @model_validator(mode="after")
    def _has_a_direction(self) -> ScoringSettings:
        if self.direction is None and any(map(is_function, self.goals)):
            rule = "nobody but you knows whether more of it is better"
            way_out = 'write direction = "maximize" or "minimize" below it'
            raise refuse(rule, way_out, key="objective", value=self.objective)
        if self.direction is not None and self.direction != self.known_direction:
            rule = f"contradicts the objective, which is to {self.known_direction}"
            raise refuse(rule, "leave it out", key="direction", value=self.direction)
        return self

    @property
    def known_direction(self) -> Direction | None:
        """Optuna's; None: the task says it, when it is loaded."""
        if self.objective in IN_TRAINING:
            return "minimize" if self.objective == LOSS else "maximize"
        return self.direction
