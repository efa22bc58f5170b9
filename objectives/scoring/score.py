"""Scores a model on loaded lm-eval tasks, or by a user's function; writes nothing.

The tasks' data and prompts are built once, and every model is scored on the same `Task` objects,
by all ranks together, each prefix that questions or choices share computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import copy
from dataclasses import dataclass
from dataclasses import field
import math
from typing import Any
from typing import TYPE_CHECKING

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from objectives.errors import UserError
from objectives.model.quantized import precision
from objectives.model.sharded import is_sharded
from objectives.scoring.function import call
from objectives.scoring.function import Function
from objectives.scoring.function import load_function
from objectives.scoring.function import NoScore
from objectives.scoring.metrics import directions
from objectives.scoring.metrics import key_of
from objectives.scoring.metrics import stderr_of
from objectives.scoring.metrics import usual_metric
from objectives.scoring.tasks import load_tasks
from objectives.scoring.tasks import quiet
from objectives.settings.sections.scoring import Direction
from objectives.settings.sections.scoring import is_function


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from objectives.scoring.prefix_lm import Plans
    from objectives.settings.sections.scoring import ScoringSettings

__all__ = ["Score", "Scorer"]

FEW_SHOT_SEED = 1234  # lm-eval's own default: which examples come before a question


@dataclass(frozen=True)
class Score:
    """One model on one task.

    Attributes:
        task: lm-eval's name of the task or group.
        metric: lm-eval's name of the metric, and of its filter in brackets where there is one.
        value: The metric.
        stderr: Its standard error; nan for a metric that is not a mean over the questions.
        n: Questions scored.
    """

    task: str
    metric: str
    value: float
    stderr: float
    n: int


@dataclass(frozen=True)
class Scorer:
    """lm-eval tasks, loaded once, and how to score a model on them. Make it with `Scorer.load`."""

    settings: ScoringSettings
    tokenizer: PreTrainedTokenizerBase
    tasks: Mapping[str, Any]  # name -> lm-eval's TaskDict
    functions: Mapping[str, Function] = field(default_factory=dict)
    _plans: Plans = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(
        cls,
        settings: ScoringSettings,
        tokenizer: PreTrainedTokenizerBase,
        tasks: Sequence[str],
    ) -> Scorer:
        """Loads tasks by name, from the folder `settings.tasks` or those that lm-eval brings.

        Raises:
            UserError: A task is not there, its data cannot be loaded, or the objective's metric
                does not fit it; or so of a function.
        """
        functions = {
            name: load_function(name, settings.file_folder, _setting(name, settings))
            for name in filter(is_function, tasks)
        }
        names = [name for name in tasks if name not in functions]
        loaded = load_tasks(settings, names) if names else {}
        # lm-eval gives a tokenizer without a pad token one; ours must stay as it is
        return cls(settings, copy.deepcopy(tokenizer), loaded, functions)

    def goals(self, score: Callable[[str], Score]) -> tuple[Score, list[Score]]:
        """The objective's score, of one goal or the weighted mean of several, and each goal's.

        Args:
            score: Of a goal.
        """
        weights = self.settings.goals
        each = [score(goal) for goal in weights]
        return (each[0] if len(each) == 1 else _mean(each, list(weights.values()))), each

    def score(
        self,
        model: nn.Module,
        task: str,
        metric: str | None = None,
        *,
        limit: int | None = None,
        accelerator: Accelerator | None = None,
    ) -> Score:
        """Scores a model, with or without an adapter; independent of `settings.batch`.

        Args:
            model: A causal language model, not wrapped for DDP; it is left in evaluation mode.
            task: One of the tasks that were loaded, or of the functions.
            metric: lm-eval's name; without it that of the settings where the task has it,
                otherwise its usual one.
            limit: Documents per task, the first ones; without it `settings.limit`.
            accelerator: Gives the ranks, which share the documents. Every rank must call this, and
                gets the same score. Without it this process scores alone. On a base in shares
                each rank scores all documents, since the number of forwards must be the same. A
                function is called on each rank, and rank 0's number counts.

        Raises:
            NoScore: A function gave no number.
        """
        if task in self.functions:
            ranks = 1 if accelerator is None else accelerator.num_processes
            return _from_rank_0(self._called(task, model), ranks)
        loaded = self.tasks[task]
        wanted = self.settings.metric_of(task)
        if metric is None:
            is_goal = task in self.settings.goals
            metric = wanted if is_goal else usual_metric(task, loaded, wanted)
        for part in loaded["tasks"].values():  # the same examples for every model
            part.set_fewshot_seed(FEW_SHOT_SEED)
        lm = self._lm(model, accelerator)
        results = self._evaluate(lm, loaded, limit or self.settings.limit)
        # lm-eval has results on rank 0 alone
        score = None if results is None else _pick(results["results"][task], task, loaded, metric)
        return _from_rank_0(score, lm.world_size)

    def direction(self, task: str) -> Direction:
        """Which way the settings' metric of a task is better, as task and lm-eval say.

        Raises:
            UserError: They contradict each other or the settings, or nobody says it.
        """
        metric, given = self.settings.metric_of(task), self.settings.direction
        named = f"`[scoring] metric` = {metric!r}"
        with quiet():
            said = directions(self.tasks[task], metric)
        if given is not None and (given in said.values() or not said):
            return given
        if given is not None:
            rule = f"`[scoring] direction` = {given!r}: {next(iter(said))} wants {metric!r} the "
            raise UserError(f"{rule}other way; leave it out, or correct `higher_is_better`")
        if not said:
            raise UserError(
                f"{named}: the task {task!r} does not say which way is better, nor does lm-eval; "
                'set `[scoring] direction` = "maximize" or "minimize"'
            )
        if len(set(said.values())) > 1:
            raise UserError(
                f"{named}: {', '.join(f'{who} would {way} it' for who, way in said.items())}; "
                "set `[scoring] direction`, or correct `higher_is_better` in the task"
            )
        return next(iter(said.values()))

    def _called(self, name: str, model: nn.Module) -> Score | NoScore:
        try:
            with precision(model):
                value = call(self.functions[name], name, model, self.tokenizer, FEW_SHOT_SEED)
        except NoScore as error:
            return error
        return Score(name, "score", value, math.nan, 0)

    def _lm(self, model: nn.Module, accelerator: Accelerator | None) -> Any:
        """lm-eval's view of the model; it shares work among ranks if told of them."""
        from objectives.scoring.prefix_lm import PrefixLM

        with quiet():
            lm = PrefixLM(
                pretrained=model,
                tokenizer=self.tokenizer,
                batch_size=self.settings.batch,
                plans=self._plans,
            )
        if accelerator is not None and accelerator.num_processes > 1 and not is_sharded(model):
            lm.accelerator = accelerator
            lm._rank, lm._world_size = accelerator.process_index, accelerator.num_processes
        return lm

    def _evaluate(self, lm: Any, loaded: Any, limit: int | None) -> dict[str, Any] | None:
        from lm_eval import evaluate

        with quiet(), precision(lm.model):
            results: dict[str, Any] | None = evaluate(
                lm=lm,
                task_dict=loaded,
                limit=limit,
                bootstrap_iters=1,  # any number above 0 asks for the closed form of a mean's error
                log_samples=False,
                confirm_run_unsafe_code=self.settings.unsafe_code,
            )
        return results


