"""Bases of many makes with what makes a training fit: the losses stay, or the base is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from fingerprints import fingerprint
from lm_eval.models.huggingface import HFLM
from makes import CHOSEN
from makes import MAKES
from makes import SETTINGS
import pytest
from rounding import LOSS
from to_the_end import losses
from to_the_end import of
from to_the_end import trained
from to_the_end import trained_pack
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from objectives.errors import UserError
from objectives.model.bench import Bench
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.pack.packed import check_packable
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.sections.scoring import ScoringSettings
from objectives.settings.sections.training import TrainingSettings
from objectives.training.learner import Learner


# peft 0.21 asks transformers 5 for an attribute by its old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ExperimentOf = Callable[[str], Experiment]

CANNOT_CHECKPOINT = ("jetmoe",)
CANNOT_LAY_END_TO_END = ("opt", "falcon", "gpt-oss", "mamba")
CANNOT_BE_PACKED = ("opt", "qwen2-moe", "deepseek")
PLAIN = replace(CHOSEN, dropout=0.0)


def with_training(experiment: Experiment, **changed: object) -> Experiment:
    training = TrainingSettings.model_validate({**SETTINGS.model_dump(), **changed})
    return experiment.model_copy(update={"training": training})


def without_dropout(bench: Bench) -> Bench:
    """Nor jitter of experts: what the base draws itself depends on the shape of a batch."""
    for module in bench.base.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "input_jitter_noise", "router_jitter_noise"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return bench


def forwards(bench: Bench, settings: TrainingSettings) -> tuple[list[float], int]:
    """The losses, and how often one of the base's layers was computed for them."""
    counted: list[nn.Module] = []
    # the last is of text, whatever else a base has
    *_, layer = (m for m in bench.base.modules() if isinstance(m, GradientCheckpointingLayer))
    inner = next(m for m in layer.children() if any(True for _ in m.parameters()))
    with ExitStack() as stack:
        hook = inner.register_forward_hook(lambda module, *_: counted.append(module))
        stack.callback(hook.remove)
        return losses(bench, settings, CHOSEN), len(counted)


@pytest.mark.parametrize("make", [make for make in MAKES if make not in CANNOT_CHECKPOINT])
def test_activations_that_are_computed_twice_change_no_bit(
    make: str, experiment_of: ExperimentOf
) -> None:
    """Dropout, of the adapter and of the base, is drawn again as it was."""
    bench = load_bench(with_training(experiment_of(make), gradient_checkpointing=True))
    before = fingerprint(bench.base)
    expected, once = forwards(bench, SETTINGS)
    again = SETTINGS.model_copy(update={"gradient_checkpointing": True})
    found, twice = forwards(bench, again)
    assert found == expected and twice > once
    assert forwards(bench, SETTINGS) == (expected, once), "nothing is left of it"
    assert fingerprint(bench.base) == before


@pytest.mark.parametrize("make", CANNOT_CHECKPOINT)
def test_what_cannot_is_refused_before_weights_are_loaded(
    make: str, experiment_of: ExperimentOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("objectives.model.bench.load_base", None)
    with pytest.raises(UserError, match=r"checkpointing` = true: JetMoe\w+ cannot; leave"):
        load_bench(with_training(experiment_of(make), gradient_checkpointing=True))


@pytest.mark.parametrize("make", [make for make in MAKES if make not in CANNOT_LAY_END_TO_END])
def test_samples_end_to_end_have_the_losses_of_padded_ones(
    make: str, experiment_of: ExperimentOf
) -> None:
    bench = load_bench(with_training(experiment_of(make), padding_free=True))
    without_dropout(bench)
    end_to_end = SETTINGS.model_copy(update={"padding_free": True})
    shapes: set[tuple[int, ...]] = set()
    embeddings = bench.base.get_input_embeddings()
    with embeddings.register_forward_hook(lambda _, given, __: shapes.add((*given[0].shape,))):
        found = losses(bench, end_to_end, PLAIN)
    assert found == pytest.approx(losses(bench, SETTINGS, PLAIN), rel=LOSS)
    lengths = sorted(len(sample.input_ids) for sample in bench.corpus.train)
    assert any(rows == 1 and tokens > lengths[-1] for rows, tokens in shapes), "in one row"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("make", MAKES)
def test_a_base_that_mixes_neighbours_is_refused(
    make: str, experiment_of: ExperimentOf, dtype: str
) -> None:
    """And no other, however coarse its type is."""
    experiment = with_training(experiment_of(make), padding_free=True)
    model = experiment.model.model_copy(update={"dtype": dtype})
    experiment = experiment.model_copy(update={"model": model})
    if make not in CANNOT_LAY_END_TO_END:
        load_bench(experiment)
        return
    message = r"^`\[training\] padding_free` = true: .*; set padding_free = false$"
    with pytest.raises(UserError, match=message):
        load_bench(experiment)


@pytest.mark.parametrize("make", [make for make in MAKES if make not in CANNOT_BE_PACKED])
def test_a_pack_learns_what_each_learns_alone(make: str, experiment_of: ExperimentOf) -> None:
    bench = without_dropout(load_bench(experiment_of(make)))
    both = [CHOSEN, replace(CHOSEN, rank=4, learning_rate=1e-3)]
    alone = [losses(bench, SETTINGS, chosen) for chosen in both]
    check_packable([Learner(bench, SETTINGS, chosen) for chosen in both])
    packed = trained_pack(bench, SETTINGS, both)
    for learner, expected in zip(packed, alone, strict=True):
        assert of(learner) == pytest.approx(expected, abs=1e-5, rel=0)


@pytest.mark.parametrize("make", CANNOT_BE_PACKED)
def test_a_pack_that_cannot_be_is_refused_before_the_first_trial(
    make: str, experiment_of: ExperimentOf
) -> None:
    """A shared expert gets tokens without rows; OPT's MLP and DeepSeek's attention reshape."""
    bench = load_bench(experiment_of(make))
    before = fingerprint(bench.base)
    with pytest.raises(UserError, match="--pack: an adapted module does not get .* leave --pack"):
        check_packable([Learner(bench, SETTINGS, CHOSEN) for _ in range(2)])
    assert fingerprint(bench.base) == before
    fit = SETTINGS.model_copy(update={"targets": ["q_proj"]})
    check_packable([Learner(bench, fit, CHOSEN) for _ in range(2)])


class PlainScorer(Scorer):
    """With lm-eval's own model, which reads every question whole."""

    def _lm(self, model: nn.Module, accelerator: Accelerator | None) -> HFLM:
        return HFLM(pretrained=model, tokenizer=self.tokenizer, batch_size=4)


@pytest.mark.parametrize("make", MAKES)
def test_each_is_scored_as_lm_eval_scores_it(
    make: str, experiment_of: ExperimentOf, task_folder: Path
) -> None:
    bench = load_bench(experiment_of(make))
    scoring = ScoringSettings(tasks=str(task_folder), limit=6, batch=4)
    learner = trained(bench, SETTINGS, CHOSEN)
    own, plain = (
        kind.load(scoring, bench.tokenizer, ["last_words"]).score(
            learner.model, "last_words", "perplexity"
        )
        for kind in (Scorer, PlainScorer)
    )
    release(bench, bench.base)
    assert own.n == 6 and own.value == pytest.approx(plain.value, rel=1e-5)
