"""Peers that are no sampler of Optuna's, and samplers of one's own."""

from __future__ import annotations

from pathlib import Path

from compared import instances
import nlopt
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
import pytest

from benchmarks.compare import hebo
from benchmarks.compare import peers
from benchmarks.compare import results
from benchmarks.compare.__main__ import main
from benchmarks.compare.families import find
from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import NotAvailable
from benchmarks.compare.run import run
from benchmarks.compare.run import Task


def test_nlopt_is_asked_point_by_point() -> None:
    """Through a process, rounding and Optuna, it evaluates what it evaluates on its own."""
    each = find("smooth", "branin", 0)
    made = run(Task("nlopt-direct-l", "smooth", "branin", 0, 0, 1, 40), each)
    assert each.space is not None
    axes = [axis for axis in each.space.values() if isinstance(axis, FloatDistribution)]
    values: list[float] = []

    def record(x: list[float], _: object) -> float:
        point = [axis.low + u * (axis.high - axis.low) for axis, u in zip(axes, x, strict=True)]
        values.append(each.value(dict(zip(each.space or {}, point, strict=True))))
        return values[-1]

    peer = nlopt.opt(nlopt.GN_ORIG_DIRECT_L, 2)
    peer.set_lower_bounds([0.0] * 2)
    peer.set_upper_bounds([1.0] * 2)
    peer.set_min_objective(record)
    peer.set_maxeval(40)
    peer.optimize([0.5] * 2)
    assert made["values"] == pytest.approx(values[:40])


def test_a_sampler_that_needs_a_known_space_says_so() -> None:
    each = find("conditional", "layers", 0)
    with pytest.raises(NotAvailable, match="known beforehand"):
        peers.maker("nlopt-direct-l")(each, 0)


@pytest.mark.parametrize("family", ["integer", "lora", "smooth"])
def test_hebo_s_description_has_the_ends_of_every_axis(family: str) -> None:
    for each in instances(family):
        for name, axis in (each.space or {}).items():
            told = hebo.described(name, axis)
            kinds = told.get("categories", [told.get("lb"), told.get("ub")])
            ends = [hebo.value(axis, kind) for kind in kinds]
            if isinstance(axis, CategoricalDistribution):
                assert ends == list(axis.choices)
            else:
                assert ends == pytest.approx([axis.low, axis.high])  # type: ignore[attr-defined]


def another(instance: Instance, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed + 1)


def test_another_s_sampler_is_named_by_module_and_function(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    main(["run", "--samplers", "test_compare_peers:another", "--families", "smooth", "--problems"]
         + ["branin", "--budget", "5", "--out", str(out)])  # fmt: skip
    assert list(results.read(out))[-1]["sampler"] == "test_compare_peers:another"
