"""Packs: each adapter's losses are those of its own `lora.train`, whatever the others do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
import time

from peft import PeftModel
import pytest
import torch
from transformers import AutoModelForCausalLM

from objectives.errors import UserError
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.pack import packed
from objectives.pack.batches import grouped_by_tokens
from objectives.pack.packed import as_peft
from objectives.pack.packed import Left
from objectives.pack.packed import Result
from objectives.pack.packed import train_pack
from objectives.pack.packed import Trained
from objectives.scoring.score import validation_loss
from objectives.settings.config import Experiment
from objectives.settings.search_space import Hyperparameters
from objectives.settings.sections import TrainingSettings
from objectives.training import lora


pytestmark = pytest.mark.usefixtures("packs_as_on_a_gpu")

Losses = tuple[tuple[float, ...], list[tuple[int, float]]]

SETTINGS = TrainingSettings(epochs=1.5, micro_batch=3, warmup=0.3, validations=3)
# ranks, alphas, dropouts, learning rates, weight decays and steps (6, 4, 14, 24) of their own
PACK = [
    Hyperparameters(5e-3, 0.1, rank=4, alpha=8, dropout=0.0, effective_batch=12),
    Hyperparameters(2e-2, 0.0, rank=1, alpha=2, dropout=0.3, effective_batch=16),
    Hyperparameters(1e-3, 0.3, rank=40, alpha=64, dropout=0.1, effective_batch=5),
    Hyperparameters(1e-2, 0.0, rank=2, alpha=8, dropout=1.0, effective_batch=3),
]


def alone(bench: Bench, settings: TrainingSettings, chosen: Hyperparameters) -> Losses:
    """Training and validation losses of `lora.train`, which is tested against peft and torch."""
    reported: list[tuple[int, float]] = []
    trained = lora.train(bench, settings, chosen, report=lambda *r: reported.append(r))
    release(bench, trained.model)
    return trained.losses, reported


def together(
    bench: Bench, settings: TrainingSettings, pack: Sequence[Hyperparameters]
) -> tuple[list[Result], list[list[tuple[int, float]]]]:
    reported: list[list[tuple[int, float]]] = [[] for _ in pack]

    def report(adapter: int, step: int, loss: float) -> bool:
        reported[adapter].append((step, loss))
        return False

    return train_pack(bench, settings, pack, report=report), reported


def assert_alike(result: Result, reported: list[tuple[int, float]], expected: Losses) -> None:
    losses, validated = expected
    assert isinstance(result, Trained)
    assert result.losses == pytest.approx(losses, abs=1e-5, rel=0)
    assert [step for step, _ in reported] == [step for step, _ in validated]
    assert [loss for _, loss in reported] == pytest.approx(
        [loss for _, loss in validated], abs=1e-5, rel=0
    )
    assert result.validation_loss == reported[-1][1]


@pytest.mark.parametrize(
    "changed",
    [{}, {"rslora": True}, {"targets": ["q_proj", "v_proj"]}, {"clip": 0.05, "micro_batch": 16}],
    ids=["plain", "rslora", "two targets", "clipped, large micro-batch"],
)
def test_losses_are_those_of_separate_trainings(bench: Bench, changed: dict[str, object]) -> None:
    settings = SETTINGS.model_copy(update=changed)
    results, reported = together(bench, settings, PACK)
    for result, losses, chosen in zip(results, reported, PACK, strict=True):
        assert_alike(result, losses, alone(bench, settings, chosen))


@pytest.mark.parametrize("tokens", [1, 500], ids=["each alone", "in groups"])
def test_a_cpu_takes_no_more_tokens_than_its_cache(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    monkeypatch.setattr(packed, "CPU_TOKENS", tokens)
    shapes: set[tuple[int, ...]] = set()

    def forward_hook(_: object, given: tuple[torch.Tensor, ...], __: object) -> None:
        shapes.add(tuple(given[0].shape))

    with bench.base.get_input_embeddings().register_forward_hook(forward_hook):
        results, reported = together(bench, SETTINGS, PACK)
    for result, losses, chosen in zip(results, reported, PACK, strict=True):
        assert_alike(result, losses, alone(bench, SETTINGS, chosen))
    most = SETTINGS.micro_batch
    assert all(rows <= most or rows * length <= tokens for rows, length in shapes)
    assert any(rows > most for rows, _ in shapes) == (tokens > 1)


@pytest.mark.parametrize(
    ("most", "groups"),
    [(1, [[1], [3], [0], [2]]), (20, [[1], [3, 0], [2]]), (30, [[1, 3], [0, 2]])],
)
def test_groups_are_alike_in_length(most: int, groups: list[list[int]]) -> None:
    shapes = [(2, 4), (1, 10), (4, 3), (2, 5)]
    batches = [{"input_ids": torch.zeros(shape)} for shape in shapes]
    assert grouped_by_tokens(batches, most) == groups


def test_a_base_in_half_precision(tiny_experiment: Experiment) -> None:
    """Without autocast: A and B are in float32 beside it."""
    model = tiny_experiment.model.model_copy(update={"dtype": "bfloat16"})
    bench = load_bench(tiny_experiment.model_copy(update={"model": model}))
    results, _ = together(bench, SETTINGS, PACK[:2])
    for result, chosen in zip(results, PACK, strict=False):
        losses, _ = alone(bench, SETTINGS, chosen)
        assert isinstance(result, Trained)
        assert result.losses == pytest.approx(losses, abs=1e-2, rel=0)


def test_the_pack_shares_its_time(bench: Bench) -> None:
    start = time.perf_counter()
    results, _ = together(bench, SETTINGS, PACK[:2])
    wall = time.perf_counter() - start
    assert all(isinstance(r, Trained) and r.seconds > 0 for r in results)
    assert sum(r.seconds for r in results) <= wall  # type: ignore[union-attr]
    assert results[0].tokens == sum(  # type: ignore[union-attr]
        int(batch["attention_mask"].sum())
        for step in lora.step_batches(bench, SETTINGS, PACK[0])
        for batch in step
    )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_packed_adapter_is_saved_as_peft_knows_it(
    bench: Bench, tiny_model_folder: Path, tmp_path: Path
) -> None:
    results, _ = together(bench, SETTINGS, PACK[:2])
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    for number, (result, chosen) in enumerate(zip(results, PACK, strict=False)):
        assert isinstance(result, Trained)
        model = as_peft(bench, SETTINGS, chosen, result.weights)
        save_adapter(model, tmp_path / str(number))
        release(bench, model)
        ours = load_adapter(bench, tmp_path / str(number))
        release(bench, ours)
        loaded = PeftModel.from_pretrained(base, str(tmp_path / str(number)))
        loss = validation_loss(
            loaded,
            bench.corpus.validation,
            pad_id=bench.corpus.pad_id,
            micro_batch=16,
            accelerator=bench.accelerator,
        )
        assert loss == pytest.approx(result.validation_loss, abs=1e-5)
        base = loaded.unload()


def test_those_that_leave_do_not_disturb_the_others(bench: Bench) -> None:
    """One is pruned at its first validation, one diverges, at its third step."""
    pack = [PACK[0], replace(PACK[0], learning_rate=1e30), PACK[1], PACK[2]]
    settings = SETTINGS.model_copy(update={"validations": 2})
    seen: list[int] = []

    def report(adapter: int, step: int, loss: float) -> bool:
        seen.append(adapter)
        return adapter == 2

    results = train_pack(bench, settings, pack, report=report)
    assert isinstance(results[1], lora.Diverged)
    assert "loss was nan at step 3 of 6 with learning_rate 1e+30" in str(results[1])
    assert isinstance(results[2], Left) and results[2].seconds > 0 and seen.count(2) == 1
    for number in (0, 3):
        result, expected = results[number], alone(bench, settings, pack[number])[0]
        assert isinstance(result, Trained)
        assert result.losses == pytest.approx(expected, abs=1e-5, rel=0)


def test_memory_that_runs_out_is_everybodys_who_is_in_training(bench: Bench) -> None:
    calls = iter(range(1000))

    def forward_hook(*_: object) -> None:
        if next(calls) == 30:  # in the second part
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with bench.base.lm_head.register_forward_hook(forward_hook):
        results = train_pack(bench, SETTINGS, PACK[:3], report=lambda k, *_: k == 1)
    assert [type(r) for r in results] == [lora.OutOfMemory, Left, lora.OutOfMemory]
    message = "out of memory at step 5 in a pack of 3 with micro-batch 3 each and learning_rate"
    assert str(results[0]).startswith(message)


def test_other_errors_and_those_of_a_report_are_raised(bench: Bench) -> None:
    def report(*_: object) -> bool:
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        train_pack(bench, SETTINGS, PACK[:2], report=report)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dora": True}, "a DoRA adapter cannot be packed"),
        ({"targets": ["embed_tokens"]}, "embed_tokens is not a linear module"),
        ({"targets": ["q_proj", "lm_head"]}, "does not get the batch's rows as they are"),
    ],
)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_what_cannot_be_packed_is_refused(
    bench: Bench, changed: dict[str, object], message: str
) -> None:
    settings = SETTINGS.model_copy(update=changed)
    with pytest.raises(UserError, match=message):
        train_pack(bench, settings, PACK[:2], report=lambda *_: False)
