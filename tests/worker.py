"""One worker process of the tests: `python worker.py SAMPLER URL STUDY TRIALS SECONDS`.

Asks for cells of a two-dimensional space until the study has TRIALS finished trials; each takes
about SECONDS.
"""

from __future__ import annotations

import random
import sys
import time
import warnings

import optuna
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler
import storage


SAMPLERS = {"soo": SOOSampler, "direct": DIRECTSampler}
SPACE = {"x": FloatDistribution(0, 1), "n": IntDistribution(0, 80)}


def opened(url: str) -> optuna.storages.BaseStorage:
    """Any storage of Optuna's by a URL: journal:PATH, grpc:HOST:PORT, or a database."""
    kind, _, rest = url.partition(":")
    if kind == "journal":
        backend = optuna.storages.journal.JournalFileBackend(rest)
        return optuna.storages.JournalStorage(backend)
    if kind == "grpc":
        host, _, port = rest.partition(":")
        return optuna.storages.GrpcStorageProxy(host=host, port=int(port))
    return storage.open(url)


def main() -> None:
    sampler, url, name, trials, seconds = sys.argv[1:]
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=name,
        storage=opened(url),
        sampler=SAMPLERS[sampler](search_space=dict(SPACE)),
        load_if_exists=True,
    )

    storage.recover(study)

    def objective(trial: optuna.Trial) -> float:
        storage.mark_worker(trial)
        x, n = trial.suggest_float("x", 0, 1), trial.suggest_int("n", 0, 80)
        time.sleep(random.uniform(0, 2 * float(seconds)))
        return (x - 0.3) ** 2 + abs(n - 55) / 80

    def enough(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) >= int(trials):
            study.stop()

    study.optimize(objective, callbacks=[enough])


if __name__ == "__main__":
    main()
