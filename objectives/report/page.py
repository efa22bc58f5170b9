"""The HTML of a study's report: text in, text out; every text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import datetime
from html import escape
import math
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from objectives.record import FAILURE
from objectives.report import scales
from objectives.report.given import Belief
from objectives.report.given import FinalRow
from objectives.report.given import SampleAnswer
from objectives.report.given import Told
from objectives.report.history import duration
from objectives.report.history import History
from objectives.report.history import state_of
from objectives.report.history import value_of
from objectives.report.spent import spent


__all__ = ["figure", "render"]

NONE = "–"
VALIDATION_LOSS = "validation loss"
SCORES = "scores"  # a trial's attribute: task -> (score, error), where the value is their mean
BEST = 5  # trials that are shown with what is expected of them
BELIEVED = (
    "The best value may be the luckiest. What is expected is what a model of all trials says, "
    "and the best trial is the best by that."
)

ANSWERS = (
    "To prompts of the validation rows, and none of the test: word by word what is likeliest."
)

STYLE = """
:root { color-scheme: light; --ink: #1f2933; --muted: #66727f; --line: #e1e6ea; --blue: #2f6690; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem; background: white;
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 3rem 0 .3rem; }
p { margin: 0 0 1rem; max-width: 46rem; }
.muted, figcaption, caption { color: var(--muted); font-size: .92rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr));
  gap: .8rem; margin: 1.6rem 0; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; font-weight: 650;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tile span { color: var(--muted); font-size: .85rem; display: block; }
.columns h2 { margin-top: 1.2rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
  gap: 0 3rem; }
