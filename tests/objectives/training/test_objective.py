"""Trials: what one leaves behind, and that a failed or pruned one leaves the next alone."""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
from rounding import LOSS
import torch
from trainings import experiment
from trainings import memory_for
from trainings import OTHERS
from trainings import PARAMS
from trainings import PruneFirst
from trainings import run

from objectives.errors import UserError
from objectives.job import Job
from objectives.job import Outcome
from objectives.job import Report
from objectives.model.bench import Bench
from objectives.model.bench import load_adapter
from objectives.model.bench import load_bench
from objectives.model.bench import release
from objectives.objective import LoraObjective
from objectives.report.spent import spent
from objectives.scoring.score import Score
from objectives.scoring.score import Scorer
from objectives.settings.config import Experiment
from objectives.settings.search.space import Choices
from objectives.settings.sections.scoring import ScoringSettings
from objectives.training.runner import direction_of
from objectives.training.runner import Runner
from objectives.tune.progress import finished


__all__ = ["experiment"]  # fixtures


@pytest.fixture
def objective(experiment: Experiment, bench: Bench, tmp_path: Path) -> LoraObjective:
    return LoraObjective(experiment, Runner(experiment, bench, None), tmp_path)


def test_a_trial_that_is_cut_off_has_taken_all_of_its_devices(
    experiment: Experiment, tmp_path: Path
) -> None:
    def cut_off(job: Job, report: Report) -> Outcome:
        raise KeyboardInterrupt

    eight = experiment.study.model_copy(update={"gpus_per_trial": 8})
    eight_each = experiment.model_copy(update={"study": eight})
    study = optuna.create_study()
    study.enqueue_trial(PARAMS)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(LoraObjective(eight_each, cut_off, tmp_path), n_trials=1)
    took = study.trials[0].duration
    assert took is not None and spent(study.trials).seconds == 8 * took.total_seconds()


