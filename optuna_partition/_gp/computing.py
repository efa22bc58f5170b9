"""What surrounds a computation of the model: threads, gradients, device, errors; torch inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from functools import cache
import logging
from typing import Any
import warnings

from botorch.exceptions import BotorchError
from linear_operator.utils.errors import NanError
from linear_operator.utils.errors import NotPSDError
from threadpoolctl import ThreadpoolController
import torch

from optuna_partition._rules.belief import BeliefFailed
from optuna_partition._threads import look_again
from optuna_partition._threads import one_thread


__all__ = ["computing"]

_logger = logging.getLogger(f"optuna.{__name__}")
_said: set[type[Exception]] = set()


@contextmanager
def computing(device: str) -> Iterator[None]:
    """Turns what linear algebra raises into `BeliefFailed`; a process says each kind once.

    Inside, neither the default device nor the gradients nor the threads are what a user has set
    around a study.
    """
    openmp = _openmp()
    try:
        # Of fits that stop early, which are good enough. BoTorch sees to it that such warnings are
        # always shown, so that to ignore them is not enough: they are collected, too.
        with (
            one_thread(),  # one at a time: filters of warnings are the process', too
            _alone(openmp),
            _default(device),
            torch.inference_mode(False),
            torch.enable_grad(),
            warnings.catch_warnings(record=True),
        ):
            warnings.simplefilter("ignore")
            yield
    except (BotorchError, NanError, NotPSDError, RuntimeError, ValueError) as error:
        _say_once(error)
        raise BeliefFailed(str(error)) from error


@contextmanager
def _alone(openmp: ThreadpoolController) -> Iterator[None]:
    """Has torch compute in this thread alone.

    `torch.set_num_threads` would set the number of every thread that is yet to use torch, too.
    OpenMP's is the thread's own.
    """
    torch.get_num_threads()  # the first question of a thread sets its number
    with openmp.limit(limits=1, user_api="openmp"):
        yield


@cache
def _openmp() -> ThreadpoolController:
    """At the first computation, when all libraries of the models are loaded."""
    look_again()
    return ThreadpoolController()


def _default(device: str) -> AbstractContextManager[Any]:
    """Makes a device torch's default where a user has set one; it slows every operation."""
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device(device)


def _say_once(error: Exception) -> None:
    """By its type: messages name numbers of points."""
    if type(error) in _said:
        return
    _said.add(type(error))
    _logger.warning(
        "The model of `BaMSOOSampler` could not be fitted; the search goes on as `SOOSampler`'s "
        f"until it can ({type(error).__name__}: {error})."
    )
