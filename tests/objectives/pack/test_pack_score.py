"""Packs scored in one pass: the scores of adapters alone, and what is left to others."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
import json
import logging
import math
from pathlib import Path
import random
import time
from typing import Any

import pytest
import torch

from objectives.job import Failed
from objectives.job import Finished
from objectives.job import Job
from objectives.job import Training
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import new_adapter
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.pack import score as pack_score
from objectives.pack.score import Packed
from objectives.pack.score import PackScorer
from objectives.scoring.prefix_forward import Likelihood
from objectives.scoring.prefix_forward import log_likelihoods
from objectives.scoring.prefix_forward import plan_for
from objectives.scoring.prefix_tree import Plan
from objectives.scoring.prefix_tree import Request
from objectives.scoring.score import Score
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.search_space import Hyperparameters
from objectives.settings.sections import ScoringSettings
from objectives.settings.sections import TrainingSettings


pytestmark = pytest.mark.usefixtures("packs_as_on_a_gpu")

TRAINING = Training(2.0, 1000, 0.1, 1.0)
CHOSEN = [
    Hyperparameters(1e-3, 0.0, rank=4, alpha=8, dropout=0.5, effective_batch=8),
    Hyperparameters(1e-3, 0.0, rank=1, alpha=3, dropout=0.0, effective_batch=8),
    Hyperparameters(1e-3, 0.0, 40, 64, 0.1, 8, rslora=True, targets="attention"),
]
PREFIX = tuple(range(3, 303))  # before each of 8 questions: worth keeping
REQUESTS = [
    *(Request((*PREFIX, 7 + q, 9, 11 + e), (11 + e, 5)) for q in range(8) for e in range(3)),
    *(Request((q, *range(20 + q, 60)), (q + 1,)) for q in range(9)),
]
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: questions.jsonl, train: questions.jsonl}}}}
test_split: test
training_split: train
doc_to_text: "{{{{query}}}}"
{more}
"""
CHOICES = "output_type: multiple_choice\ndoc_to_choice: choices\ndoc_to_target: {target}\n"
ACCURACY = "metric_list: [{metric: acc}]"
TASKS = {
    "first": CHOICES.format(target="gold") + ACCURACY,
    "second": CHOICES.format(target="other") + ACCURACY,
    "beliefs": CHOICES.format(target="gold")
    + "metric_list: [{metric: brier_score, higher_is_better: false}]",
    "judged": CHOICES.format(target="gold")
    + "process_results: !function judge.surprise\n"
    + "metric_list: [{metric: surprise, aggregation: mean, higher_is_better: true}]",
    "generation": 'output_type: generate_until\ndoc_to_target: "sky"\n'
    'generation_kwargs: {until: ["."], max_gen_toks: 3}\nmetric_list: [{metric: exact_match}]',
}
JUDGE = """
import math


def surprise(doc, results):
    return {"surprise": math.floor(-1e6 * min(nats for nats, _ in results)) / 1e6}
"""


def write_tasks(folder: Path) -> Path:
    """A group `pair` of the first two, a generation, and a rule that cannot take nan.

    With this seed the best answers of a question are no nearer than 4e-4 nats, which is 100 times
    the rounding: scores that count answers are equal, whatever the processor.
    """
    draw = random.Random(1)
    words = [f" {verb} {noun}" for verb in ("Name", "Sort") for noun in ("song", "river", "9")]
    questions = [
        {
            "query": f"Question {i}: {draw.random()}?",
            "choices": draw.sample(words, 4),
            "gold": draw.randrange(4),
            "other": draw.randrange(4),
        }
        for i in range(40)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    (folder / "judge.py").write_text(JUDGE)
    for name, more in TASKS.items():
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, more=more))
    group = "group: pair\ntask: [first, second]\naggregate_metric_list: [{metric: acc}]\n"
    (folder / "pair.yaml").write_text(group)
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture
def jobs(bench: Bench, tmp_path: Path) -> list[Job]:
    return [job(bench, tmp_path, n) for n in range(len(CHOSEN))]


