"""What surrounds a computation of the model: threads, gradients, device, errors; torch inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from functools import cache
import logging
from threading import Lock
from typing import Any
import warnings

from botorch.exceptions import BotorchError
from linear_operator.utils.errors import NanError
from linear_operator.utils.errors import NotPSDError
import torch

from optuna_partition._rules.belief import BeliefFailed


__all__ = ["computing"]

_logger = logging.getLogger(f"optuna.{__name__}")


@contextmanager
def computing(device: str) -> Iterator[None]:
    """Turns what linear algebra raises into `BeliefFailed`, and says so once per process.

    Inside, neither the default device nor the gradients nor the threads are what a user has set
    around a study.
    """
    try:
        # Of fits that stop early, which are good enough. BoTorch sees to it that such warnings are
        # always shown, so that to ignore them is not enough: they are collected, too.
        with (
            _ALONE.held(),
            _default(device),
            torch.inference_mode(False),
            torch.enable_grad(),
            warnings.catch_warnings(record=True),
        ):
            warnings.simplefilter("ignore")
            yield
    except (BotorchError, NanError, NotPSDError, RuntimeError, ValueError) as error:
        _say_once(f"{type(error).__name__}: {error}")
        raise BeliefFailed(str(error)) from error


class _Alone:
    """Has torch compute in the calling thread, and puts its number of threads back afterwards.

    A model's matrices are so small that threads wait for each other more than they compute: on
    cores that are busy several times as long. One thread also adds in one order, so that a search
    is the same whatever the number of cores.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0  # computations, in all threads of this process
        self._usual = 1

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._usual = torch.get_num_threads()
            self._inside += 1
            torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                torch.set_num_threads(self._usual)


_ALONE = _Alone()


def _default(device: str) -> AbstractContextManager[Any]:
    """Makes a device torch's default where a user has set one; it slows every operation."""
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device(device)


@cache
def _say_once(reason: str) -> None:
    _logger.warning(
        "The model of `BaMSOOSampler` could not be fitted; the search goes on as `SOOSampler`'s "
        f"until it can ({reason})."
    )