def _setting(name: str, settings: ScoringSettings) -> str:
    return f"`[scoring] {'objective' if name in settings.goals else 'test'}`"


def _mean(scores: Sequence[Score], weights: Sequence[float]) -> Score:
    """The weighted mean of independent scores, and its standard error."""
    pairs = list(zip(scores, weights, strict=True))
    total = sum(weights)
    return Score(
        "mean",
        "score",
        value=sum(weight * score.value for score, weight in pairs) / total,
        stderr=math.hypot(*(weight * score.stderr for score, weight in pairs)) / total,
        n=sum(score.n for score in scores),
    )


def _from_rank_0(score: Score | NoScore | None, ranks: int) -> Score:
    held = [score]
    if ranks > 1:
        broadcast_object_list(held)
    assert held[0] is not None, "lm-eval gives rank 0 its results"
    if isinstance(held[0], NoScore):
        raise held[0]
    return held[0]


def _pick(result: Mapping[str, Any], task: str, loaded: Any, metric: str) -> Score:
    """One metric of lm-eval's result."""
    key = key_of(result, loaded, metric)
    if key is None:
        given = ", ".join(key for key in result if "," in key and "_stderr," not in key)
        raise UserError(
            f"`[scoring] metric` = {metric!r}: the task {task!r} does not give it; "
            f"choose one of {given}"
        )
    name, _, kept_by = key.partition(",")
    return Score(
        task=task,
        metric=name if kept_by == "none" else f"{name} ({kept_by})",
        value=float(result[key]),
        stderr=stderr_of(result, key),
        n=int(result["sample_len"]),
    )
