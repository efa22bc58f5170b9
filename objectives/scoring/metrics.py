"""Which metrics a loaded lm-eval task has, and which way each is better; scores nothing."""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any

from objectives.errors import UserError
from objectives.settings.sections.scoring import Direction


__all__ = ["check_metric", "directions", "key_of", "metrics", "stderr_of"]
__all__ += ["usual_metric"]

_USUAL = {"em": "f1", "exact": "f1", "exact_match": "f1", "likelihood_diff": "pct_stereotype"}
"""What a task is usually told by, where its first metric is the one before the colon.

DROP, CoQA, SQuAD and XQuAD list exact match and F1, and are ranked by F1 (Dua et al. 2019, Reddy
et al. 2019, Rajpurkar et al. 2018); CrowS-Pairs by the share of stereotypes (Nangia et al. 2020).
"""


def metrics(name: str, loaded: Any) -> list[str]:
    """Metrics that a task has, or of a group all tasks and the group, in the first one's order."""
    each = [list(task.aggregation()) for task in loaded["tasks"].values()]
    if name not in loaded["tasks"]:
        each.append([part.metric for part in loaded["groups"][name].aggregate_metric_list])
    return [metric for metric in each[0] if all(metric in other for other in each)]


def usual_metric(name: str, loaded: Any, wanted: str) -> str:
    """The metric to score a task on that may not have the wanted one."""
    available = metrics(name, loaded)
    bare, _, kept_by = wanted.partition(",")
    if bare in available:
        return wanted if kept_by in _filters(loaded) else bare
    usual = _USUAL.get(available[0])
    return usual if usual in available else available[0]


def check_metric(task: str, loaded: Any, metric: str) -> None:
    """Before anything is trained, as far as it can be known then.

    Raises:
        UserError: The task does not give it.
    """
    available, kept_by = metrics(task, loaded), metric.partition(",")[2]
    named = f"`[scoring] metric` = {metric!r}: the task {task!r}"
    if _bare(metric) not in available and not _of_functions(loaded):
        raise UserError(f"{named} does not give it; choose one of {', '.join(available)}")
    if kept_by and kept_by not in (filters := _filters(loaded)):
        raise UserError(
            f"{named} has no filter {kept_by!r}; choose one of {', '.join(filters)}, or leave it "
            "out for the first"
        )


def directions(loaded: Any, metric: str) -> dict[str, Direction]:
    """Who says which way is better: the tasks, and lm-eval's metric of that name."""
    from lm_eval.api.registry import is_higher_better

    bare, functions = _bare(metric), _of_functions(loaded)
    said = {"lm-eval's metric of that name": is_higher_better(bare)}
    for name, task in loaded["tasks"].items():
        of_task = task.higher_is_better()
        named = bare if bare in of_task or not functions else functions[0]
        said[f"the task {name!r}"] = of_task.get(named)
    known = {who: higher for who, higher in said.items() if higher is not None}
    return {who: "maximize" if higher else "minimize" for who, higher in known.items()}


def key_of(result: Mapping[str, Any], loaded: Any, metric: str) -> str | None:
    """Where a result has a metric: `{"acc,none": 0.5, "acc_stderr,none": 0.1, "sample_len": 9}`.

    A task's own function may be named otherwise than what it gives: `pass_at_k` gives `pass@1`.
    """
    keys = [key for key in result if "," in key and "_stderr," not in key]
    found = [key for key in keys if metric in (key, _bare(key))]
    if not found and metric in _of_functions(loaded):
        (task, *_) = loaded["tasks"].values()
        found = [key for key in keys if _bare(key) not in task.aggregation()]
    return found[0] if found else None


def stderr_of(result: Mapping[str, Any], key: str) -> float:
    """Its standard error; nan where there is none, which lm-eval calls "N/A"."""
    name, _, kept_by = key.partition(",")
    found = result.get(f"{name}_stderr,{kept_by}")
    return float(found) if isinstance(found, int | float) else math.nan


def _filters(loaded: Any) -> list[str]:
    """What may be kept of an answer, by all tasks; their first one is what stands for all."""
    each = [[f.name for f in task._filters] for task in loaded["tasks"].values()]
    return [name for name in each[0] if all(name in other for other in each)]


def _bare(metric: str) -> str:
    """Without its filter."""
    return metric.partition(",")[0]


def _of_functions(loaded: Any) -> list[str]:
    """Metrics that the first task's own functions give, under names that only they know."""
    (task, *_) = loaded["tasks"].values()
    listed = getattr(task.config, "metric_list", None) or ()
    return [each["metric"].__name__ for each in listed if callable(each["metric"])]
