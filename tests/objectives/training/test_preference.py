"""Direct preference optimisation, held against TRL's trainer step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import math
from pathlib import Path
from typing import get_args

from datasets import Dataset
from experiment_files import wide_search
import optuna
from peft import get_peft_model
from peft import LoraConfig
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers import set_seed

from objectives.data.corpus import Corpus
from objectives.data.corpus import Preference
from objectives.data.corpus import Sample
from objectives.job import Finished
from objectives.job import Job
from objectives.model.bench import Bench
from objectives.model.bench import release
from objectives.objective import LoraObjective
from objectives.scoring.preference import LOSSES
from objectives.scoring.preference import with_references
from objectives.settings.config import Experiment
from objectives.settings.search.space import Hyperparameters
from objectives.settings.sections.scoring import ScoringSettings
from objectives.settings.sections.training import PreferenceLoss
from objectives.settings.sections.training import TrainingSettings
from objectives.training.learner import Learner
from objectives.training.loop import train
from objectives.training.runner import Runner


STEPS = 5
CHOSEN = Hyperparameters(
    learning_rate=2e-3, weight_decay=0.1, rank=4, alpha=8, dropout=0.0, effective_batch=12
)
WORDS = ("apple", "river", "engine", "song", "window", "teacher", "planet", "garden", "a", "b")
SETTINGS = TrainingSettings(
    method="dpo", epochs=STEPS, micro_batch=5, warmup=0.0, schedule="constant", validations=STEPS
)


def rows() -> Iterator[dict[str, str]]:
    for i in range(12):
        words = [WORDS[(i + j) % len(WORDS)] for j in range(4)]
        yield {
            "prompt": f"Name a {words[0]} and a {words[1]}",
            "chosen": f" {words[2]}" * (1 + i % 3),
            "rejected": f" {words[3]}" * (1 + i % 4),
        }


def trl_losses(
    folder: Path, output: Path, bench: Bench, beta: float, kind: str
) -> tuple[list[float], Corpus]:
    """TRL's training losses of each step, and the token ids it made of the rows."""
    from trl import DPOConfig
    from trl import DPOTrainer

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    set_seed(SETTINGS.seed)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    config = DPOConfig(
        output_dir=str(output),
        beta=beta,
        loss_type=[kind],
        learning_rate=CHOSEN.learning_rate,
        weight_decay=CHOSEN.weight_decay,
        lr_scheduler_type="constant",
        per_device_train_batch_size=12,
        num_train_epochs=STEPS,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = DPOTrainer(
        model=get_peft_model(base, lora),
        args=config,
        train_dataset=Dataset.from_list(list(rows())),
        processing_class=bench.tokenizer,
    )
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    pairs = tuple(map(preference, trainer.train_dataset))
    return losses, replace(bench.corpus, train=pairs, validation=pairs)


def preference(row: dict[str, list[int]]) -> Preference:
    prompt = row["prompt_ids"]
    return Preference(sample(prompt, row["chosen_ids"]), sample(prompt, row["rejected_ids"]))


def sample(prompt: list[int], answer: list[int]) -> Sample:
    return Sample((*prompt, *answer), (*[-100] * len(prompt), *answer))


def losses(
    bench: Bench, settings: TrainingSettings, chosen: Hyperparameters = CHOSEN
) -> list[float]:
    learner = Learner(bench, settings, chosen)
    for _ in train(learner):
        pass
    release(bench, bench.base)
    return learner.losses


@pytest.fixture
def preferences(bench: Bench) -> Bench:
    """Of rows as tokens of the tiny tokenizer; with the base's word on them."""
    ids = bench.tokenizer
    pairs = []
    for row in rows():
        prompt = ids(row["prompt"])["input_ids"]
        chosen, rejected = (
            [*ids(row[key], add_special_tokens=False)["input_ids"], ids.eos_token_id]
            for key in ("chosen", "rejected")
        )
        pairs.append(Preference(sample(prompt, chosen), sample(prompt, rejected)))
    corpus = replace(bench.corpus, train=tuple(pairs), validation=tuple(pairs[:5]))
    return replace(bench, corpus=corpus)


def informed(bench: Bench, corpus: Corpus, micro_batch: int = 5) -> Bench:
    told = with_references(
        corpus, bench.base, micro_batch=micro_batch, accelerator=bench.accelerator
    )
    return replace(bench, corpus=told)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL's and peft's own
@pytest.mark.parametrize("kind", get_args(PreferenceLoss))
def test_losses_are_trl_s(
    bench: Bench, tiny_model_folder: Path, kind: str, tmp_path: Path
) -> None:
    beta = 0.3
    theirs, corpus = trl_losses(tiny_model_folder, tmp_path, bench, beta, kind)
    settings = SETTINGS.model_copy(update={"beta": beta, "loss_type": kind})
    ours = losses(informed(bench, corpus), settings)
    assert len(ours) == len(theirs) == STEPS
    # log-probabilities of 20 nats in float32, times beta, through five steps of Adam
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert abs(ours[-1] - ours[0]) > 0.001, "they learn"


def test_every_loss_of_the_settings_is_there() -> None:
    assert set(LOSSES) == set(get_args(PreferenceLoss))


def test_micro_batches_change_no_loss(preferences: Bench) -> None:
    bench = informed(preferences, preferences.corpus)
    whole, single = (
        losses(bench, SETTINGS.model_copy(update={"micro_batch": n, "beta": 0.5})) for n in (12, 1)
    )
    assert single == pytest.approx(whole, rel=1e-5)


def test_the_reference_is_the_base_itself(preferences: Bench) -> None:
    """Against log-probabilities out of all of the base's logits, answer by answer."""
    bench = informed(preferences, preferences.corpus, micro_batch=5)
    for pair in bench.corpus.train:
        for row, told in zip((pair.chosen, pair.rejected), pair.reference, strict=True):
            ids = torch.tensor([row.input_ids])
            with torch.no_grad():
                logs = bench.base(input_ids=ids).logits.double().log_softmax(-1)[0]
            n = sum(label != -100 for label in row.labels)
            found = sum(float(logs[i - 1, row.input_ids[i]]) for i in range(-n, 0))
            assert told == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize(("name", "value"), [("beta", 0.7), ("loss_type", "ipo")])
def test_what_is_searched_is_the_same_as_what_all_trials_have(
    preferences: Bench, name: str, value: float | str
) -> None:
    bench = informed(preferences, preferences.corpus)
    own = losses(bench, SETTINGS, replace(CHOSEN, **{name: value}))
    assert own == losses(bench, SETTINGS.model_copy(update={name: value}))
    assert own != losses(bench, SETTINGS)


@pytest.fixture
def by_accuracy(tiny_experiment: Experiment) -> Experiment:
    return tiny_experiment.model_copy(
        update={
            "training": SETTINGS.model_copy(update={"validations": 2, "beta": 0.5}),
            "scoring": ScoringSettings(objective="preference_accuracy"),
            "search": wide_search(),
        }
    )


PARAMS = {"learning_rate": 2e-2, "weight_decay": 0.0, "rank": 4, "alpha": 8, "dropout": 0.0}


def test_a_study_by_the_share_of_right_preferences(
    preferences: Bench, by_accuracy: Experiment, tmp_path: Path
) -> None:
    run = Runner(by_accuracy, preferences, None)
    study = optuna.create_study(direction=by_accuracy.direction)
    study.enqueue_trial(PARAMS)
    study.enqueue_trial({**PARAMS, "learning_rate": 1e-6})
    study.optimize(LoraObjective(by_accuracy, run, tmp_path), n_trials=2)
    learnt, idle = study.trials
    assert by_accuracy.direction == "maximize"
    assert learnt.value == learnt.user_attrs["preference_accuracy"] > 0.9
    assert idle.value < learnt.value
    n, share = len(preferences.corpus.validation), idle.value
    assert idle.user_attrs["score_stderr"] == pytest.approx(math.sqrt(share * (1 - share) / n))
    assert list(learnt.intermediate_values) == [1, 2], "a pruner sees them"


def test_an_interrupted_training_goes_on_to_the_bit(
    preferences: Bench, by_accuracy: Experiment, tmp_path: Path
) -> None:
    chosen = replace(CHOSEN, dropout=0.2)
    run = Runner(by_accuracy, preferences, None)
    job = Job(0, chosen, str(tmp_path / "a"), 5, 8, str(tmp_path / "checkpoint"))
    whole = run(replace(job, checkpoint_stem=None), lambda _: False)
    run(job, lambda validation: validation.part == 1)
    rest = run(job, lambda _: False)
    assert isinstance(whole, Finished) and isinstance(rest, Finished)
    assert rest.training.resumed_at > 0
    assert rest.training.validation_loss == whole.training.validation_loss
    assert rest.training.accuracy == whole.training.accuracy
