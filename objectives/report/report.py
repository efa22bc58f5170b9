"""Writes a study's report into a folder: a self-contained HTML page, and each figure as a PNG."""

from __future__ import annotations

import base64
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from objectives.output import unwritable
from objectives.report import canvas
from objectives.report import figures
from objectives.report import page
from objectives.report.curves import curves
from objectives.report.curves import learning_curves
from objectives.report.given import CellBox
from objectives.report.given import FinalRow
from objectives.report.given import Told
from objectives.report.history import History
from objectives.report.history import importance
from objectives.report.partition import partition
from objectives.report.partition import ToUnit


__all__ = ["write_report"]

# Inches. The page shows the wide figure, and the narrow one with fewer columns on a phone.
WIDE, NARROW = 10.0, 4.6


@dataclass(frozen=True)
class Section:
    """A figure of the report; an empty heading is left out.

    Attributes:
        draw: Takes its width in inches.
        tells: Whether it has something to show.
    """

    slug: str
    heading: str
    caption: str
    draw: Callable[[float], Figure]
    tells: bool


def write_report(
    study: optuna.Study,
    folder: Path,
    *,
    title: str,
    space: Mapping[str, BaseDistribution],
    value_name: str = "value",
    cells: Sequence[CellBox] = (),
    to_unit: ToUnit | None = None,
    told: Told | None = None,
) -> Path:
    """Writes `report.html`, readable alone, and `<figure>.png` beside it; old ones are replaced.

    Works on any single-objective study, also one without a single finished trial; a figure that
    has nothing to show is left out.

    Args:
        study: The study, finished or not.
        folder: Made when it is not there.
        title: First line of the report.
        space: The searched parameters.
        value_name: What the study's values are.
        cells: The cells of the partition; none: no figure of the partition.
        to_unit: Parameters -> shares 0..1 of their axes as the cells have them; by default each
            parameter's own linear or log scale.
        told: What is not in the trials; None: nothing.

    Returns:
        The path of the page.

    Raises:
        UserError: When the folder cannot be written.
    """
    told = told or Told()
    chosen = told.beliefs[0].trial if told.beliefs else None
    history = History.of(study, space, value_name, chosen)
    shares = importance(history)
    sections = _sections(history, shares, cells, to_unit, told.final)
    drawn = {section.slug: _drawn(section) for section in sections}
    html = [text for text, _ in drawn.values()]
    text = page.render(title, history, shares, html, told)
    pictures = {slug: picture for slug, (_, picture) in drawn.items()}
    try:
        return _write(folder, text, pictures)
    except OSError as error:
        raise unwritable(folder, error) from None


def _sections(
    history: History,
    shares: Mapping[str, float],
    cells: Sequence[CellBox],
    to_unit: ToUnit | None,
    final: Sequence[FinalRow],
) -> list[Section]:
    """The figures that have something to show, in the order of the page."""
    rings = "Rings are pruned trials. " if history.that_are(TrialState.PRUNED) else ""
    crosses = "Crosses are failed trials. " if history.that_are(TrialState.FAIL) else ""
    few = "With fewer than 30 trials take this as a hint. " if len(history.complete) < 30 else ""
    names, searched = list(shares)[:2], bool(history.complete and shares)
    sections = [
        Section(
            "final_scores",
            "",  # it stands below its table
            "The same scores with one standard error; the dashed line is the untuned base.",
            partial(figures.final_scores, final),
            any(row.scores for row in final),
        ),
        Section(
            "progress",
            "Best so far",
            "Every trial's value and the best found so far. Trials without a value, and values "
            "off the scale, are drawn at the edge.",
            partial(figures.progress, history),
            bool(history.trials),
        ),
        Section(
            "learning_curves",
            "Learning curves",
            "What each trial had reached, by the share of its training that was done. What is off "
            f"the scale is drawn at the edge. {rings}",
            partial(learning_curves, history),
            bool(curves(history)),
        ),
        Section(
            "parameters_by_value",
            f"Parameters and {history.value_name}",
            "Most important parameter first: how much of the ranking of the trials is explained "
            "by the third of its range (or the category) that a trial lies in. Where no number "
            f"stands, it is no more than chance would explain. {few}{rings}The star is the best "
            "trial.",
            partial(figures.parameters_by_value, history, shares),
            searched,
        ),
        Section(
            "parameters_by_trial",
            "Where the search looked",
            f"Each parameter over the course of the study: the darker, the better. {crosses}"
            f"{rings}The star is the best trial.",
            partial(figures.parameters_by_trial, history, shares),
            searched,
        ),
        Section(
            "partition",
            "The partition",
            f"All {len(cells):,} cells, projected on {' and '.join(names)}: the search refines "
            f"where it found good values. {crosses}{rings}The star is the best trial.",
            partial(partition, history, cells, names, to_unit),
            searched and bool(cells),
        ),
        Section(
            "times",
            "Time per trial",
            "Where the time of each trial went. Parts that took less than 1 % in all are left "
            "out.",
            partial(figures.times, history),
            history.seconds() > 0,
        ),
    ]
    return [section for section in sections if section.tells]


def _drawn(section: Section) -> tuple[str, bytes]:
    """The section as HTML, and its picture as PNG."""
    with rc_context(canvas.STYLE):
        figure = canvas.laid_out(section.draw(WIDE))
        wide, picture = _data_uri(figure), _rendered(figure, "png")
        narrow = _data_uri(canvas.laid_out(section.draw(NARROW)))
    html = page.figure(section.slug, section.heading, section.caption, wide, narrow)
    return html, picture


def _data_uri(figure: Figure) -> str:
    """The figure as SVG: an image of its own, so that the ids of two figures cannot clash."""
    return f"data:image/svg+xml;base64,{base64.b64encode(_rendered(figure, 'svg')).decode()}"


def _rendered(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {}
    figure.savefig(buffer, format=form, dpi=200, metadata=metadata)
    return buffer.getvalue()


def _write(folder: Path, text: str, pictures: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        (folder / f"{name}.png").write_bytes(picture)
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path
