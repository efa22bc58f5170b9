"""Packs whose places are taken again: values as alone, memory, interruptions, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from experiment_files import wide_search
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial
import pytest
from test_pack_search import search
from trainings import memory_for
from trainings import OTHERS
from trainings import PARAMS
from trainings import run

from objectives.model.bench import Bench
from objectives.objective import LoraObjective
from objectives.pack.packed import Pack
from objectives.pack.runner import PackRunner
from objectives.pack.search import Packs
from objectives.settings.config import Experiment
from objectives.settings.sections.study import StudySettings
from objectives.settings.sections.training import TrainingSettings
from objectives.training.runner import Runner


pytestmark = pytest.mark.usefixtures("packs_as_on_a_gpu")

SIX = [
    *(PARAMS, OTHERS, PARAMS | {"rank": 7, "dropout": 0.0}, OTHERS | {"dropout": 0.3}),
    *(PARAMS | {"alpha": 2}, OTHERS | {"rank": 5}),
]


class PruneAt(BasePruner):
    """Ends some trials, each at its own report."""

    def __init__(self, parts: dict[int, int]) -> None:
        self._parts = parts

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.last_step == self._parts.get(trial.number)


@pytest.fixture(scope="module")
def experiment(tiny_experiment: Experiment) -> Experiment:
    training = TrainingSettings(validations=4, micro_batch=6)
    parts = {"training": training, "search": wide_search()}
    study = StudySettings(checkpoints="pruned")
    return tiny_experiment.model_copy(update={**parts, "study": study})


Make = Callable[[str, int], Packs]


@pytest.fixture
def packs(experiment: Experiment, bench: Bench, tmp_path: Path) -> Make:
    """In a folder, so many at once."""

    def made(folder: str, size: int) -> Packs:
        alone = LoraObjective(experiment, Runner(experiment, bench, None), tmp_path / folder)
        return Packs(alone, PackRunner(experiment, bench), size)

    return made


@pytest.fixture
def alone(experiment: Experiment, bench: Bench, tmp_path: Path) -> LoraObjective:
    return LoraObjective(experiment, Runner(experiment, bench, None), tmp_path / "alone")


def assert_equal(trial: FrozenTrial, single: FrozenTrial) -> None:
    """But for rounding, at each validation."""
    assert trial.params == single.params and trial.state == single.state
    assert trial.intermediate_values == pytest.approx(single.intermediate_values, abs=1e-5, rel=0)
    for name in ("steps", "steps_in_all", "micro_batch"):
        assert trial.user_attrs[name] == single.user_attrs[name]


def test_the_place_of_a_pruned_trial_is_taken_at_once(
    packs: Make, alone: LoraObjective, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All have as many steps, so that a round without one of the places would be one too few."""
    sizes: list[int] = []
    round_of = Pack._round

    def counted(self: Pack, members: list[object]) -> None:
        sizes.append(len(members))
        round_of(self, members)  # type: ignore[arg-type]

    monkeypatch.setattr(Pack, "_round", counted)
    pruner = PruneAt({0: 1, 2: 2, 3: 1})
    study, told = search(packs("together", 2), SIX, pruner=pruner)
    singles = run(alone, *SIX, pruner=pruner)
    assert told == [0, 2, 1, 3, 5, 4] or told == [0, 2, 1, 3, 4, 5]
    for trial, single in zip(study.trials, singles, strict=True):
        assert_equal(trial, single)
    assert [trial.user_attrs["pack"] for trial in study.trials] == [2] * 6
    last = max(i for i, size in enumerate(sizes) if size == 2)
    assert sizes == [2] * (last + 1) + [1] * (len(sizes) - last - 1)
    begun, ended = study.trials[2].datetime_start, study.trials[1].datetime_complete
    assert begun is not None and ended is not None and begun < ended


def test_memory_that_runs_out_after_others_have_joined(packs: Make, bench: Bench) -> None:
    """Those in training go on from their checkpoints, two by two."""
    filled = packs("together", 4)
    with memory_for(bench, 12, after=12):
        study, _ = search(filled, SIX, pruner=PruneAt({0: 1, 2: 1}))
    states = [trial.state.name for trial in study.trials]
    assert states == ["PRUNED", "COMPLETE", "PRUNED", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert filled.size == 2
    assert {trial.user_attrs["micro_batch"] for trial in study.trials} == {6}
    assert study.trials[1].user_attrs["resumed_at"] > 0


def stopped(packs: Packs, after: int) -> optuna.Study:
    """A search that is interrupted at a validation."""
    reports = iter(range(1000))

    class Interrupt(BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            if next(reports) == after:
                raise KeyboardInterrupt
            return trial.number == 0

    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(KeyboardInterrupt):
        search(packs, SIX, pruner=Interrupt(), storage=storage)  # type: ignore[arg-type]
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def test_an_interrupted_pack_goes_on(packs: Make, alone: LoraObjective) -> None:
    before = stopped(packs("together", 2), after=4)
    lost = [trial for trial in before.trials if trial.state.name == "FAIL"]
    assert [trial.number for trial in lost] == [1, 2]
    study, _ = search(packs("together", 2), [trial.params for trial in lost])
    for trial, single in zip(study.trials, run(alone, *SIX[1:3]), strict=True):
        assert_equal(trial, single)
        assert trial.user_attrs["resumed_at"] > 0


def test_a_pruned_trial_is_continued_from_pack_to_pack_and_alone(
    packs: Make, alone: LoraObjective
) -> None:
    """Pruned in a pack after one part, in another after two, and done by itself."""
    (whole,) = run(alone, SIX[0])
    folder = packs("together", 2)
    first, _ = search(folder, SIX[:2], pruner=PruneAt({0: 1}))
    second, _ = search(folder, SIX[:2], pruner=PruneAt({0: 2}))
    (third, _) = search(packs("together", 1), SIX[:1])
    ends = [study.trials[0].user_attrs["steps"] for study in (first, second, third)]
    starts = [study.trials[0].user_attrs.get("resumed_at") for study in (first, second, third)]
    assert ends == [1, 2, 4] and starts == [None, 1, 2]
    assert_equal(third.trials[0], whole)
