"""The parts of a run in the order of their worth, and the seconds they may take."""

from __future__ import annotations

from typing import NamedTuple


__all__ = ["PARTS", "Part"]


class Part(NamedTuple):
    """One part.

    Attributes:
        name: Of its module in this package.
        usual: Seconds it takes; with fewer left it is passed over.
        limit: Seconds after which it is ended.
        what: A few words for people.
    """

    name: str
    usual: int
    limit: int
    what: str


PARTS = (
    Part("machine", 10, 60, "GPU, driver, versions, a copy and a product"),
    Part("precision", 25, 90, "bfloat16 and packs beside float32, GPU beside CPU, the stand-in"),
    Part("packs", 60, 150, "1, 4 and 8 adapters at once on 1 B, micro-batches of 1 and 4"),
    Part("trainer", 40, 90, "Trainer and peft on the same work"),
    Part("memory", 25, 90, "memory runs out, and batches are halved"),
    Part("study", 40, 120, "six trials by two workers on one GPU"),
    Part("gang", 25, 90, "a gang of one beside this process"),
    Part("suite", 45, 180, "the tests that need a GPU"),
    Part("scoring", 25, 90, "a task's scores beside lm-eval's own"),
    Part("quantized", 25, 90, "a base in 4 bits"),
    Part("shares", 30, 90, "a base in shares on two GPUs"),
)
