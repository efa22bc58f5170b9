"""The families of curves by name, and their splits; to add one, write a file like `hartmann`."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.compare.families import SPLITS
from benchmarks.curves.families import hartmann
from benchmarks.curves.families import lcbench
from benchmarks.curves.families import standin
from benchmarks.curves.instance import Curves


__all__ = ["FAMILIES", "KEPT", "SPLITS", "find"]

FAMILIES: dict[str, Callable[[int], list[Curves]]] = {  # a shift -> the family's instances
    "standin": standin.instances,
    "short": standin.short,
    "hartmann": hartmann.instances,
    "lcbench": lcbench.instances,
}
KEPT = ("lcbench",)  # for the end: `all` has it on the final split only


def find(family: str, name: str, shift: int) -> Curves:
    """The one of that name: how another process gets it, as functions do not pickle."""
    return next(each for each in FAMILIES[family](shift) if each.instance.name == name)
