"""Loads lm-eval tasks by name, with their data; reads task files and data sets, scores nothing.

A task comes from the folder `[scoring] tasks` or from those that lm-eval brings. Whatever is wrong
with it is found here, before anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
from dataclasses import replace
import difflib
from functools import partial
import io
import logging
from pathlib import Path
import re
from typing import Any
from typing import TYPE_CHECKING

from objectives.data import hub
from objectives.errors import UserError
from objectives.scoring import task_files
from objectives.scoring.metrics import check_metric


if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

    from objectives.settings.sections.scoring import ScoringSettings

__all__ = ["load_tasks", "quiet"]


def load_tasks(settings: ScoringSettings, names: Sequence[str]) -> dict[str, Any]:
    """Loads each name on its own: name -> lm-eval's `TaskDict`.

    Raises:
        UserError: A task is not there, its data cannot be loaded, or the objective's metric does
            not fit it.
    """
    manager = _manager(settings, names)
    loaded = {name: _load(name, manager, settings) for name in names}
    for goal in settings.goals.keys() & loaded.keys():
        check_metric(goal, loaded[goal], settings.metric_of(goal))
    return loaded


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice from lm-eval: a score is one part of a trial."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _manager(settings: ScoringSettings, tasks: Sequence[str]) -> TaskManager:
    """A manager that knows all tasks; lm-eval's own 14,000 are indexed (14 s) only if needed."""
    from lm_eval.tasks import TaskManager

    with quiet():
        manager = TaskManager(include_path=settings.tasks, include_defaults=False)
        if not set(tasks) <= set(manager.task_index):
            manager = TaskManager(include_path=settings.tasks)
    if settings.tasks is not None:
        _anchor_data_files(manager, Path(settings.tasks).resolve())
    return manager


def _load(name: str, manager: TaskManager, settings: ScoringSettings) -> Any:
    if name not in manager.task_index:
        raise UserError(_unknown(name, manager, settings))
    _check_consent(name, task_files.runs_code(manager.task_index, name), settings)
    if task_files.may_ask_hub(manager.task_index, name):
        hub.check()
    try:
        with quiet():
            loaded = manager.load([name])
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{_key(name, settings)} = {name!r}: {_cannot_load(error)}") from None
    in_python = any(getattr(task, "UNSAFE_CODE", False) for task in loaded["tasks"].values())
    _check_consent(name, in_python, settings)
    for task in loaded["tasks"].values():
        _set_few_shot(task, settings.few_shot)
        _build_once(task)
        _never_resample(task)
    if name not in loaded["tasks"] and not _has_own_score(loaded["groups"].get(name)):
        raise UserError(
            f"{_key(name, settings)} = {name!r}: it is a set of tasks without a score of its own; "
            f"name one of them: {', '.join(sorted(loaded['tasks'])[:8])}"
        )
    return loaded


def _cannot_load(error: BaseException) -> str:
    if "HF_ALLOW_CODE_EVAL" in str(error):  # Hugging Face's `evaluate`, on its metric `code_eval`
        return (
            "the task runs code that the model wrote, by Hugging Face's code_eval; if this "
            "machine may do that, set the environment variable HF_ALLOW_CODE_EVAL=1"
        )
    return _not_here(str(error)) or (
        f"the task's data cannot be loaded ({_first_line(error)}); check the network and "
        "HF_HUB_OFFLINE, download it beforehand, or name a task in the folder `[scoring] tasks`"
    )


def _not_here(error: str) -> str | None:
    """The message where `datasets` or `evaluate` has not reached the hub."""
    data = re.search(r"Couldn't reach (?:the Hugging Face Hub for dataset )?'([^']+)'", error)
    metric = re.search(r"Module '([^']+)' doesn't exist on the Hugging Face Hub", error)
    if data is None and metric is None:
        return None
    what = f"data set {data[1]}" if data else f"metric {metric[1]}" if metric else ""
    instead = "name a task in the folder `[scoring] tasks`"
    return hub.missing(f"the task's {what} is not in the hub's cache", instead)