def job(bench: Bench, folder: Path, number: int, size: float = 0.2) -> Job:
    """Of a saved adapter with random weights."""
    model = new_adapter(bench, TrainingSettings(), CHOSEN[number])
    generator = torch.Generator().manual_seed(number)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data.copy_(torch.randn(weight.shape, generator=generator) * size)
    save_adapter(model, folder / str(number))
    release(bench, model)
    return Job(number, CHOSEN[number], str(folder / str(number)), 8, 32, trained=TRAINING)


Together = Callable[[Sequence[Job]], list[Any]]


@pytest.fixture
def ways(bench: Bench, tiny_experiment: Experiment, tasks: Path) -> Callable[..., Any]:
    """How a task scores adapters together, and alone."""

    def make(
        task: str, few_shot: int | None = None
    ) -> tuple[Together, Callable[[Sequence[Job]], list[Score]]]:
        settings = ScoringSettings(objective=task, few_shot=few_shot, tasks=str(tasks), limit=35)
        loading = settings.model_copy(update={"objective": "loss"})  # asks for no metric
        scorer = Scorer.load(loading, bench.tokenizer, [task])
        pack = PackScorer(tiny_experiment.model_copy(update={"scoring": settings}), bench, scorer)

        def alone(jobs: Sequence[Job]) -> list[Score]:
            return [score_alone(bench, scorer, task, each) for each in jobs]

        return lambda jobs: pack(jobs, [TRAINING] * len(jobs)), alone

    return make


def score_alone(bench: Bench, scorer: Scorer, task: str, job: Job) -> Score:
    model = load_adapter(bench, Path(job.adapter))
    score = scorer.score(model, task)
    release(bench, model)
    return score


@contextmanager
def forwards(bench: Bench, rows: float = math.inf) -> Iterator[list[int]]:
    """Rows of each forward of trees; no memory for one with more than that."""
    seen: list[int] = []

    def forward_pre_hook(_: object, __: object, arguments: dict[str, Any]) -> None:
        if "position_ids" in arguments:
            seen.append(len(arguments["input_ids"]))
            if seen[-1] > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with bench.base.register_forward_pre_hook(forward_pre_hook, with_kwargs=True):
        yield seen


@pytest.mark.parametrize(
    ("task", "few_shot"),
    [("first", None), ("first", 8), ("pair", None), ("beliefs", None), ("judged", None)],
)
def test_scores_are_those_of_adapters_alone(
    ways: Callable[..., Any], bench: Bench, jobs: list[Job], task: str, few_shot: int | None
) -> None:
    together, alone = ways(task, few_shot)
    expected = alone(jobs)
    with forwards(bench) as seen:
        outcomes = together(jobs)
    assert seen and all(rows % len(jobs) == 0 for rows in seen)
    assert len({score.value for score in expected}) == len(jobs)
    for outcome, score in zip(outcomes, expected, strict=True):
        assert isinstance(outcome, Finished) and outcome.training == TRAINING
        exact = score.metric == "acc"
        assert outcome.value == (score.value if exact else pytest.approx(score.value, rel=1e-4))
        error = score.stderr if exact else pytest.approx(score.stderr, rel=1e-4, nan_ok=True)
        assert outcome.stderr == error
        assert outcome.peak_memory > 2**20


def alone_likelihoods(bench: Bench, job: Job, plan: Plan) -> list[Likelihood]:
    model = load_adapter(bench, Path(job.adapter))
    (found,) = log_likelihoods(model, plan)
    release(bench, model)
    return found


PACKS, AT_ONCE, BATCHES = [(0, 1), (2, 1, 0), (1, 1, 1, 0, 2)], [1, 2, 5], [1, 3, 64]


