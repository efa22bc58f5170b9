"""The report's figure of learning: each trial's values on the way."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.ticker import PercentFormatter
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.report import canvas
from objectives.report import scales
from objectives.report.history import History


__all__ = ["Curve", "curves", "learning_curves"]

LOSSES = "validation_losses"
"""User attribute: [step, loss] each."""
Curve = list[tuple[float, float]]
"""Share of the training that was done, validation loss; or what was reported, the best so far."""


def curves(history: History) -> dict[int, Curve]:
    """By number of the complete and the pruned trials; none where each took a single loss.

    A loss that went to a pruner was reported under the parts of the training done then, and a
    trial that was not pruned has reported all parts. Where none was, the last was at the end. Of
    a trial without losses of its own, what it reported is shown.
    """
    ended = [*history.complete, *history.that_are(TrialState.PRUNED)]
    parts = max((part for trial in ended for part in trial.intermediate_values), default=0) or 1
    found = {trial.number: _curve(trial, parts) for trial in ended}
    several = any(len(curve) > 1 for curve in found.values())
    return {number: curve for number, curve in found.items() if curve} if several else {}


def _curve(trial: FrozenTrial, parts: int) -> Curve:
    by_step = trial.user_attrs.get(LOSSES, [])
    reported = sorted(trial.intermediate_values)
    if not by_step:
        return [(part / parts, trial.intermediate_values[part]) for part in reported]
    if len(reported) == len(by_step):
        return [(part / parts, loss) for part, (_, loss) in zip(reported, by_step, strict=True)]
    if trial.state == TrialState.PRUNED:
        return []
    return [(step / by_step[-1][0], loss) for step, loss in by_step]


def learning_curves(history: History, width: float = 10.0) -> Figure:
    """A line for each trial, the best one's on top; pruned ones are dotted and end in a ring."""
    figure = Figure(figsize=(width, min(3.8, 0.75 * width)))
    axes = figure.add_subplot()
    known = curves(history)
    losses = any(LOSSES in trial.user_attrs for trial in history.trials)
    reached = [value for curve in known.values() for _, value in curve]
    window = scales.value_window(reached, minimise=losses or history.minimise)
    shown = {n: [(x, window.clip(loss)) for x, loss in curve] for n, curve in known.items()}
    _lines(axes, _of(history.complete, shown), color=canvas.PALE, label="complete")
    pruned = _of(history.that_are(TrialState.PRUNED), shown)
    _lines(axes, pruned, color=canvas.MUTED, linestyle=(0, (2, 2)))
    _ends(axes, pruned)
    _best(axes, history, shown)
    _label(axes, window, "validation loss" if losses else f"best {history.value_name} so far")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _of(trials: Sequence[FrozenTrial], shown: Mapping[int, Curve]) -> list[Curve]:
    return [shown[trial.number] for trial in trials if trial.number in shown]


def _lines(axes: Axes, lines: Sequence[Curve], **look: Any) -> None:
    if lines:
        axes.add_collection(LineCollection(lines, linewidths=1.1, **look))


def _ends(axes: Axes, lines: Sequence[Curve]) -> None:
    if lines:
        x, y = zip(*(line[-1] for line in lines), strict=True)
        axes.scatter(x, y, s=20, zorder=3, label="pruned", **canvas.RING)


def _best(axes: Axes, history: History, shown: Mapping[int, Curve]) -> None:
    if history.best is not None and history.best.number in shown:
        x, y = zip(*shown[history.best.number], strict=True)
        label = f"best (trial {history.best.number})"
        axes.plot(x, y, color=canvas.BLUE, lw=2.2, zorder=2.5, label=label)


def _label(axes: Axes, window: scales.Window, what: str) -> None:
    axes.set(xlabel="share of the training", ylabel=what)
    axes.set(xlim=(0, 1.02), ylim=window.padded())
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_locator(MaxNLocator(5))
