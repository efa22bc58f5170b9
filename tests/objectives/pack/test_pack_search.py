"""Packs of trials: the values of trials alone, and what a pruned, failed or stopped one leaves."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from commands import written
from experiment_files import wide_search
import optuna
from optuna.distributions import IntDistribution
from optuna.pruners import BasePruner
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from peft import PeftModel
import pytest
import torch
from trainings import memory_for
from trainings import OTHERS
from trainings import PARAMS
from trainings import PruneFirst
from trainings import run
from transformers import AutoModelForCausalLM

from objectives.job import Ended
from objectives.job import Job
from objectives.job import Join
from objectives.job import RunPack
from objectives.model.bench import Bench
from objectives.objective import Begun
from objectives.objective import LoraObjective
from objectives.pack.runner import pack_size
from objectives.pack.runner import PackRunner
from objectives.pack.search import Ask
from objectives.pack.search import Packs
from objectives.pack.search import search_in_packs
from objectives.result.adapters import SPARE
from objectives.settings.config import Experiment
from objectives.settings.search.ranges import Range
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner
from objectives.tune import main
from optuna_partition import SOOSampler
from storage import mark_stopped


pytestmark = pytest.mark.usefixtures("packs_as_on_a_gpu")

THREE = [PARAMS, OTHERS, PARAMS | {"rank": 7, "dropout": 0.0}]


@pytest.fixture(scope="module")
def experiment(tiny_experiment: Experiment) -> Experiment:
    training = TrainingSettings(validations=2, micro_batch=6)
    search = wide_search()
    return tiny_experiment.model_copy(update={"training": training, "search": search})


@pytest.fixture
def packs(experiment: Experiment, bench: Bench, tmp_path: Path) -> Packs:
    alone = LoraObjective(experiment, Runner(experiment, bench, None), tmp_path)
    return Packs(alone, PackRunner(experiment, bench), 3)


def search(
    packs: Packs,
    params: Sequence[dict[str, float]],
    pruner: BasePruner | None = None,
    storage: RDBStorage | None = None,
) -> tuple[optuna.Study, list[int]]:
    """The study, and the trials' numbers in the order in which they were told."""
    study = optuna.create_study(pruner=pruner or optuna.pruners.NopPruner(), storage=storage)
    for each in params:
        study.enqueue_trial(each)
    told: list[int] = []

    def callback(study: optuna.Study, trial: FrozenTrial) -> None:
        assert trial.state.is_finished()
        told.append(trial.number)

    search_in_packs(
        study,
        packs,
        exhausted=lambda: False,
        wait=lambda: waiting(study) > 0,
        room=lambda: waiting(study),
        mark=lambda trial: trial.set_user_attr("marked", True),
        mark_stopped=lambda trial: None,
        callbacks=[callback],
        welcome=nullcontext,
        unwelcome=nullcontext,
    )
    return study, told


def waiting(study: optuna.Study) -> int:
    return len(study.get_trials(states=(TrialState.WAITING,)))


