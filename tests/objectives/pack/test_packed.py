"""Packs: each adapter's losses are those of its own `loop.train`, whatever the others do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
import time

from peft import PeftModel
import pytest
from to_the_end import losses
from to_the_end import of
from to_the_end import trained
from to_the_end import trained_pack
import torch
from transformers import AutoModelForCausalLM

from objectives.errors import UserError
from objectives.job import Failed
from objectives.job import OutOfMemory
from objectives.job import Pruned
from objectives.job import Training
from objectives.job import Validation
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.model.bench import save_adapter
from objectives.pack import packed
from objectives.pack.packed import as_peft
from objectives.pack.packed import grouped_by_tokens
from objectives.pack.packed import Pack
from objectives.pack.packed import train_pack
from objectives.scoring.criterion import measure
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.training import TrainingSettings
from objectives.training.learner import Learner


pytestmark = pytest.mark.usefixtures("packs_as_on_a_gpu")

SETTINGS = TrainingSettings(epochs=1.5, micro_batch=3, warmup=0.3, validations=3)
# ranks, alphas, dropouts, learning rates, weight decays and steps (6, 4, 14, 24) of their own
PACK = [
    Hyperparameters(5e-3, 0.1, rank=4, alpha=8, dropout=0.0, effective_batch=12),
    Hyperparameters(2e-2, 0.0, rank=1, alpha=2, dropout=0.3, effective_batch=16),
    Hyperparameters(1e-3, 0.3, rank=40, alpha=64, dropout=0.1, effective_batch=5),
    Hyperparameters(1e-2, 0.0, rank=2, alpha=8, dropout=1.0, effective_batch=3),
]


ALONE: dict[tuple[str, Hyperparameters], tuple[list[float], list[Validation]]] = {}
"""Settings and hyperparameters -> the losses of a training by itself; each is made once."""


def alone(learner: Learner) -> tuple[list[float], list[Validation]]:
    """By `loop.train`, which is tested against peft and torch."""
    key = learner.settings.model_dump_json(), learner.chosen
    if key not in ALONE:
        found = trained(learner.bench, learner.settings, learner.chosen)
        release(learner.bench, learner.bench.base)
        ALONE[key] = found.losses, found.validations
    return ALONE[key]


def assert_as_alone(learner: Learner) -> None:
    expected, validations = alone(learner)
    assert isinstance(learner.ended, Training)
    assert learner.losses == pytest.approx(expected, abs=1e-5, rel=0)
    for found, other in zip(learner.validations, validations, strict=True):
        assert (found.step, found.part) == (other.step, other.part)
        assert found.loss == pytest.approx(other.loss, abs=1e-5, rel=0)
    assert learner.ended.validation_loss == learner.validations[-1].loss


def learners(
    bench: Bench, settings: TrainingSettings, pack: Sequence[Hyperparameters]
) -> list[Learner]:
    return [Learner(bench, settings, chosen) for chosen in pack]


@pytest.mark.parametrize(
    "changed",
    [{}, {"rslora": True, "targets": ["q_proj", "v_proj"], "clip": 0.05, "micro_batch": 16}],
    ids=["plain", "rslora on two targets, clipped, large micro-batch"],
)
def test_losses_are_those_of_separate_trainings(bench: Bench, changed: dict[str, object]) -> None:
    settings = SETTINGS.model_copy(update=changed)
    for learner in trained_pack(bench, settings, PACK):
        assert_as_alone(learner)


@pytest.mark.parametrize("tokens", [1, 500], ids=["each alone", "in groups"])
def test_a_cpu_takes_no_more_tokens_than_its_cache(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    monkeypatch.setattr(packed, "CPU_TOKENS", tokens)
    shapes: set[tuple[int, ...]] = set()

    def forward_hook(_: object, given: tuple[torch.Tensor, ...], __: object) -> None:
        shapes.add(tuple(given[0].shape))

    with bench.base.get_input_embeddings().register_forward_hook(forward_hook):
        together = trained_pack(bench, SETTINGS, PACK)
    for learner in together:
        assert_as_alone(learner)
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
    for learner in trained_pack(bench, SETTINGS, PACK[:2]):
        expected = losses(bench, SETTINGS, learner.chosen)
        assert of(learner) == pytest.approx(expected, abs=1e-2, rel=0)


def test_the_pack_shares_its_time(bench: Bench) -> None:
    start = time.perf_counter()
    together = trained_pack(bench, SETTINGS, PACK[:2])
    wall = time.perf_counter() - start
    assert all(learner.seconds > 0 for learner in together)
    assert sum(learner.seconds_setup + learner.seconds for learner in together) <= wall
    batches = Learner(bench, SETTINGS, PACK[0]).batches()
    assert together[0].tokens == sum(
        int(batch["attention_mask"].sum()) for step in batches for batch in step
    )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_packed_adapter_is_saved_as_peft_knows_it(
    bench: Bench, tiny_model_folder: Path, tmp_path: Path
) -> None:
    together = trained_pack(bench, SETTINGS, PACK[:2])
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    for number, learner in enumerate(together):
        save_adapter(as_peft(learner), tmp_path / str(number))
        release(bench, bench.base)
        ours = load_adapter(bench, tmp_path / str(number))
        release(bench, ours)
        loaded = PeftModel.from_pretrained(base, str(tmp_path / str(number)))
        loss = measure(
            loaded,
            bench.corpus.validation,
            pad_id=bench.corpus.pad_id,
            micro_batch=16,
            accelerator=bench.accelerator,
        ).loss
        assert loss == pytest.approx(learner.validations[-1].loss, abs=1e-5)
        base = loaded.unload()


def test_those_that_leave_do_not_disturb_the_others(bench: Bench) -> None:
    """One is pruned at its first validation, one diverges, at its third step."""
    pack = [PACK[0], replace(PACK[0], learning_rate=1e30), PACK[1], PACK[2]]
    settings = SETTINGS.model_copy(update={"validations": 2})
    together = learners(bench, settings, pack)
    for number, _ in train_pack(together):
        if number == 2:
            together[number].prune()
    release(bench, bench.base)
    first, diverged, pruned, last = together
    assert isinstance(diverged.ended, Failed)
    assert "loss was nan at step 3 of 6 with learning_rate 1e+30" in diverged.ended.message
    assert pruned.ended == Pruned(pruned.seconds_setup + pruned.seconds)
    assert pruned.seconds > 0 and len(pruned.validations) == 1
    for learner in (first, last):
        assert_as_alone(learner)


def test_those_that_join_later_are_as_alone(bench: Bench) -> None:
    """One is pruned at its first validation, others are done at different times."""
    places = 3
    pruned = replace(PACK[0], rank=9)
    waiting = learners(bench, SETTINGS, [pruned, *PACK, replace(PACK[1], effective_batch=64)])
    everybody, sizes = list(waiting), []
    pack = Pack(bench, SETTINGS)
    while waiting or len(pack):
        while waiting and len(pack) < places:
            pack.join(waiting.pop(0))
        sizes.append(len(pack))
        for learner, _ in pack.part():
            if learner.chosen == pruned:
                learner.prune()
        pack.leave()
    assert sizes[:-3] == [places] * len(sizes[:-3]), "no place is free while somebody waits"
    assert isinstance(everybody[0].ended, Pruned)
    for learner in everybody[1:]:
        assert_as_alone(learner)


def test_the_base_is_bare_when_somebody_has_left(bench: Bench) -> None:
    pack, names = Pack(bench, SETTINGS), [name for name, _ in bench.base.named_modules()]
    for learner in learners(bench, SETTINGS, PACK[:2]):
        pack.join(learner)
    for learner, _ in pack.part():
        if learner.chosen == PACK[0]:
            learner.prune()
    assert [name for name, _ in bench.base.named_modules()] != names
    pack.leave()
    assert [name for name, _ in bench.base.named_modules()] == names and len(pack) == 1


def test_memory_that_runs_out_is_everybodys_who_is_in_training(bench: Bench) -> None:
    calls = iter(range(1000))

    def forward_hook(*_: object) -> None:
        if next(calls) == 30:  # in the second part
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with bench.base.lm_head.register_forward_hook(forward_hook):
        together = learners(bench, SETTINGS, PACK[:3])
        for number, _ in train_pack(together):
            if number == 1:
                together[number].prune()
    release(bench, bench.base)
    first, pruned, last = (learner.ended for learner in together)
    assert isinstance(pruned, Pruned)
    assert isinstance(first, OutOfMemory) and isinstance(last, OutOfMemory)
    message = "out of memory at step 5 in a pack of 2 with micro-batch 3 each and learning_rate"
    assert first.message.startswith(message)


def test_other_errors_are_raised(bench: Bench) -> None:
    def forward_hook(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with bench.base.lm_head.register_forward_hook(forward_hook):
        with pytest.raises(RuntimeError, match="^mat1 and mat2"):
            trained_pack(bench, SETTINGS, PACK[:2])


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
        trained_pack(bench, settings, PACK[:2])
