"""Where workers run beyond this machine, as the command line says it; touches nothing."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
import re
import shlex

from objectives.errors import UserError
from objectives.settings.arguments import check_choice
from objectives.settings.budget import read_budget
from objectives.settings.sections.study import StudySettings


__all__ = ["ENGINES", "EngineSettings", "read_engine"]

EXAMPLES = {"slurm": "partition=gpu gres=gpu:1 time=08:00:00", "ray": "num_gpus=1 num_cpus=8"}
ENGINES = tuple(EXAMPLES)


@dataclass(frozen=True)
class EngineSettings:
    """Of `--on`.

    Attributes:
        name: One of ENGINES.
        options: What the engine is told, by name.
        detach: Whether the command leaves as soon as the workers are started.
        cancel: Whether Ctrl-C ends them.
    """

    name: str
    options: Mapping[str, str]
    detach: bool
    cancel: bool


def read_engine(parsed: Namespace, settings: StudySettings) -> EngineSettings | None:
    """None where workers are processes of this machine.

    Args:
        parsed: The command line.
        settings: Of the study, with the command line's over them.

    Raises:
        UserError: An option has no engine, or the other way about.
    """
    if parsed.on is None:
        _check_nothing_else(parsed)
        return None
    check_choice("--on", parsed.on, ENGINES)
    _check_others(parsed)
    _check_search(parsed, settings)
    given = getattr(parsed, parsed.on)
    options = {} if given is None else _pairs(f"--{parsed.on}", given, EXAMPLES[parsed.on])
    return EngineSettings(parsed.on, options, parsed.detach, parsed.cancel_on_interrupt)


def _check_nothing_else(parsed: Namespace) -> None:
    for name in ENGINES:
        if getattr(parsed, name) is not None:
            raise UserError(
                f"--{name} '{getattr(parsed, name)}': is for workers there; add --on {name}"
            )
    for option in ("detach", "cancel_on_interrupt"):
        if getattr(parsed, option):
            raise UserError(
                f"--{option.replace('_', '-')}: is for workers that outlive the command, as those "
                f"of this machine do not; add --on {' or --on '.join(ENGINES)}, or leave it out"
            )


def _check_others(parsed: Namespace) -> None:
    for name in ENGINES:
        if name != parsed.on and getattr(parsed, name) is not None:
            raise UserError(f"--{name} with --on {parsed.on}: take one of the two")
    if parsed.detach and parsed.cancel_on_interrupt:
        raise UserError(
            "--detach with --cancel-on-interrupt: the command leaves before anybody can interrupt "
            "it; leave one of them out"
        )


def _check_search(parsed: Namespace, settings: StudySettings) -> None:
    if parsed.search_only:
        raise UserError(
            f"--on {parsed.on} with --search-only: the command makes the workers; leave one of "
            "them out"
        )
    if parsed.workers is None:
        raise UserError(f"--on {parsed.on}: say how many workers; for example --workers 8")
    budget = None if settings.budget is None else read_budget(settings.budget)
    if budget is not None and budget.seconds is not None:
        raise UserError(
            f"--budget {settings.budget} with --on {parsed.on}: nobody knows how long a worker "
            "waits for its turn; give --trials, or --budget 20trainings"
        )
    if settings.storage is None:
        raise UserError(
            f"--on {parsed.on}: the study is in a file of this machine unless --storage says "
            "otherwise; give a database that all machines reach, for example "
            "--storage postgresql+psycopg://user:password@host/name"
        )


def _pairs(option: str, text: str, example: str) -> dict[str, str]:
    """`name=value` pairs, as they stand after `#SBATCH --` too."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(
            f"{option} '{text}': cannot be split into words ({error}); "
            "give each quotation mark its partner"
        ) from None
    pairs = [word.lstrip("-").partition("=") for word in words]
    for word, (name, equals, value) in zip(words, pairs, strict=True):
        if not equals or not value or not re.fullmatch(r"[\w-]+", name):
            raise UserError(
                f'{option} {word}: must be name=value; for example {option} "{example}"'
            )
    return {name: value for name, _, value in pairs}
