"""Part: scores of the stand-in beside lm-eval's own model."""

from __future__ import annotations

from collections.abc import Callable
import os
import time
from typing import Any

import torch

from benchmarks._throughput_work import STANDIN
from benchmarks.gpu.stage import Skipped
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.work import standin
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment


TASK = "standin_validation"
TIES = 0.02  # of the accuracy: in half precision near ties fall to either side


def run(stage: Stage) -> None:
    _check_lm_eval()
    experiment = standin(64)
    scoring = {"objective": TASK, "limit": None if stage.on_gpu else 20}
    experiment = experiment.model_copy(
        update={"scoring": experiment.scoring.model_copy(update=scoring)}
    )
    bench = load_bench(experiment)
    scorer = Scorer.load(experiment.scoring, bench.tokenizer, [TASK])
    _beside_lm_eval(stage, bench, experiment, scorer)


def _check_lm_eval() -> None:
    try:
        import datasets  # noqa: F401
        import lm_eval.models.huggingface  # noqa: F401
    except ImportError as error:
        raise Skipped(
            f"lm-eval finds no {error.name}; where there is a network, "
            'make wheels WITH="pyarrow pandas lxml"'
        ) from None


def _beside_lm_eval(stage: Stage, bench: Bench, experiment: Experiment, scorer: Scorer) -> None:
    first, seconds_first = _timed(lambda: scorer.score(bench.base, TASK))
    found, seconds = _timed(lambda: scorer.score(bench.base, TASK))
    expected, seconds_lm_eval = _timed(lambda: _by_lm_eval(bench, experiment))
    stage.write(
        accuracy=found.value,
        by_lm_eval=expected,
        seconds_first=seconds_first,
        seconds=seconds,
        seconds_lm_eval=seconds_lm_eval,
    )
    if max(abs(found.value - other) for other in (first.value, expected)) > TIES:
        raise AssertionError(f"accuracies {first.value}, {found.value}, by lm-eval {expected}")


def _by_lm_eval(bench: Bench, experiment: Experiment) -> float:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    scoring, tasks = experiment.scoring, str(STANDIN / "tasks")
    os.chdir(tasks)  # where `datasets` looks for a task's data
    lm = HFLM(pretrained=bench.base, tokenizer=bench.tokenizer, batch_size=scoring.batch)
    manager = TaskManager(include_path=tasks, include_defaults=False)
    answers: dict[str, Any] = simple_evaluate(
        lm, tasks=[TASK], task_manager=manager, limit=scoring.limit, bootstrap_iters=0
    )
    return float(answers["results"][TASK]["acc,none"])


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and seconds; the scores are numbers of the CPU by then."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start
