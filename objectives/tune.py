"""The command line: the one place where sampler, objective and storage meet.

    python -m objectives.tune examples/standin.toml                        # minutes, no GPU
    python -m objectives.tune examples/llama_1b_alpaca.toml --storage sqlite:///llama.db \\
        --study llama --sampler soo --trials 50

Run it again to continue a study: trials of earlier runs count, an interrupted one is repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import signal
import sys
from typing import Any
from typing import NoReturn

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import distribution_to_json
from optuna.samplers import BaseSampler

from objectives.config import Experiment
from objectives.config import load_experiment
from objectives.config import StudySettings
from objectives.errors import UserError
from objectives.progress import finished
from objectives.progress import Progress
from optuna_partition import inspection
from optuna_partition import SOOSampler
import storage


__all__ = ["main"]

Space = dict[str, BaseDistribution]

SAMPLERS: Mapping[str, Callable[[Space, int], BaseSampler]] = {
    "soo": lambda space, seed: SOOSampler(search_space=space, seed=seed),
    "tpe": lambda space, seed: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda space, seed: optuna.samplers.GPSampler(seed=seed),
    "random": lambda space, seed: optuna.samplers.RandomSampler(seed=seed),
}
PRUNERS: Mapping[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}
EXPERIMENT = "experiment"
"""Study user attribute: the settings that values depend on."""
INTERRUPTED = 130  # as a shell counts an end by SIGINT


@dataclass(frozen=True)
class Plan:
    """What one call of the command is to do."""

    experiment: Experiment
    name: str
    url: str
    folder: Path
    settings: StudySettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; its exit status."""
    parsed = _parser().parse_args(arguments)
    _quieten()
    try:
        return _run(_plan(parsed))
    except (UserError, storage.StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m objectives.tune",
        description="Searches the hyperparameters of a LoRA fine-tuning.",
    )
    parser.add_argument("file", type=Path, help="the experiment, TOML (see examples/)")
    parser.add_argument("--storage", help="database URL; default sqlite in the output folder")
    parser.add_argument("--study", dest="name", help="name of the study; default the file's")
    parser.add_argument("--sampler", help=f"one of {', '.join(SAMPLERS)}")
    parser.add_argument("--trials", type=int, help="finished trials wanted, earlier runs included")
    parser.add_argument("--seed", type=int, help="of a sampler that draws")
    parser.add_argument("--pruner", help=f"one of {', '.join(PRUNERS)}")
    parser.add_argument("--output", help="folder for adapters and report; default runs")
    return parser


def _plan(parsed: argparse.Namespace) -> Plan:
    """The experiment with the command line's settings over the file's."""
    experiment = load_experiment(parsed.file)
    given = {
        name: value
        for name in StudySettings.model_fields
        if (value := getattr(parsed, name, None)) is not None
    }
    settings = experiment.study.model_copy(update=given)
    _check_choice("--sampler", settings.sampler, SAMPLERS)
    _check_choice("--pruner", settings.pruner, PRUNERS)
    if settings.trials < 1:
        raise UserError(f"--trials {settings.trials}: must be >= 1; for example --trials 20")
    name = settings.name or parsed.file.stem
    folder = Path(settings.output) / name
    url = settings.storage or f"sqlite:///{folder / 'study.db'}"
    return Plan(experiment, name, url, folder, settings)


def _check_choice(flag: str, value: str, choices: Mapping[str, Any]) -> None:
    if value not in choices:
        raise UserError(f"{flag} {value}: must be one of {', '.join(choices)}")


def _run(plan: Plan) -> int:
    _check_same_experiment(plan, _existing(plan))
    # The heavy imports wait until the plan is sound.
    from objectives.bench import load_bench
    from objectives.objective import LoraObjective
    from objectives.score import Scorer

    experiment = plan.experiment
    print(f"loading {experiment.model.name} and {experiment.data.train} ...", flush=True)
    bench = load_bench(experiment, cache=Path(plan.settings.output) / "cache")
    goal = [] if experiment.scoring.objective == "loss" else [experiment.scoring.objective]
    tasks = list(dict.fromkeys([*goal, *experiment.scoring.test]))
    scorer = Scorer.load(experiment.scoring, bench.tokenizer, tasks) if tasks else None
    objective = LoraObjective(experiment, bench, scorer, plan.folder)
    study = _open(plan)
    interrupted = _search(plan, study, objective)
    if interrupted:
        print("stopped; the same command continues this study", flush=True)
        return INTERRUPTED
    return _finish(plan, study, bench, scorer)