@pytest.mark.parametrize(
    ("members", "at_once", "batch"),  # each with each of each other
    [(PACKS[i], AT_ONCE[j], BATCHES[(i + j) % 3]) for i in range(3) for j in range(3)],
)
def test_likelihoods_depend_on_no_batch_and_no_other_adapter(
    bench: Bench,
    jobs: list[Job],
    members: tuple[int, ...],
    at_once: int,
    batch: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a prefix that is kept, whose keys and values each adapter has its own of."""
    monkeypatch.setattr(pack_score, "CPU_ADAPTERS", at_once)
    one = plan_for(bench.base, REQUESTS, batch=8)
    pack = [jobs[n] for n in members]
    expected = {n: alone_likelihoods(bench, jobs[n], one) for n in set(members)}
    plan = plan_for(bench.base, REQUESTS, batch=batch, adapters=len(pack))
    assert [len(group.prefix) for group in plan.groups] == [300, 0]
    try:
        packed = Packed(bench, [Path(each.adapter) for each in pack])
        assert packed.adapters == min(at_once, len(members))
        for number, member in enumerate(members):
            packed.adapter = number
            for found, (nats, greedy) in zip(packed(plan), expected[member], strict=True):
                assert found == (pytest.approx(nats, abs=1e-4), greedy)
    finally:
        release(bench, bench.base)


def test_a_cpus_batches_hold_all_adapters(bench: Bench) -> None:
    """A forward of four adapters reads no more tokens than that of one."""

    def most(adapters: int) -> int:
        plan = plan_for(bench.base, REQUESTS, batch=64, adapters=adapters)
        sizes = [len(b) * len(b[0].tokens) for group in plan.groups for b in group.batches]
        return adapters * max(sizes)

    assert most(4) <= 2048


def test_the_pack_shares_its_time(ways: Callable[..., Any], jobs: list[Job]) -> None:
    together, _ = ways("first")
    together(jobs)  # loads what is loaded once
    start = time.perf_counter()
    seconds = [outcome.seconds_scoring for outcome in together(jobs)]
    wall = time.perf_counter() - start
    assert len(set(seconds)) == 1 and 0 < sum(seconds) <= wall


def test_what_is_left_to_others(
    ways: Callable[..., Any], bench: Bench, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter alone, a task that generates, a model that takes no trees."""
    together, _ = ways("first")
    assert together(jobs[:1]) == [TRAINING] and together([]) == []
    generated, _ = ways("generation")
    assert generated(jobs) == [TRAINING] * 3
    monkeypatch.setattr(bench.base.config, "sliding_window", 8, raising=False)
    assert together(jobs) == [TRAINING] * 3


def test_memory_that_runs_out_leaves_the_pack_to_others(
    ways: Callable[..., Any], bench: Bench, jobs: list[Job], caplog: pytest.LogCaptureFixture
) -> None:
    """One line, and no second try with as many sequences; half the batch is tried."""
    together, _ = ways("first")
    with forwards(bench, rows=2) as seen, caplog.at_level(logging.WARNING):
        assert together(jobs) == together(jobs) == [TRAINING] * 3
        assert len(seen) == 1
        assert together([replace(each, scoring_batch=16) for each in jobs]) == [TRAINING] * 3
        assert len(seen) == 2
    assert caplog.messages == [
        f"out of memory in scoring 3 adapters with batch {n} each; such packs are scored one "
        "after the other"
        for n in (32, 16)
    ]


def test_a_fault_in_one_score_is_that_trials(
    ways: Callable[..., Any], bench: Bench, jobs: list[Job], tmp_path: Path
) -> None:
    """The second adapter's log-likelihoods are nan, which the task's own rule cannot take."""
    jobs[1] = job(bench, tmp_path, 1, size=math.nan)
    together, alone = ways("judged")
    first, second, third = together(jobs)
    why = "cannot convert float NaN to integer"
    assert second == Failed(f"ValueError in scoring, after the training: {why}")
    expected = alone([jobs[0], jobs[2]])
    for outcome, score in zip((first, third), expected, strict=True):
        assert outcome.value == pytest.approx(score.value, rel=1e-4)
    with pytest.raises(ValueError, match=why):  # as it is when it is scored alone
        together([jobs[1], jobs[1]])


def test_an_error_of_the_forward_is_raised(
    ways: Callable[..., Any], bench: Bench, jobs: list[Job]
) -> None:
    def forward_hook(*_: object) -> None:
        raise RuntimeError("a mistake in the program")

    together, _ = ways("first")
    with bench.base.lm_head.register_forward_hook(forward_hook):
        with pytest.raises(RuntimeError, match="a mistake in the program"):
            together(jobs)
