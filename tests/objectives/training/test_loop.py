"""Training: against a loop written here, repeated to the bit, and what it does when it breaks."""

from __future__ import annotations

from dataclasses import replace
import gc
from pathlib import Path
import time
import weakref

from fingerprints import fingerprint
from hypothesis import given
from hypothesis import strategies
from plain_loop import CHOSEN
from plain_loop import plain_losses
from plain_loop import SETTINGS
import pytest
from rounding import LOSS
from to_the_end import trained
import torch
from transformers import get_scheduler

from objectives.data.corpus import collate
from objectives.data.corpus import step_batches
from objectives.job import Failed
from objectives.job import Finished
from objectives.job import OutOfMemory
from objectives.job import Pruned
from objectives.job import Training
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.model.memory import DeviceFull
from objectives.model.memory import is_out_of_memory
from objectives.model.memory import raising_device_full
from objectives.record import measured
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings
from objectives.training.checkpoint import Checkpoint
from objectives.training.checkpoint import made_with
from objectives.training.learner import Learner
from objectives.training.learner import validation_steps
from objectives.training.loop import train


# peft 0.21 asks transformers 5 for an attribute by its old name; `model.bench` knows, peft's own
# functions called here do not
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

Run = tuple[list[float], list[tuple[int, float]], str]


@pytest.fixture(scope="module")
def clean(tiny_experiment: Experiment) -> Run:
    """What `run` gives on a base that nothing has happened to."""
    return run(load_bench(tiny_experiment))


def run(
    bench: Bench,
    settings: TrainingSettings = SETTINGS,
    chosen: Hyperparameters = CHOSEN,
) -> Run:
    """Trains and releases: training losses, reported validation losses, the adapter's bytes."""
    learner = Learner(bench, settings, chosen)
    try:
        reported = [(validation.step, validation.loss) for validation in train(learner)]
        adapter = fingerprint(learner.model)
    finally:
        release(bench, bench.base)
    assert isinstance(learner.ended, Training)
    assert learner.ended.validation_loss == reported[-1][1]
    assert learner.n_steps == len(learner.losses) == reported[-1][0]
    return learner.losses, reported, adapter


def ended(bench: Bench, chosen: Hyperparameters) -> str:
    """Why there is no adapter."""
    learner = trained(bench, SETTINGS, chosen)
    release(bench, bench.base)
    assert isinstance(learner.ended, Failed | OutOfMemory)
    return f"{type(learner.ended).__name__}: {learner.ended.message}"


@pytest.fixture(
    scope="module", params=["all-linear", ["q_proj", "v_proj"]], ids=["all-linear", "two"]
)
def plain(
    request: pytest.FixtureRequest, tiny_model_folder: Path, loaded: Bench
) -> tuple[str | list[str], list[float]]:
    """Targets, and the training losses on them without the code under test."""
    return request.param, plain_losses(tiny_model_folder, loaded, request.param)


@pytest.mark.parametrize("micro_batch", [1, 5, 12, 100])
def test_losses_are_those_of_a_plain_loop(
    bench: Bench, plain: tuple[str | list[str], list[float]], micro_batch: int
) -> None:
    targets, expected = plain
    settings = SETTINGS.model_copy(update={"micro_batch": micro_batch, "targets": targets})
    losses, _, _ = run(bench, settings)
    assert losses == pytest.approx(expected, rel=LOSS)
    assert losses[-1] < losses[0] - 0.005  # or the agreement would be that of two still models


def test_a_trial_is_repeated_to_the_bit(tiny_experiment: Experiment, bench: Bench) -> None:
    dropped = replace(CHOSEN, dropout=0.2)
    first = run(bench, chosen=dropped)
    assert run(bench, chosen=replace(CHOSEN, rank=7, dropout=0.5)) != first
    assert run(bench, chosen=dropped) == first
    assert run(load_bench(tiny_experiment), chosen=dropped) == first


def test_validations_change_nothing(bench: Bench) -> None:
    dropped = replace(CHOSEN, dropout=0.2)
    losses, reported, adapter = run(bench, chosen=dropped)
    once = SETTINGS.model_copy(update={"validations": 1})
    assert run(bench, once, dropped) == (losses, reported[-1:], adapter)