def _check_consent(name: str, runs_code: bool, settings: ScoringSettings) -> None:
    """lm-eval would refuse to score the task, after the first training."""
    if runs_code and not settings.unsafe_code:
        raise UserError(
            f"{_key(name, settings)} = {name!r}: the task runs code that the model wrote; if this "
            "machine may do that, write `[scoring] unsafe_code = true`, and where the task scores "
            "by Hugging Face's code_eval, set the environment variable HF_ALLOW_CODE_EVAL=1"
        )


def _set_few_shot(task: Any, few_shot: int | None) -> None:
    """As lm-eval's `simple_evaluate`: a task that says 0 keeps 0; one that says nothing gets 0."""
    given = task.get_config("num_fewshot")
    if few_shot is not None and given != 0:
        task.set_config(key="num_fewshot", value=few_shot)
    elif given is None:
        task.set_config(key="num_fewshot", value=0)


def _build_once(task: Any) -> None:
    """Lets a task keep its requests, which lm-eval (0.4.13) would build anew for every model.

    They are the same for every model as long as the few-shot seed is; 1,000 questions take half a
    second, with examples in front several.
    """
    build, built = task.build_all_requests, {}

    def build_once(**arguments: Any) -> None:
        key = tuple(arguments[name] for name in ("limit", "rank", "world_size"))
        if key not in built:
            build(**arguments)
            built[key] = task.instances
        for request in built[key]:
            request.resps, request.filtered_resps = [], {}
        task._instances = built[key]

    task.build_all_requests = build_once


def _never_resample(task: Any) -> None:
    """Keeps the errors of means, which have a closed form, and leaves other metrics without one.

    lm-eval (0.4.13) would resample those that it knows by a pool of processes, in every trial. It
    does not know them behind another function.
    """
    from lm_eval.api.metrics import mean

    known = {
        name: how if how is mean else partial(how) for name, how in task.aggregation().items()
    }
    task.aggregation = lambda: known


def _has_own_score(group: Any) -> bool:
    return group is not None and bool(group.aggregate_metric_list)


def _anchor_data_files(manager: TaskManager, folder: Path) -> None:
    """Makes the data files of a folder's tasks absolute, wherever the command runs.

    `datasets` looks for them in the working directory, not beside the YAML file.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    for name, entry in manager.task_index.items():
        if entry.yaml_path is None or folder not in entry.yaml_path.resolve().parents:
            continue
        config = load_yaml(entry.yaml_path)
        arguments = config.get("dataset_kwargs") or {}
        if "data_files" in arguments:
            files = _absolute(arguments["data_files"], entry.yaml_path.resolve().parent)
            config["dataset_kwargs"] = {**arguments, "data_files": files}
            # lm-eval takes an entry without a file as it stands
            manager.task_index[name] = replace(entry, yaml_path=None, cfg=config)


def _absolute(files: Any, folder: Path) -> Any:
    """`data_files` of datasets: a path, a list of them, or a dictionary of either."""
    if isinstance(files, Mapping):
        return {split: _absolute(part, folder) for split, part in files.items()}
    if isinstance(files, list):
        return [_absolute(part, folder) for part in files]
    if "://" in files:
        return files
    return str(folder / files)


def _unknown(name: str, manager: TaskManager, settings: ScoringSettings) -> str:
    near = difflib.get_close_matches(name, manager.all_tasks, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see `lm-eval ls tasks`"
    where = f"in the folder {settings.tasks} nor " if settings.tasks else ""
    return f"{_key(name, settings)} = {name!r}: there is no such task {where}in lm-eval; {hint}"


def _key(name: str, settings: ScoringSettings) -> str:
    """What has named a task: a setting, or the argument of `score`."""
    if name in settings.goals:
        return "`[scoring] objective`"
    return "`[scoring] test`" if name in settings.test else "`on`"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
