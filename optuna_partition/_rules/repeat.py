"""Whether to evaluate a point twice can tell anything; reads a tree."""

from __future__ import annotations

from optuna_partition._core.tree import Tree


__all__ = ["tells"]


def tells(tree: Tree) -> bool:
    """Whether values of one point may differ.

    Nobody knows before a point has two. Where all that were evaluated twice gave the same value,
    the objective has no noise, and one evaluation was the price of knowing.
    """
    repeated = [len(set(values)) > 1 for values in tree.repeated()]
    return any(repeated) or not repeated