@pytest.mark.parametrize(
    "changed",
    [
        {"learning_rate": 4e-3},
        {"weight_decay": 0.0},
        {"alpha": 9.5},
        {"rank": 40},  # more than the layer is wide
        {"dropout": 0.1},
        {"effective_batch": 11},
    ],
)
def test_every_hyperparameter_counts(bench: Bench, clean: Run, changed: dict[str, float]) -> None:
    assert run(bench, chosen=replace(CHOSEN, **changed))[2] != clean[2]


@pytest.mark.parametrize(
    "changed", [{"rslora": True}, {"dora": True}, {"seed": 1}, {"clip": 1e-3}]
)
def test_every_setting_counts(bench: Bench, clean: Run, changed: dict[str, object]) -> None:
    assert run(bench, SETTINGS.model_copy(update=changed))[2] != clean[2]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_learning_rates_are_those_of_transformers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    rates = []
    step = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *args: object, **kwargs: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    run(bench, SETTINGS.model_copy(update={"schedule": schedule}))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=CHOSEN.learning_rate)
    name = {"constant": "constant_with_warmup"}.get(schedule, schedule)
    expected = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=8)
    for rate in rates:
        assert rate == expected.get_last_lr()[0]
        optimizer.step()
        expected.step()
    assert len(rates) == 8 and max(rates) == CHOSEN.learning_rate


