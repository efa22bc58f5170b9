"""Trials: what one leaves behind, and that a failed or pruned one leaves the next alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
import torch

from objectives.bench import Bench
from objectives.bench import load_adapter
from objectives.bench import load_bench
from objectives.bench import release
from objectives.config import Choices
from objectives.config import Experiment
from objectives.config import Range
from objectives.config import ScoringSettings
from objectives.config import SearchSettings
from objectives.config import TrainingSettings
from objectives.errors import UserError
from objectives.objective import LoraObjective
from objectives.score import Scorer


PARAMS = {"learning_rate": 5e-3, "weight_decay": 0.0, "rank": 4, "alpha": 8, "dropout": 0.2}
OTHERS = {"learning_rate": 1e-3, "weight_decay": 0.1, "rank": 2, "alpha": 16, "dropout": 0.0}


@pytest.fixture(scope="module")
def experiment(tiny_experiment: Experiment) -> Experiment:
    training = TrainingSettings(validations=2, micro_batch=6)
    search = SearchSettings(
        learning_rate=Range(low=1e-6, high=1e30, log=True),
        weight_decay=Choices(choices=[0.0, 0.1]),
        rank=Range(low=1, high=8),
        alpha=Range(low=1, high=64),
        dropout=Range(low=0.0, high=0.5, step=0.1),
        effective_batch=12,
    )
    return tiny_experiment.model_copy(update={"training": training, "search": search})


@pytest.fixture
def objective(experiment: Experiment, bench: Bench, tmp_path: Path) -> LoraObjective:
    return LoraObjective(experiment, bench, None, tmp_path)


@pytest.fixture(scope="module")
def clean(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> FrozenTrial:
    """A trial with `PARAMS` on a base that nothing has happened to."""
    folder = tmp_path_factory.mktemp("clean")
    (trial,) = run(LoraObjective(experiment, load_bench(experiment), None, folder), PARAMS)
    return trial


def run(
    objective: LoraObjective,
    *params: dict[str, float],
    pruner: BasePruner | None = None,
) -> list[FrozenTrial]:
    study = optuna.create_study(pruner=pruner or optuna.pruners.NopPruner())
    for each in params:
        study.enqueue_trial(each)
    study.optimize(objective, n_trials=len(params))
    return study.trials


class PruneFirst(BasePruner):
    """Ends the first trial at its first report."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.number == 0


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
    assert all(0 <= s < 60 for s in seconds)
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


def test_a_median_pruner_compares_shares_of_the_training(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """Trials of 4, 12 and 16 steps: at equal steps there would be nothing to compare."""
    search = experiment.search.model_copy(update={"effective_batch": Choices(choices=[3, 4, 12])})
    objective = LoraObjective(
        experiment.model_copy(update={"search": search}), bench, None, tmp_path
    )
    good = [PARAMS | {"effective_batch": batch} for batch in (4, 12)]
    bad = OTHERS | {"learning_rate": 1e-6, "effective_batch": 3}
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
    trials = run(objective, *good, bad, pruner=pruner)
    assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert [t.user_attrs["steps"] for t in trials] == [12, 4, 8]


def test_a_diverged_trial(objective: LoraObjective, clean: FrozenTrial) -> None:
    failed, following = run(objective, PARAMS | {"learning_rate": 1e30}, PARAMS)
    assert failed.state == TrialState.FAIL
    assert "loss was nan at step 2 of 4 with learning_rate 1e+30, " in failed.user_attrs["failure"]
    assert "adapter" not in failed.user_attrs
    assert following.value == clean.value


def test_a_base_with_an_infinite_weight(objective: LoraObjective, clean: FrozenTrial) -> None:
    column = objective._bench.base.get_input_embeddings().weight.detach()[:, 0]
    kept = column.clone()
    column.fill_(math.inf)
    try:
        (failed,) = run(objective, PARAMS)
    finally:
        column.copy_(kept)
    assert failed.user_attrs["failure"].startswith("training loss was nan at step 1 of 4 with")
    assert run(objective, PARAMS)[0].value == clean.value


def test_a_trial_out_of_memory(objective: LoraObjective, clean: FrozenTrial) -> None:
    calls = iter(range(1000))

    def forward_hook(*_: object) -> None:
        if next(calls) == 3:  # two micro-batches a step
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with objective._bench.base.lm_head.register_forward_hook(forward_hook):
        failed, following = run(objective, PARAMS, PARAMS)
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs["failure"].startswith(
        "out of memory at step 2 with micro-batch 6 and learning_rate 0.005, "
    )
    assert following.value == clean.value


def test_other_errors_are_not_hidden(objective: LoraObjective) -> None:
    def forward_hook(*_: object) -> None:
        raise RuntimeError("a mistake in the program")

    with objective._bench.base.lm_head.register_forward_hook(forward_hook):
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
    objective = LoraObjective(task_experiment, bench, scorer, tmp_path)
    trial, again = run(objective, PARAMS, PARAMS, pruner=PruneFirst())
    adapted = load_adapter(bench, Path(trial.user_attrs["adapter"]))
    score = scorer.score(adapted, "quiz")
    release(bench, adapted)
    assert (trial.value, trial.user_attrs["score_stderr"]) == (score.value, score.stderr)
    assert again.value == trial.value
    assert trial.intermediate_values == {}  # a loss is no score
    assert len(trial.user_attrs["validation_losses"]) == 2


def test_memory_that_runs_out_in_scoring(
    task_experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    scorer = Scorer.load(task_experiment.scoring, bench.tokenizer, ["quiz"])
    objective = LoraObjective(task_experiment, bench, scorer, tmp_path)
    (clean,) = run(objective, PARAMS)
    calls = iter(range(1000))

    def forward_hook(*_: object) -> None:
        # 8 forwards to train, 3 for each of the two validations
        if next(calls) == 14:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with bench.base.lm_head.register_forward_hook(forward_hook):
        failed, following = run(objective, PARAMS, PARAMS)
    failure = "out of memory in scoring with batch 32, after the training"
    assert failed.user_attrs["failure"] == failure and failed.state == TrialState.FAIL
    assert following.value == clean.value


def test_jobs_take_turns(objective: LoraObjective, clean: FrozenTrial) -> None:
    study = optuna.create_study()
    study.enqueue_trial(PARAMS)
    study.enqueue_trial(PARAMS)
    study.optimize(objective, n_trials=2, n_jobs=2)
    assert [trial.value for trial in study.trials] == [clean.value] * 2


def test_a_task_that_looks_the_other_way(
    task_experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    scoring = task_experiment.scoring.model_copy(update={"metric": "brier_score"})
    scorer = Scorer.load(scoring, bench.tokenizer, ["quiz"])
    with pytest.raises(UserError, match="'brier_score': the task 'quiz' wants it maximized"):
        LoraObjective(
            task_experiment.model_copy(update={"scoring": scoring}), bench, scorer, tmp_path
        )
