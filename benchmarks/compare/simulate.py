"""Asynchronous workers in simulated time; knows no sampler and no problem."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import heapq
import math
import random
from typing import TypeVar


Asked = TypeVar("Asked")
SIGMA = 0.5  # of the logarithm of an evaluation's duration, whose median is 1


def asynchronous(
    ask: Callable[[], Asked],
    tell: Callable[[Asked], None],
    workers: int,
    budget: int,
    chance: random.Random,
) -> Iterator[float]:
    """Asks and tells in the order of simulated time; yields when each evaluation has ended.

    Each worker evaluates for a lognormal time and asks again at once, so that up to `workers`
    trials run at any ask. With one worker this is ask, tell, ask, tell.
    """
    running: list[tuple[float, int, Asked]] = []

    def start(now: float, number: int) -> None:
        asked = ask()
        heapq.heappush(running, (now + math.exp(chance.gauss(0, SIGMA)), number, asked))

    for number in range(min(workers, budget)):
        start(0.0, number)
    for told in range(1, budget + 1):
        now, _, asked = heapq.heappop(running)
        tell(asked)
        yield now
        if told + len(running) < budget:
            start(now, told + len(running))