@pytest.mark.parametrize(
    ("epochs", "batch", "expected"),
    [
        (1.0, 4, [12, 24, 36, 48]),
        (1.0, 12, [12, 24, 36, 48]),
        (2.0, 12, [24, 48, 72, 96]),
        (0.5, 4, [8, 12, 20, 24]),  # quarters of 6 steps
    ],
)
def test_a_validation_comes_after_every_share_of_the_data(
    bench: Bench, epochs: float, batch: int, expected: list[int]
) -> None:
    """So what a pruner compares is a part of the 48 rows, whatever the effective batch."""
    rows = [0]

    def count(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        rows[0] += len(arguments[0]) if module.training else 0

    hook = bench.base.get_input_embeddings().register_forward_pre_hook(count)
    settings = TrainingSettings(epochs=epochs, validations=4, micro_batch=4)
    chosen = replace(CHOSEN, effective_batch=batch)
    read = [rows[0] for _ in train(Learner(bench, settings, chosen))]
    hook.remove()
    release(bench, bench.base)
    assert read == expected


@given(n_steps=strategies.integers(1, 200), validations=strategies.integers(1, 30))
def test_validations_are_evenly_spaced(n_steps: int, validations: int) -> None:
    due = validation_steps(n_steps, validations)
    assert len(due) == min(n_steps, validations)
    assert list(due) == sorted(due) and due[n_steps] == validations
    for step, part in due.items():  # a share is never claimed before it is done
        assert 0 <= step / n_steps - part / validations < 1 / n_steps + 1e-12


def test_who_takes_no_more_validations_ends_the_training(bench: Bench, clean: Run) -> None:
    learner = Learner(bench, SETTINGS, CHOSEN)
    next(iter(train(learner)))
    learner.prune()
    release(bench, bench.base)
    assert learner.ended == Pruned(learner.seconds_setup + learner.seconds)
    assert len(learner.losses) == 3 and learner.seconds > 0
    assert run(bench) == clean


def test_a_training_of_one_step_learns(bench: Bench) -> None:
    """The warm-up's first step has a learning rate of 0, and would be the only one."""
    settings = TrainingSettings(epochs=1.0, micro_batch=5, warmup=0.3, validations=1)
    one = replace(CHOSEN, effective_batch=1000)
    both = [run(bench, settings, replace(one, learning_rate=rate)) for rate in (1e-3, 1e-2)]
    assert both[0][0] == both[1][0], "one step, from the same start"
    assert both[0][1] != both[1][1]


def test_divergence_names_the_step_and_the_hyperparameters(bench: Bench, clean: Run) -> None:
    told = ended(bench, replace(CHOSEN, learning_rate=1e30))
    assert told.startswith("Failed: training loss was nan at step 3 of 8 with learning_rate 1e+30")
    assert run(bench) == clean


def test_a_trial_does_not_see_the_scale_that_another_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of float16's losses. Here the clipping sees it, as torch unscales on CUDA alone."""
    monkeypatch.setattr(bench.accelerator, "scaler", torch.amp.GradScaler("cpu"))
    first = run(bench)
    bench.accelerator.scaler.update(1.0)
    assert run(bench) == first
    bench.accelerator.scaler = None
    assert run(bench) != first


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_are_a_lack_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_what_did_not_fit_is_gone_as_soon_as_that_is_told() -> None:
    """The next attempt needs its memory, and cannot wait for a collection of cycles."""
    held: list[weakref.ref[torch.Tensor]] = []

    def fail() -> None:
        tensor = torch.zeros(1)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    gc.disable()
    try:
        with raising_device_full():
            fail()
    except DeviceFull:
        assert held[0]() is not None, "or this test could not fail"
    finally:
        gc.enable()
    assert held[0]() is None


def test_memory_that_runs_out_in_a_forward(bench: Bench, clean: Run) -> None:
    calls = iter(range(100))

    def forward_hook(*_: object) -> None:
        if next(calls) == 7:  # three micro-batches a step: the second of the third
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with bench.base.lm_head.register_forward_hook(forward_hook):
        told = ended(bench, CHOSEN)
    assert told.startswith("OutOfMemory: out of memory at step 3 with micro-batch 5 and learning")
    assert run(bench) == clean


def test_memory_that_runs_out_half_way_through_the_adapter(bench: Bench, clean: Run) -> None:
    """A real one: no machine has a petabyte. The first layer's lora_A is wrapped already."""
    told = ended(bench, replace(CHOSEN, rank=10**13))
    assert told.startswith("OutOfMemory: out of memory at step 1 ") and "rank 1e+13" in told
    assert run(bench) == clean


def test_other_errors_are_not_taken_for_memory(bench: Bench) -> None:
    def forward_hook(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with bench.base.lm_head.register_forward_hook(forward_hook):
        with pytest.raises(RuntimeError, match="^mat1 and mat2"):
            run(bench)


def test_tokens_are_counted_without_padding(bench: Bench) -> None:
    start = time.perf_counter()
    learner = trained(bench, SETTINGS, CHOSEN)
    wall = time.perf_counter() - start
    release(bench, bench.base)
    batches = step_batches(
        bench.corpus.train, effective_batch=12, micro_batch=1, epochs=2.0, seed=0, pad_id=0
    )
    assert learner.tokens == sum(b["input_ids"].numel() for step in batches for b in step)
    assert 0 < learner.seconds <= wall


def test_a_training_that_goes_on_has_the_seconds_of_its_own_steps(
    bench: Bench, tmp_path: Path
) -> None:
    """The earlier one's, which here took a day, are that trial's; the pace is that of both."""
    checkpoint = Checkpoint(tmp_path / "one.checkpoint", made_with(bench, SETTINGS, CHOSEN, ""))
    try:
        next(iter(train(Learner(bench, SETTINGS, CHOSEN), checkpoint)))
        state = checkpoint.load()
        assert state is not None and 0 < state.seconds < 86_400
        checkpoint.save(replace(state, seconds=86_400.0))
        release(bench, bench.base)
        learner = Learner(bench, SETTINGS, CHOSEN)
        for _ in train(learner, checkpoint):
            pass
    finally:
        release(bench, bench.base)
    training = learner.ended
    assert isinstance(training, Training) and training.resumed_at > 0
    assert 0 < training.seconds_training < 3600
    told = measured(Finished(1.0, training, 0.0, None, 0))
    assert told["seconds_training"] == training.seconds_training
    assert told["tokens_per_second"] == pytest.approx(training.tokens / 86_400, rel=0.05)
    last = checkpoint.load()
    assert last is not None and 86_400 < last.seconds < 90_000


def test_collate_pads_where_nothing_is_learnt(bench: Bench) -> None:
    """What the plain loop above relies on: padding is neither attended to nor learnt."""
    batch = collate(bench.corpus.train[:6], bench.corpus.pad_id)
    padding = batch["attention_mask"] == 0
    assert padding.any() and (batch["labels"][padding] == -100).all()
