"""Figures of a comparison by matplotlib: the regret over the evaluations, a PNG per family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare.regret import mean
from benchmarks.compare.regret import ratios
from benchmarks.compare.results import Key
from benchmarks.compare.results import Line


POINTS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 35, 50, 70, 100, 140, 200)  # evaluations, where drawn
Curves = dict[str, list[tuple[int, float, float, float]]]  # n, mean, its interval


def regret_figures(lines: dict[Key, Line], folder: Path) -> list[Path]:
    """Writes `all.png` and one file per family; returns their paths."""
    families = sorted({line["family"] for line in lines.values() if line["kind"] == "run"})
    found = {n: ratios(lines, n) for n in POINTS}
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, chosen in {"all": families, **{each: [each] for each in families}}.items():
        path = folder / f"{name}.png"
        _draw(curves(found, chosen), "all families" if name == "all" else name, path)
        drawn.append(path)
    return drawn


def curves(found: dict[int, dict[str, dict]], families: Sequence[str]) -> Curves:
    """Per sampler the mean ratio at each number of evaluations that its runs have."""
    result: Curves = {}
    for n, samplers in found.items():
        for sampler, places in samplers.items():
            values = [ratio for place, ratio in places.items() if place[0] in families]
            if values:
                each = mean(values)
                result.setdefault(sampler, []).append((n, each.value, each.low, each.high))
    return result


def _draw(lines: Curves, title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for sampler, points in sorted(lines.items()):
        n, value, low, high = zip(*points, strict=True)
        (line,) = axes.plot(n, value, label=sampler)
        axes.fill_between(n, low, high, color=line.get_color(), alpha=0.12)
    axes.set(xscale="log", yscale="log", title=title)
    axes.set(xlabel="evaluations", ylabel="regret over random search's")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
