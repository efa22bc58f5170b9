"""The problem families by name; to add one, write a file like `integer.py` and list it here."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.compare.families import bbob
from benchmarks.compare.families import conditional
from benchmarks.compare.families import constrained
from benchmarks.compare.families import failing
from benchmarks.compare.families import integer
from benchmarks.compare.families import lora
from benchmarks.compare.families import noisy
from benchmarks.compare.families import real
from benchmarks.compare.families import sklearn
from benchmarks.compare.families import smooth
from benchmarks.compare.families import trained
from benchmarks.compare.instance import Instance


FAMILIES: dict[str, Callable[[int], list[Instance]]] = {  # a shift -> the family's instances
    "smooth": smooth.instances,
    "bbob": bbob.instances,
    "lora": lora.instances,
    "real": real.instances,
    "noisy": noisy.instances,
    "conditional": conditional.instances,
    "integer": integer.instances,
    "constrained": constrained.instances,
    "failing": failing.instances,
    "sklearn": sklearn.instances,
    **{family: trained.instances(suite) for suite, family in trained.FAMILIES.items()},
}
SPLITS = {"tune": 0, "final": 1000}  # the first shift; nobody tunes on the final ones


def find(family: str, name: str, shift: int) -> Instance:
    """The instance of that name: how another process gets it, as functions do not pickle."""
    return next(each for each in FAMILIES[family](shift) if each.name == name)
