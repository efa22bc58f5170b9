"""The best trials of a study, by what the library believes of them."""

from __future__ import annotations

import optuna

from objectives.report.given import Belief
from optuna_partition import ranked_trials


__all__ = ["believed"]


def believed(study: optuna.Study) -> list[Belief]:
    """The best first; none where BoTorch or a model of the study is lacking."""
    try:
        found = ranked_trials(study)
    except ImportError:
        return []
    return [
        Belief(best.trial.number, best.value, best.mean, best.low, best.high, best.repeats)
        for best in found
        if best.believed
    ]
