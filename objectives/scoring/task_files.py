"""What the files of lm-eval tasks say before anything of theirs is loaded; reads an index only."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from lm_eval.tasks._index import Entry

__all__ = ["may_ask_hub", "runs_code"]

Index = Mapping[str, "Entry"]
Config = Mapping[str, Any]


def runs_code(index: Index, name: str) -> bool:
    """Whether a task, or one of a group's or tag's, runs code that the model wrote."""
    return any(config.get("unsafe_code", False) for config in _configs(index, name))


def may_ask_hub(index: Index, name: str) -> bool:
    """Whether the data of a task, or of one of a group's or tag's, may not be on this machine."""
    return not all(map(_has_local_data, _configs(index, name)))


def _configs(index: Index, member: str | Config) -> Iterator[Config]:
    """Of the tasks that a name, or an entry of a group's list, stands for."""
    if isinstance(member, str):
        yield from _named(index, member)
    elif isinstance(member.get("task"), list):  # a group
        for part in member["task"]:
            yield from _configs(index, part)
    elif (name := str(member.get("task") or member.get("group"))) in index:
        for config in _named(index, name):
            yield {**config, **member}
    else:  # a task that the list itself defines
        yield member


def _named(index: Index, name: str) -> Iterator[Config]:
    if name not in index:
        return
    config = index[name].cfg
    if config is None:  # a tag
        for task in sorted(index[name].tags):
            yield from _named(index, task)
    elif isinstance(config.get("task"), list):
        yield from _configs(index, config)
    else:
        yield config


def _has_local_data(config: Config) -> bool:
    """Or another server's. A task in Python, or one whose data a function makes, may have any."""
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    source = str(config.get("dataset_path", ""))
    if source in _PACKAGED_DATASETS_MODULES:  # "json" and its like, of files or any server's
        return "hf://" not in str(config.get("dataset_kwargs", ""))
    return bool(source) and Path(source).exists()