def test_values_are_those_of_trials_alone(
    packs: Packs, experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    study, told = search(packs, [*THREE, PARAMS])
    objective = LoraObjective(experiment, Runner(experiment, bench, None), tmp_path / "alone")
    expected = [*run(objective, *THREE), *run(objective, PARAMS)]
    assert told == [0, 1, 2, 3]
    for trial, single in zip(study.trials, expected, strict=True):
        assert trial.value == pytest.approx(single.value, abs=1e-5, rel=0)
        assert trial.intermediate_values[1] == pytest.approx(
            single.intermediate_values[1], abs=1e-5, rel=0
        )
        assert trial.user_attrs.keys() == single.user_attrs.keys() | {"pack", "marked"}
        for name in ("steps", "tokens", "micro_batch"):
            assert trial.user_attrs[name] == single.user_attrs[name]
    assert [trial.user_attrs["pack"] for trial in study.trials] == [3, 3, 3, 1]
    assert study.trials[3].value == expected[3].value  # the last was alone in its pack


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_saved_adapters_are_pefts(packs: Packs, tiny_model_folder: Path) -> None:
    study, _ = search(packs, THREE[:2])
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    config = PeftModel.from_pretrained(base, study.trials[1].user_attrs["adapter"]).peft_config
    assert (config["default"].r, config["default"].lora_alpha) == (2, 16)


def test_each_trial_is_told_for_itself(packs: Packs) -> None:
    """The first is pruned, the second diverges, the third finishes."""
    study, _ = search(
        packs, [PARAMS, PARAMS | {"learning_rate": 1e30}, OTHERS], pruner=PruneFirst()
    )
    pruned, failed, complete = study.trials
    assert [t.state.name for t in study.trials] == ["PRUNED", "FAIL", "COMPLETE"]
    assert pruned.user_attrs["steps"] == 2 and "adapter" not in pruned.user_attrs
    assert pruned.user_attrs["seconds_training"] > 0
    assert "loss was nan at step 2 of 4 with learning_rate 1e+30" in failed.user_attrs["failure"]
    assert Path(complete.user_attrs["adapter"]).is_dir()


def test_one_that_another_worker_takes_for_dead_leaves_its_pack(packs: Packs) -> None:
    """At its first report; so does one that is alone, in the middle of its training."""

    class Others(BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            if (lost := {0: 1, 3: 3}.get(trial.number)) is not None:
                lost_id = study.trials[lost]._trial_id
                study._storage.set_trial_state_values(lost_id, TrialState.FAIL)
            return False

    study, told = search(packs, [*THREE, PARAMS], pruner=Others())
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "FAIL"] and sorted(told) == [0, 1, 2, 3]


def test_memory_that_runs_out_halves_the_pack_first(packs: Packs, bench: Bench) -> None:
    """18 rows do not fit, nor do 12, nor do 6: packs of 3 and 1, then half the micro-batch."""
    with memory_for(bench, 5):
        study, told = search(packs, THREE)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3 and told == [0, 1, 2]
    assert [t.user_attrs["pack"] for t in study.trials] == [1, 1, 1]
    assert [t.user_attrs["micro_batch"] for t in study.trials] == [3, 3, 3]
    assert packs.size == 1


def test_the_next_packs_have_the_size_that_fitted(packs: Packs, bench: Bench) -> None:
    packs.size = 4
    with memory_for(bench, 12, after=2):
        study, _ = search(packs, [*THREE, PARAMS, PARAMS, PARAMS])
    assert [t.user_attrs["pack"] for t in study.trials] == [2] * 6
    assert [t.user_attrs["micro_batch"] for t in study.trials] == [6] * 6


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_stops_the_search_fails_all_that_run(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """With a real heartbeat: it ends with the trial."""

    def interrupted(join: Join) -> Iterator[tuple[Job, Ended]]:
        join(0)
        raise KeyboardInterrupt

    alone = LoraObjective(experiment, Runner(experiment, bench, None), tmp_path)
    storage = RDBStorage(f"sqlite:///{tmp_path / 's.db'}", heartbeat_interval=60)
    with pytest.raises(KeyboardInterrupt):
        search(Packs(alone, interrupted, 2), THREE, storage=storage)
    (study,) = optuna.get_all_study_summaries(storage)
    trials = optuna.load_study(study_name=study.study_name, storage=storage).trials
    assert [t.state.name for t in trials] == ["FAIL", "FAIL", "WAITING"]
    assert all("failure" not in t.user_attrs and "marked" in t.user_attrs for t in trials[:2])


def test_points_of_an_interrupted_pack_are_asked_for_again(
    experiment: Experiment, bench: Bench, tmp_path: Path
) -> None:
    """Both of the two, however often: to the sampler they are not points that failed."""

    def interrupted(join: Join) -> Iterator[tuple[Job, Ended]]:
        join(0)
        raise KeyboardInterrupt

    rates = Range(low=1e-6, high=1e-2, log=True)
    search = experiment.search.model_copy(update={"learning_rate": rates})
    experiment = experiment.model_copy(update={"search": search})
    study = optuna.create_study(sampler=SOOSampler(search_space=experiment.search_space()))

    def room() -> int:
        count = (TrialState.COMPLETE, TrialState.RUNNING)
        return 4 - len(study.get_trials(states=count))

    def go_on(run: RunPack) -> None:
        alone = LoraObjective(experiment, Runner(experiment, bench, None), tmp_path)
        search_in_packs(
            study,
            Packs(alone, run, 2),
            exhausted=lambda: False,
            wait=lambda: room() > 0,
            room=room,
            mark=lambda trial: None,
            mark_stopped=mark_stopped,
            callbacks=[],
            welcome=nullcontext,
            unwelcome=nullcontext,
        )

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            go_on(interrupted)
    go_on(PackRunner(experiment, bench))
    points = [tuple(t.params.values()) for t in study.trials]
    lost, evaluated = set(points[:6]), set(points[6:])
    assert [t.state for t in study.trials] == [TrialState.FAIL] * 6 + [TrialState.COMPLETE] * 4
    assert len(lost) == 2 and len(evaluated) == 4 and lost < evaluated


def test_a_cpu_gets_a_small_pack(experiment: Experiment, bench: Bench) -> None:
    assert pack_size(experiment, bench) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pack", "0"], "--pack 0: must be >= 1"),
        (["--pack", "2", "--gpus-per-trial", "1"], "a pack is trained in the worker itself"),
        (["--pack", "auto", "--cold"], "a pack is trained in the worker itself"),
    ],
)
def test_packs_that_the_command_refuses(
    tmp_path: Path,
    tiny_model_folder: Path,
    alpaca_file: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    file = written(tmp_path, tiny_model_folder, alpaca_file)
    assert main([str(file), "--output", str(tmp_path / "runs"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_command_searches_in_packs(
    tmp_path: Path, tiny_model_folder: Path, alpaca_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, tiny_model_folder, alpaca_file)
    file.write_text(file.read_text().replace("best = 2", "best = 1"))
    options = ["--output", str(tmp_path), "--pack", "auto", "--trials", "5", "--search-only"]
    assert main([str(file), *options]) == 0
    assert "trial   5 of 5" in capsys.readouterr().out
    url = f"sqlite:///{tmp_path / 'tiny' / 'study.db'}"
    trials = optuna.load_study(study_name="tiny", storage=url).trials
    assert [t.user_attrs["pack"] for t in trials] == [4] * 4 + [1]
    points = {tuple(t.params.values()) for t in trials}
    assert len(points) == 5 and all(t.state is TrialState.COMPLETE for t in trials)
    kept = [t for t in trials if Path(t.user_attrs["adapter"]).is_dir()]
    assert len(kept) == SPARE < 5  # of `best = 1`


class Ranks:
    """Packs whose trials are worth their rank."""

    size = 3

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def begin(self, trial: optuna.Trial) -> Begun:
        trial.suggest_int("rank", 2, 5)
        return cast(Begun, SimpleNamespace(trial=trial))

    def __call__(self, ask: Ask) -> Iterator[tuple[Begun, float]]:
        begun = list(islice(iter(ask, None), self.size))
        self.sizes.append(len(begun))
        yield from ((each, float(each.trial.params["rank"])) for each in begun)


def test_packs_evaluate_a_finite_space_once_and_end() -> None:
    """Four points: three, then the one that is left."""
    sampler, packs = SOOSampler(search_space={"rank": IntDistribution(2, 5)}), Ranks()
    study = optuna.create_study(sampler=sampler)
    search_in_packs(
        study,
        cast(Packs, packs),
        wait=lambda: True,
        room=lambda: 100,
        exhausted=lambda: sampler.is_exhausted(study),
        mark=lambda trial: None,
        mark_stopped=lambda trial: None,
        callbacks=[],
        welcome=nullcontext,
        unwelcome=nullcontext,
    )
    assert packs.sizes == [3, 1]
    assert sorted(trial.params["rank"] for trial in study.trials) == [2, 3, 4, 5]
