"""The runner that a notebook's calls share: a base is loaded once, until another is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from objectives.errors import UserError
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.settings.combinations import check_combinations
from objectives.settings.config import Experiment
from objectives.training.runner import load_scorer
from objectives.training.runner import Runner


__all__ = ["shared_runner"]


@dataclass(frozen=True)
class _Held:
    experiment: Experiment
    bench: Bench
    runner: Runner


_held: list[_Held] = []  # the last one


def shared_runner(experiment: Experiment) -> Runner:
    """Trains and scores, on the base that is loaded if that is the experiment's.

    Raises:
        UserError: The experiment cannot be run here.
    """
    if _held and _held[0].experiment == experiment:
        return _held[0].runner
    check_combinations(experiment, experiment.study)
    if experiment.model.sharded:
        raise UserError(
            "`[model] sharded` = true: shares are for several processes, which "
            "`python -m objectives.tune` starts; leave sharded out here"
        )
    bench = _bench(experiment)
    scorer = load_scorer(experiment, bench.tokenizer, test=False)
    _held[:] = [_Held(experiment, bench, Runner(experiment, bench, scorer))]
    return _held[0].runner


def _bench(experiment: Experiment) -> Bench:
    """`[scoring]` and `[study]` change neither base nor data."""
    own = {name: getattr(experiment, name) for name in ("scoring", "study")}
    if _held and _held[0].experiment.model_copy(update=own) == experiment:
        return _held[0].bench
    _held.clear()  # before the next one takes memory
    return load_bench(experiment)