figure { margin: 0; } figcaption { margin-bottom: .8rem; max-width: 46rem; }
img { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; margin-bottom: 1.6rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
.wide { width: 100%; }
th, td { padding: .32rem .9rem .32rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 500; }
td:first-child { white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
.answers td { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
td.why { min-width: 14rem; overflow-wrap: anywhere; } td small { color: var(--muted); }
tr.best td { background: #eef4f9; font-weight: 600; } tr.off td { color: var(--muted); }
@media (max-width: 640px) { body { padding: 1.2rem 1rem 3rem; } h1 { font-size: 1.5rem; } }
@media print { body { padding: 0; max-width: none; font-size: 12px; } h2 { margin-top: 1.5rem; }
  figure, tr, .tile { break-inside: avoid; } h2 { break-after: avoid; }
  .scroll { overflow: visible; } table { font-size: .75rem; } @page { margin: 1.5cm; } }
"""


def render(
    title: str,
    history: History,
    shares: Mapping[str, float],
    sections: Sequence[str],
    told: Told,
) -> str:
    """The whole page.

    Args:
        title: The study's title.
        history: The trials.
        shares: Parameter -> importance, most important first.
        sections: The figures, as `figure` returns them.
        told: What is not in the trials.
    """
    body = [
        f"<h1>{_text(title)}</h1>",
        _subtitle(history),
        _tiles(history, told.device),
        _facts(history, shares, told.settings),
        _best_table(told.beliefs, history),
        _final_table(told.final, told.final_note, history.value_name),
        *sections,
        _answers_table(told.answers),
        _trials_table(history),
        f"<h2>Next</h2><p>{_text(told.closing)}</p>" if told.closing else "",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def figure(slug: str, heading: str, caption: str, wide: str, narrow: str) -> str:
    """A section with one picture; `wide` and `narrow` are its data URIs, for screen and phone."""
    title = f"<h2>{_text(heading)}</h2>\n" if heading else ""
    return (
        f'<section id="{_text(slug)}">\n{title}'
        f"<figure><figcaption>{_text(caption)}</figcaption>\n"
        f'<picture><source media="screen and (max-width: 640px)" srcset="{narrow}">'
        f'<img src="{wide}" alt="{_text(caption)}"></picture></figure>\n'
        "</section>"
    )


# -- head ----------------------------------------------------------------------------------------


def _subtitle(history: History) -> str:
    direction = "minimised" if history.minimise else "maximised"
    starts = [t.datetime_start for t in history.trials if t.datetime_start]
    ends = [t.datetime_complete for t in history.trials if t.datetime_complete]
    span = f" · {_moment(min(starts))} to {_moment(max(ends))}" if starts and ends else ""
    what = history.value_name[:1].upper() + history.value_name[1:]
    return f'<p class="muted">{_text(what)}, {direction}{span}</p>'


def _moment(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M")


def _tiles(history: History, device: str) -> str:
    counts = history.counts()
    states = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none yet"
    ended = [duration(t) for t in history.complete]
    each = f"{scales.seconds(sum(ended) / len(ended))} per complete trial" if ended else NONE
    best = history.best
    shown = (_value(best.value), f"trial {best.number}") if best else (NONE, "no complete trial")
    tiles = [
        (f"best {history.value_name}", *shown),
        ("trials", str(len(history.trials)), states),
        ("time in trials", scales.seconds(history.seconds()), each),
        *_spent_tiles(history, device),
    ]
    return f'<div class="tiles">{"".join(_tile(*tile) for tile in tiles)}</div>'


def _spent_tiles(history: History, device: str) -> list[tuple[str, str, str]]:
    """What the trainings took, and what stopping them saved; none where no trial tells."""
    took = spent(history.trials)
    if not took.steps_in_all:
        return []
    share = f"{took.steps / took.steps_in_all:.0%} of {took.steps_in_all:,} without stopping"
    saved = f"{took.saved / 3600:.3g} saved by stopping" if took.saved else "none was stopped"
    return [
        ("steps", f"{took.steps:,}", share),
        (f"{device}-hours", f"{took.seconds / 3600:.3g}", saved),
    ]


def _tile(name: str, number: str, note: str) -> str:
    texts = f"<span>{_text(name)}</span><b>{number}</b><span>{_text(note)}</span>"
    return f'<div class="tile">{texts}</div>'


def _facts(history: History, shares: Mapping[str, float], settings: Mapping[str, str]) -> str:
    best = history.best.params if history.best else {}
    names = [*(n for n in shares if n in best), *(n for n in best if n not in shares)]
    params = [(n, scales.number(best[n])) for n in names]
    lists = _pairs("Best parameters", params) + _pairs("Settings", settings.items())
    return f'<div class="columns">{lists}</div>' if lists else ""


def _pairs(heading: str, pairs: Iterable[tuple[str, str]]) -> str:
    rows = [f"<tr><th>{_text(name)}</th><td>{_text(text)}</td></tr>" for name, text in pairs]
    if not rows:
        return ""
    return f'<div><h2>{heading}</h2><table class="wide">{"".join(rows)}</table></div>'


# -- tables --------------------------------------------------------------------------------------


def _best_table(beliefs: Sequence[Belief], history: History) -> str:
    """The trials that a model takes for the best, and the one whose value is."""
    if not beliefs:
        return ""
    by_value = sorted(beliefs, key=lambda b: b.value if history.minimise else -b.value)
    shown = list(dict.fromkeys([*beliefs[:BEST], by_value[0]]))
    head = ["trial", history.value_name, "expected", "95 % interval", "trials there"]
    rows = [(_belief_cells(each), "best" if each is shown[0] else "") for each in shown]
    table = _table(head, rows, numeric=range(len(head)))
    return f'<h2>Best trials</h2><p class="muted">{BELIEVED}</p>{table}'


def _belief_cells(belief: Belief) -> list[str]:
    interval = f"{_value(belief.low)} to {_value(belief.high)}"
    return [
        *(str(belief.trial), _value(belief.value), _value(belief.mean), interval),
        str(belief.repeats),
    ]


def _final_table(final: Sequence[FinalRow], final_note: str, value_name: str) -> str:
    if not final:
        return ""
    tasks = list(dict.fromkeys(task for row in final for task in row.scores))
    base = next((row for row in final if row.name == "base"), None)
    titles = [next(row.heading(task) for row in final if task in row.scores) for task in tasks]
    twice = value_name == VALIDATION_LOSS or _shown_anyway(final, tasks)
    values = [] if twice else [value_name]
    rows = [_final_cells(row, tasks, base, bool(values)) for row in final]
    head = ["", *values, VALIDATION_LOSS, *titles]
    note = (
        f'<p class="muted">{_text(final_note)} Scores ± standard error; '
        "below them the difference from the base.</p>"
    )
    table = _table(head, [(cells, "") for cells in rows], numeric=range(1, len(head)))
    return f"<h2>Final test</h2>{note if tasks else ''}{table}"


def _shown_anyway(final: Sequence[FinalRow], tasks: Sequence[str]) -> bool:
    """Whether every value is the row's validation loss, or its score on a task of the test."""
    columns: list[list[float | None]] = [[row.validation_loss for row in final]]
    columns += [[row.scores.get(task, (None,))[0] for row in final] for task in tasks]
    return any(all(map(_same, final, column)) for column in columns)


def _same(row: FinalRow, other: float | None) -> bool:
    """Taken with other batches, a loss differs by float rounding."""
    if row.value is None or other is None:
        return row.value is None
    return math.isclose(row.value, other, rel_tol=1e-4)


def _final_cells(
    row: FinalRow, tasks: Sequence[str], base: FinalRow | None, with_value: bool
) -> list[str]:
    scores = [_score(row, task, base) for task in tasks]
    value = [_value(row.value)] if with_value else []
    return [_text(row.name), *value, _value(row.validation_loss), *scores]


def _score(row: FinalRow, task: str, base: FinalRow | None) -> str:
    if task not in row.scores:
        return NONE
    text = row.told(task)
    if base is None or base is row or task not in base.scores:
        return text
    return f"{text}<br><small>{row.scores[task][0] - base.scores[task][0]:+.4f}</small>"


def _answers_table(answers: Sequence[SampleAnswer]) -> str:
    if not answers:
        return ""
    head = ["prompt", "base", "best adapter", "the row's own"]
    rows = [
        ([_lines(text) for text in (each.prompt, each.base, each.best, each.expected)], "")
        for each in answers
    ]
    note = f'<p class="muted">{ANSWERS}</p>'
    return f'<h2>Answers</h2>{note}<div class="answers">{_table(head, rows, numeric=())}</div>'


def _lines(text: str) -> str:
    return _text(text).replace("\n", "<br>")


def _trials_table(history: History) -> str:
    if not history.trials:
        return "<h2>All trials</h2><p>No trials yet.</p>"
    names = list(dict.fromkeys([*history.space, *(n for t in history.trials for n in t.params)]))
    failures = any(FAILURE in t.user_attrs for t in history.trials)
    failure = ["failure"] if failures else []
    tasks = sorted({task for t in history.trials for task in t.user_attrs.get(SCORES, ())})
    head = ["trial", "state", history.value_name, *tasks, "time", *names, *failure]
    rows = [
        (_trial_cells(t, tasks, names, failures), _row_class(t, history)) for t in history.trials
    ]
    numeric = [0, *range(2, 4 + len(tasks) + len(names))]
    return f"<h2>All trials</h2>{_table(head, rows, numeric)}"


def _trial_cells(
    trial: FrozenTrial, tasks: Sequence[str], names: Sequence[str], failures: bool
) -> list[str]:
    took = scales.seconds(duration(trial)) if duration(trial) else NONE
    params = [_text(scales.number(trial.params[n])) if n in trial.params else NONE for n in names]
    why = [_text(trial.user_attrs.get(FAILURE, ""))] if failures else []
    of_tasks = trial.user_attrs.get(SCORES, {})
    scores = [_value(of_tasks.get(task, (None,))[0]) for task in tasks]
    state = state_of(trial)
    return [str(trial.number), state, _value(value_of(trial)), *scores, took, *params, *why]


def _row_class(trial: FrozenTrial, history: History) -> str:
    if trial is history.best:
        return "best"
    return "" if trial.state == TrialState.COMPLETE else "off"


def _table(
    head: Sequence[str], rows: Sequence[tuple[Sequence[str], str]], numeric: Iterable[int]
) -> str:
    """A table that scrolls sideways on a phone; `head` is plain text, `rows` hold HTML."""
    kinds = ["n" if i in set(numeric) else "" for i in range(len(head))]
    kinds = ["why" if name == "failure" else kind for name, kind in zip(head, kinds, strict=True)]
    top = "".join(f'<th class="{k}">{_text(h)}</th>' for h, k in zip(head, kinds, strict=True))
    body = "\n".join(
        f'<tr class="{look}">'
        + "".join(f'<td class="{k}">{c}</td>' for c, k in zip(cells, kinds, strict=True))
        + "</tr>"
        for cells, look in rows
    )
    return (
        f'<div class="scroll"><table class="wide"><thead><tr>{top}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


# -- text ----------------------------------------------------------------------------------------


def _value(value: float | None) -> str:
    if value is None or math.isnan(value):
        return NONE
    return scales.value(value)


def _text(anything: Any) -> str:
    return escape(str(anything), quote=True)