@pytest.fixture(scope="module")
def clean(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> FrozenTrial:
    """A trial with `PARAMS` on a base that nothing has happened to."""
    folder = tmp_path_factory.mktemp("clean")
    runner = Runner(experiment, load_bench(experiment), None)
    (trial,) = run(LoraObjective(experiment, runner, folder), PARAMS)
    return trial


def test_a_trial_leaves_its_value_adapter_and_attributes(
    objective: LoraObjective, tmp_path: Path
) -> None:
    trial = run(objective, PARAMS)[0]
    attributes = trial.user_attrs
    assert trial.params == PARAMS
    assert trial.state == TrialState.COMPLETE
    assert trial.value == attributes["validation_loss"] == trial.intermediate_values[2]
    assert attributes["validation_losses"] == [
        [2, trial.intermediate_values[1]],
        [4, trial.intermediate_values[2]],
    ]
    assert attributes["steps"] == 4 and attributes["tokens"] > 4 * 12 * 20
    assert json.dumps(attributes)
    seconds = [attributes[f"seconds_{part}"] for part in ("setup", "training", "scoring")]
    assert min(seconds) >= 0
    assert sum(seconds) <= trial.duration.total_seconds()
    assert attributes["adapter"] == str(tmp_path / "adapters" / "0000")
    config = json.loads((tmp_path / "adapters" / "0000" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.2)


def test_trials_do_not_see_each_other(objective: LoraObjective, clean: FrozenTrial) -> None:
    other, again = run(objective, OTHERS, PARAMS)
    assert clean.value == again.value != other.value


def test_a_pruned_trial(objective: LoraObjective, clean: FrozenTrial) -> None:
    pruned, following = run(objective, PARAMS, PARAMS, pruner=PruneFirst())
    assert pruned.state == TrialState.PRUNED
    assert pruned.intermediate_values == {1: clean.intermediate_values[1]}
    assert pruned.user_attrs["steps"] == 2 and "adapter" not in pruned.user_attrs
    assert pruned.user_attrs["seconds_training"] > 0
    assert following.value == clean.value


class PruneAtTheEnd(BasePruner):
    """As a median pruner does where the trials before were better at their end."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.last_step == 2


def test_a_finished_training_is_not_pruned_at_its_last_validation(
    objective: LoraObjective, clean: FrozenTrial
) -> None:
    (trial,) = run(objective, PARAMS, pruner=PruneAtTheEnd())
    assert (trial.state, trial.value) == (TrialState.COMPLETE, clean.value)
    assert Path(trial.user_attrs["adapter"]).is_dir()


def test_a_median_pruner_compares_shares_of_the_training(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """Trials of 4, 12 and 16 steps: at equal steps there would be nothing to compare."""
    search = experiment.search.model_copy(update={"effective_batch": Choices(choices=[3, 4, 12])})
    searched = experiment.model_copy(update={"search": search})
    objective = LoraObjective(searched, Runner(searched, bench, None), tmp_path)
    good = [PARAMS | {"effective_batch": batch} for batch in (4, 12)]
    bad = OTHERS | {"learning_rate": 1e-6, "effective_batch": 3}
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
    trials = run(objective, *good, bad, pruner=pruner)
    assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert [t.user_attrs["steps"] for t in trials] == [12, 4, 8]


@pytest.mark.parametrize("where", ["save_adapter", "fingerprint"])
def test_memory_that_runs_out_beside_the_training_is_one_trial_s(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patch:
        patch.setattr(f"objectives.training.runner.{where}", no_memory)
        runner = Runner(experiment, load_bench(experiment), None)
        objective = LoraObjective(experiment, runner, tmp_path)
        (failed,) = run(objective, PARAMS)
    assert failed.state == TrialState.FAIL
    assert "out of memory beside a training" in failed.user_attrs["failure"]
    (following,) = run(objective, PARAMS)
    assert following.state == TrialState.COMPLETE


def test_a_diverged_trial(objective: LoraObjective, clean: FrozenTrial) -> None:
    failed, following = run(objective, PARAMS | {"learning_rate": 1e30}, PARAMS)
    assert failed.state == TrialState.FAIL
    assert "loss was nan at step 2 of 4 with learning_rate 1e+30, " in failed.user_attrs["failure"]
    assert "adapter" not in failed.user_attrs
    assert following.value == clean.value


def test_a_base_with_an_infinite_weight(
    objective: LoraObjective, bench: Bench, clean: FrozenTrial
) -> None:
    column = bench.base.get_input_embeddings().weight.detach()[:, 0]
    kept = column.clone()
    column.fill_(math.inf)
    try:
        (failed,) = run(objective, PARAMS)
    finally:
        column.copy_(kept)
    assert failed.user_attrs["failure"].startswith("training loss was nan at step 1 of 4 with")
    assert run(objective, PARAMS)[0].value == clean.value


def test_out_of_memory_a_trial_is_trained_again_with_half_the_micro_batch(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """The loss is that of a trial which began so: one step is defined in samples."""
    small = experiment.training.model_copy(update={"micro_batch": 3})
    expected_of = experiment.model_copy(update={"training": small})
    runner = Runner(expected_of, bench, None)
    (expected,) = run(LoraObjective(expected_of, runner, tmp_path), PARAMS)
    objective = LoraObjective(experiment, Runner(experiment, bench, None), tmp_path)
    with memory_for(bench, 5, after=9):  # in the third step, after a validation
        halved, following = run(objective, PARAMS, PARAMS)
    for trial in (halved, following):
        assert trial.state is TrialState.COMPLETE and trial.value == expected.value
        assert trial.user_attrs["micro_batch"] == 3 and trial.user_attrs["peak_memory"] > 2**20
        assert trial.user_attrs["validation_losses"] == expected.user_attrs["validation_losses"]


def test_losses_without_dropout_do_not_depend_on_the_memory(
    objective: LoraObjective, bench: Bench
) -> None:
    plain = PARAMS | {"dropout": 0.0}
    (whole,) = run(objective, plain)
    with memory_for(bench, 1):
        (halved,) = run(objective, plain)
    assert (whole.user_attrs["micro_batch"], halved.user_attrs["micro_batch"]) == (6, 1)
    assert halved.value == pytest.approx(whole.value, rel=LOSS)


def test_a_trial_that_does_not_fit_at_all(
    objective: LoraObjective, bench: Bench, clean: FrozenTrial
) -> None:
    with memory_for(bench, 0, after=9):
        (failed,) = run(objective, PARAMS)
    (following,) = run(objective, PARAMS)
    assert failed.state == TrialState.FAIL and failed.user_attrs["micro_batch"] == 1
    assert failed.user_attrs["failure"].startswith(
        "out of memory at step 1 with micro-batch 1 and learning_rate 0.005, "
    )
    assert failed.user_attrs["peak_memory"] > 2**20
    assert following.value == clean.value and following.user_attrs["micro_batch"] == 6


def test_other_errors_are_not_hidden(objective: LoraObjective, bench: Bench) -> None:
    def forward_hook(*_: object) -> None:
        raise RuntimeError("a mistake in the program")

    with bench.base.lm_head.register_forward_hook(forward_hook):
        with pytest.raises(RuntimeError, match="a mistake in the program"):
            run(objective, PARAMS)


@pytest.fixture
def task_experiment(experiment: Experiment, tmp_path: Path) -> Experiment:
    """The objective is the accuracy on a task of 40 questions."""
    rows = [
        {"query": f"What is {i}?", "choices": ["river", "song", "apple"], "gold": i % 3}
        for i in range(40)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "quiz.yaml").write_text(
        "task: quiz\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\n"
        'test_split: test\noutput_type: multiple_choice\ndoc_to_text: "{{query}}"\n'
        "doc_to_choice: choices\ndoc_to_target: gold\n"
        "metric_list: [{metric: acc}, {metric: brier_score, higher_is_better: true}]\n"
    )
    scoring = ScoringSettings(objective="quiz", tasks=str(tmp_path))
    return experiment.model_copy(update={"scoring": scoring})


def test_a_task_as_objective(task_experiment: Experiment, bench: Bench, tmp_path: Path) -> None:
    scorer = Scorer.load(task_experiment.scoring, bench.tokenizer, ["quiz"])
    objective = LoraObjective(task_experiment, Runner(task_experiment, bench, scorer), tmp_path)
    trial, again = run(objective, PARAMS, PARAMS, pruner=PruneFirst())
    adapted = load_adapter(bench, Path(trial.user_attrs["adapter"]))
    score = scorer.score(adapted, "quiz")
    release(bench, adapted)
    assert (trial.value, trial.user_attrs["score_stderr"]) == (score.value, score.stderr)
    assert again.value == trial.value
    assert trial.intermediate_values == {}  # a loss is no score
    assert len(trial.user_attrs["validation_losses"]) == 2


class ScarceScorer(Scorer):
    """Memory for a batch of 8 sequences, or for fewer."""

    room = 8

    def score(self, *arguments: Any, **more: Any) -> Score:
        if self.settings.batch > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().score(*arguments, **more)


def test_memory_that_runs_out_in_scoring(
    task_experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """The batch is halved and the adapter scored; it is not trained again."""
    plenty = Scorer.load(task_experiment.scoring, bench.tokenizer, ["quiz"])
    runner = Runner(task_experiment, bench, plenty)
    (clean,) = run(LoraObjective(task_experiment, runner, tmp_path), PARAMS)
    scorer = ScarceScorer.load(task_experiment.scoring, bench.tokenizer, ["quiz"])
    runner = Runner(task_experiment, bench, scorer)
    jobs: list[tuple[int, bool]] = []

    def noted(job: Job, report: Report) -> Outcome:
        jobs.append((job.scoring_batch, job.trained is None))
        return runner(job, report)

    halved, following = run(LoraObjective(task_experiment, noted, tmp_path), PARAMS, PARAMS)
    assert halved.value == following.value == clean.value
    assert jobs == [(32, True), (16, False), (8, False), (8, True)]


def test_memory_that_is_too_little_to_score_at_all(
    task_experiment: Experiment, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScarceScorer, "room", 0)
    scorer = ScarceScorer.load(task_experiment.scoring, bench.tokenizer, ["quiz"])
    runner = Runner(task_experiment, bench, scorer)
    (failed,) = run(LoraObjective(task_experiment, runner, tmp_path), PARAMS)
    failure = "out of memory in scoring with batch 1, after the training"
    assert failed.user_attrs["failure"] == failure and failed.state == TrialState.FAIL
    assert not (tmp_path / "adapters" / "0000").exists()


class NanScorer(Scorer):
    """As a metric that is undefined where all answers are the same."""

    def score(self, *arguments: Any, **more: Any) -> Score:
        return replace(super().score(*arguments, **more), value=math.nan)


def test_a_score_that_is_nan_is_a_failure_that_counts(
    task_experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    scorer = NanScorer.load(task_experiment.scoring, bench.tokenizer, ["quiz"])
    runner = Runner(task_experiment, bench, scorer)
    study = optuna.create_study()
    study.enqueue_trial(PARAMS)
    study.optimize(LoraObjective(task_experiment, runner, tmp_path), n_trials=1)
    (failed,) = finished(study)
    assert failed.state is TrialState.FAIL
    assert failed.user_attrs["failure"] == "acc on quiz was nan after the training"
    assert not (tmp_path / "adapters" / "0000").exists()


def test_jobs_take_turns(objective: LoraObjective, clean: FrozenTrial) -> None:
    study = optuna.create_study()
    study.enqueue_trial(PARAMS)
    study.enqueue_trial(PARAMS)
    study.optimize(objective, n_trials=2, n_jobs=2)
    assert [trial.value for trial in study.trials] == [clean.value] * 2


def test_a_task_that_contradicts_lm_eval(task_experiment: Experiment, bench: Bench) -> None:
    """Whoever writes the direction decides."""
    scoring = task_experiment.scoring.model_copy(update={"metric": "brier_score"})
    experiment = task_experiment.model_copy(update={"scoring": scoring})
    told = "'brier_score': lm-eval's .* would minimize it, the task 'quiz' would maximize it; set"
    with pytest.raises(UserError, match=told):
        direction_of(experiment, Scorer.load(scoring, bench.tokenizer, ["quiz"]))
    scoring = scoring.model_copy(update={"direction": "minimize"})
    experiment = task_experiment.model_copy(update={"scoring": scoring})
    assert direction_of(experiment, Scorer.load(scoring, bench.tokenizer, ["quiz"])) == "minimize"
