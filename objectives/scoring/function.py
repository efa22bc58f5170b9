"""A score by a user's own function: imports its module and calls it; trains nothing."""

from __future__ import annotations

from collections.abc import Callable
import importlib
import inspect
import math
import numbers
import sys
from typing import Any
from typing import TypeAlias

from accelerate.utils import set_seed
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from objectives.errors import UserError
from objectives.model.memory import is_out_of_memory


__all__ = ["Function", "NoScore", "call", "load_function"]

Function: TypeAlias = Callable[[nn.Module, PreTrainedTokenizerBase], float]


class NoScore(Exception):
    """The function gave no number, and why."""


def load_function(name: str, folder: str | None, seen_in: str) -> Function:
    """Imports it; its module may lie in the experiment file's folder.

    Args:
        name: "module:function".
        folder: Of the experiment file; a package that is installed goes first.
        seen_in: The setting, for messages.

    Raises:
        UserError: It cannot be imported, or takes other arguments.
    """
    if folder is not None and folder not in sys.path:
        sys.path.append(folder)
    module_name, _, function_name = name.partition(":")
    told = f"{seen_in} = {name!r}"
    module = _imported(module_name, told, folder)
    function = getattr(module, function_name, None)
    if not callable(function):
        where = getattr(module, "__file__", None) or module_name
        raise UserError(
            f"{told}: {where} has no function {function_name}; define it there, or rename your "
            "module if that is another one's file"
        )
    _check_arguments(function, told)
    return function  # type: ignore[no-any-return]


def _imported(name: str, told: str, folder: str | None) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UserError(f"{told}: {name} needs {error.name}, which is not installed") from None
        beside = "" if folder is None else f" the experiment file's folder ({folder}) or"
        raise UserError(
            f"{told}: there is no module {error.name} in{beside} what Python finds; put it there"
        ) from None
    except (Exception, SystemExit) as error:
        raise UserError(f"{told}: importing {name} raised {_shown(error)}; correct it") from None


def _check_arguments(function: Function, told: str) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # one that is written in C
        return
    try:
        signature.bind(None, None)
    except TypeError:
        raise UserError(
            f"{told}: takes {signature}, and is called with (model, tokenizer); "
            "give other arguments a default"
        ) from None


def call(function: Function, name: str, model: nn.Module, tokenizer: Any, seed: int) -> float:
    """Its finite number, of a model in evaluation mode, without gradients and from a seed.

    Raises:
        NoScore: It raised, or gave something else.
    """
    model.eval()
    set_seed(seed)
    try:
        with torch.no_grad():
            value: Any = function(model, tokenizer)  # whatever it says
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        raise NoScore(f"{name} raised {_shown(error)}") from error
    is_number = isinstance(value, numbers.Real) or (torch.is_tensor(value) and value.numel() == 1)
    if not is_number or not math.isfinite(value):
        raise NoScore(f"{name} returned {value!r:.60}, which is no finite number")
    return float(value)


def _shown(error: BaseException) -> str:
    reason = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
