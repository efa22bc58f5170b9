"""How torch and what comes with it is started: how its threads wait, what its import costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import gc
import os


__all__ = ["importing", "wait_gently"]


def wait_gently() -> None:
    """Lets torch's threads sleep soon, unless someone has said how; before torch is loaded.

    By default they spin for milliseconds: with one busy neighbour on a machine of two processors
    a trial of 11 s took more than 7 min, and takes 20 s so. Ranks and workers read it as well.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@contextmanager
def importing() -> Iterator[None]:
    """Around imports of seconds: nothing is searched for garbage meanwhile.

    They make hundreds of thousands of objects that stay, and Python looks through them again and
    again. That was a fifth of the time in which torch, transformers and peft are loaded.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