def _quieten() -> None:
    """The terminal is for the progress of the study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


# ---- the study ----


def _existing(plan: Plan) -> optuna.Study | None:
    new = plan.settings.storage is None and not plan.folder.is_dir()
    if new or not storage.exists(plan.url):
        return None
    try:
        return optuna.load_study(study_name=plan.name, storage=storage.open(plan.url))
    except KeyError:  # Optuna's word for: no study of that name
        return None


def _values_depend_on(experiment: Experiment) -> dict[str, str]:
    """The settings that make values comparable, as text; paths by their last part."""
    space = {
        f"[search] {n}": distribution_to_json(d) for n, d in experiment.search_space().items()
    }
    scoring = experiment.scoring.model_dump(include={"objective", "metric", "limit", "few_shot"})
    training = experiment.training.model_dump(exclude={"micro_batch", "validations"})
    data = experiment.data.model_dump()
    for key in ("train", "validation"):
        data[key] = data[key] and Path(data[key]).name
    sections = {"data": data, "training": training, "scoring": scoring}
    rest = {f"[{s}] {k}": str(v) for s, keys in sections.items() for k, v in keys.items()}
    return {"[model] name": Path(experiment.model.name).name, **space, **rest}


def _check_same_experiment(plan: Plan, study: optuna.Study | None) -> None:
    if study is None:
        return
    before = study.user_attrs.get(EXPERIMENT, {})
    now = _values_depend_on(plan.experiment)
    changed = [key for key in {**before, **now} if before and before.get(key) != now.get(key)]
    if changed:
        lines = [
            f"  {k}: was {before.get(k, 'absent')}, is {now.get(k, 'absent')}" for k in changed
        ]
        raise UserError(
            f"--study {plan.name}: exists in {plan.url} with another experiment, whose values do "
            "not compare; choose another --study, or restore:\n" + "\n".join(lines)
        )
    if study.direction.name.lower() != plan.experiment.direction:
        raise UserError(
            f"--study {plan.name}: exists in {plan.url} to {study.direction.name.lower()}, and "
            f"this experiment is to {plan.experiment.direction}; choose another --study"
        )


def _open(plan: Plan) -> optuna.Study:
    """The study, made or continued."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    sampler = SAMPLERS[plan.settings.sampler](plan.experiment.search_space(), plan.settings.seed)
    study = optuna.create_study(
        study_name=plan.name,
        storage=storage.open(plan.url),
        sampler=sampler,
        pruner=PRUNERS[plan.settings.pruner](),
        direction=plan.experiment.direction,
        load_if_exists=True,
    )
    study.set_user_attr(EXPERIMENT, _values_depend_on(plan.experiment))
    for number in storage.recover(study):
        print(f"trial {number} was left by a process that is gone; it is run again")
    return study


def _search(plan: Plan, study: optuna.Study, objective: Callable[[optuna.Trial], float]) -> bool:
    """Runs trials until enough have finished; whether the user stopped it."""
    from objectives.final import keep_best_adapters

    done = len(finished(study))
    wanted = plan.settings.trials
    print(f"study {plan.name} in {plan.url}: {done} of {wanted} trials finished", flush=True)
    if done >= wanted:
        return False

    def run(trial: optuna.Trial) -> float:
        storage.mark_worker(trial)
        return objective(trial)

    scoring = plan.experiment.scoring
    unit = "loss" if scoring.objective == "loss" else scoring.metric
    progress, prune = Progress(wanted, unit), keep_best_adapters(scoring.best)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        study.optimize(run, callbacks=[progress, prune])
    except KeyboardInterrupt:
        return True
    return False


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


# ---- afterwards ----


def _finish(plan: Plan, study: optuna.Study, bench: Any, scorer: Any) -> int:
    from objectives.final import best_trials
    from objectives.final import final_test
    from objectives.final import save_best

    if not best_trials(study, 1):
        print("no trial has a value; the failures are in the report")
        print(f"report         {_report(plan, study, [])}")
        return 1
    test = plan.experiment.scoring.test
    rows = final_test(plan.experiment, bench, scorer, study, plan.folder) if test else []
    best = study.best_trial
    print(f"best           {best.value:.4f} in trial {best.number}")
    for name, value in best.params.items():
        print(f"  {name:<18} {value:.4g}")
    print(f"best adapter   {save_best(plan.experiment, study, rows, plan.folder)}")
    print(f"report         {_report(plan, study, rows)}")
    return 0


def _report(plan: Plan, study: optuna.Study, rows: Sequence[Any]) -> Path:
    from objectives.report import CellBox
    from objectives.report import write_report

    space = plan.experiment.search_space()
    scoring = plan.experiment.scoring
    cells = [CellBox(low=c.low, high=c.high) for c in inspection.cells(study)]
    return write_report(
        study,
        plan.folder / "report",
        title=f"{plan.name}: LoRA hyperparameters",
        space=space,
        cells=cells,
        to_unit=(lambda params: inspection.unit(space, params) or {}) if cells else None,
        final=rows,
        settings={
            "model": plan.experiment.model.name,
            "data": plan.experiment.data.train,
            "objective": scoring.objective,
            "sampler": plan.settings.sampler,
            "storage": plan.url,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
