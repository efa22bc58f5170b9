"""Cold start of a worker: `python benchmarks/cold.py [--trials 1000 10000]`.

A worker that joins a long study has to read its trials, and a partition sampler then folds them
into a tree. Both are timed on SQLite, with nothing cached: Optuna's own read of the study, then
the first ask, beside the asks that follow. Six float parameters, as in `ask.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import statistics
import sys
import tempfile
import time

import optuna


sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks._asks import grown
from benchmarks._asks import SPACE
from benchmarks._asks import timed_ask
from benchmarks.ask import SAMPLERS


def written(study: optuna.Study, url: str) -> None:
    """Puts the study in a database."""
    optuna.copy_study(
        from_study_name=study.study_name,
        from_storage=study._storage,
        to_storage=url,
        to_study_name="cold",
    )


def measured(name: str, url: str, asks: int) -> tuple[float, float, float]:
    """Seconds of Optuna's read, of the first ask after it, and of a later one (median)."""
    study = optuna.load_study(study_name="cold", storage=url, sampler=SAMPLERS[name](SPACE))
    start = time.perf_counter()
    study._storage.get_all_trials(study._study_id, deepcopy=False)
    read = time.perf_counter() - start
    first = timed_ask(study)
    return read, first, statistics.median(timed_ask(study) for _ in range(asks))


def main() -> None:
    parser = argparse.ArgumentParser(description="cold start of a worker, sampler by sampler")
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--samplers", nargs="+", default=["soo", "direct", "tpe"])
    parser.add_argument("--asks", type=int, default=5, help="later asks of each sampler")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(" trials  sampler   read s  first ask s  later ask s")
    for n in arguments.trials:
        for name in arguments.samplers:
            with tempfile.TemporaryDirectory() as folder:
                url = f"sqlite:///{Path(folder) / 'study.db'}"
                written(grown(SAMPLERS[name](SPACE), n), url)
                read, first, later = measured(name, url, arguments.asks)
            print(f"{n:>7}  {name:<7}  {read:>7.2f}  {first:>11.2f}  {later:>11.3f}", flush=True)


if __name__ == "__main__":
    main()
