"""Makes what families `standin` and `short` are of: trains, exports, fits; `objectives.tune`.

A study of Latin hypercube trials, one of TPE's, and the same dozen trials with three seeds of the
training, which tell of the noise. Each command goes on where it was; so does this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Sequence
import csv
import gzip
import io
import json
from pathlib import Path
import re
import subprocess
import sys
from typing import Any
import warnings

import numpy as np
import optuna

from benchmarks.curves.families import standin


ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
REPEATED, SEEDS = 12, (1, 2, 3)
FOLDS = 8
Row = dict[str, Any]


def experiment(family: str, seed: int, rates: str = "") -> str:
    """The stand-in's experiment file with eight validations, a family's rows, and no task."""
    text = (EXAMPLES / "standin.toml").read_text().replace('"standin/', f'"{EXAMPLES}/standin/')
    text = re.sub(r"(?m)^(tasks|test) =.*\n", "", text)
    text = text.replace("epochs = 1", f"epochs = 1\nvalidations = {standin.STEPS}\nseed = {seed}")
    text = re.sub(r"(?m)^limit =.*$", f"limit = {standin.ROWS[family]}", text)
    return re.sub(r"(?m)^learning_rate =.*$", rates, text) if rates else text


def studies(family: str, trials: int) -> Iterator[tuple[str, str, str, int, int]]:
    """Name, file, sampler, its seed, trials. Repeats are of learning rates that do something."""
    for sampler in ("lhs", "tpe"):
        yield f"curves-{sampler}", experiment(family, 0), sampler, 1, trials
    for seed in SEEDS:
        text = experiment(family, seed, "learning_rate = {low = 3e-4, high = 1e-2, log = true}")
        yield f"repeats-{seed}", text, "lhs", 2, REPEATED


def train(folder: Path, family: str, trials: int) -> list[str]:
    """Runs every study to its end; the URLs of their storages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text, sampler, seed, n in studies(family, trials):
        file = folder / f"{name}.toml"
        file.write_text(text)
        command = [sys.executable, "-m", "objectives.tune", str(file), "--study", name]
        command += ["--storage", f"sqlite:///{folder / name}.db", "--sampler", sampler]
        command += ["--seed", str(seed), "--trials", str(n), "--search-only"]
        subprocess.run([*command, "--output", str(folder / name)], cwd=ROOT, check=True)
    return [f"sqlite:///{folder / name}.db" for name, *_ in studies(family, trials)]


def exported(storages: Sequence[str]) -> list[Row]:
    """A row per training that ended, in the order of the studies."""
    rows = []
    for url in storages:
        for name in optuna.get_all_study_names(url):
            trials = optuna.load_study(study_name=name, storage=url).trials
            rows += [_row(name, t) for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    return rows


def _row(study: str, trial: optuna.trial.FrozenTrial) -> Row:
    told = trial.user_attrs
    losses = {f"loss_{i}": f"{x:.6g}" for i, (_, x) in enumerate(told["validation_losses"], 1)}
    params = {name: f"{trial.params[name]:.8g}" for name in standin.SPACE}
    cost = {"seconds": f"{told['seconds_training']:.1f}"}
    return {"study": study, **params, **cost, "steps": told["steps"], **losses}


def write(family: str, rows: Sequence[Row]) -> None:
    """The same rows give the same bytes."""
    standin.DATA.mkdir(exist_ok=True)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    standin.table_of(family).write_bytes(gzip.compress(file.getvalue().encode(), mtime=0))


def fit(table: standin.Table) -> standin.Settings:
    """By the likelihood of all validations under one kernel."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel
    from sklearn.gaussian_process.kernels import Matern
    from sklearn.gaussian_process.kernels import WhiteKernel

    curves = np.log(table.losses - standin.FLOOR)
    matern = Matern([0.5] * table.x.shape[1], (0.05, 100), nu=2.5)
    kernel = ConstantKernel(1, (0.1, 1e3)) * matern + WhiteKernel(1e-3, (1e-7, 1))
    process = GaussianProcessRegressor(kernel, alpha=1e-9)
    with warnings.catch_warnings():  # what does not matter has a length scale at its bound
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = process.fit(table.x, (curves - curves.mean(0)) / curves.std(0)).kernel_
    (constant, lengths), white = (found.k1.k1, found.k1.k2.length_scale), found.k2.noise_level
    return standin.Settings(tuple(lengths), constant.constant_value, white, share=1.0)


def checked(table: standin.Table, settings: standin.Settings) -> dict[str, list[float]]:
    """R2 and Spearman's correlation of each validation, on trainings that were left out."""
    from scipy.stats import spearmanr

    order = np.random.default_rng(0).permutation(len(table.params))
    predicted = np.empty_like(table.losses)
    for fold in range(FOLDS):
        out = order[fold::FOLDS]
        model = standin.Surrogate(table.part(np.setdiff1d(order, out)), settings)
        predicted[out] = [standin.losses(model.curve(table.params[i])) for i in out]
    around = table.losses - table.losses.mean(0)
    unexplained = np.sum((table.losses - predicted) ** 2, axis=0) / np.sum(around**2, axis=0)
    pairs = zip(predicted.T, table.losses.T, strict=True)
    ranks = [round(float(spearmanr(a, b)[0]), 4) for a, b in pairs]
    return {"r2": [round(1 - float(u), 4) for u in unexplained], "spearman": ranks}


def repeated(rows: Sequence[Row]) -> float | None:
    """The deviation of repeats at the last validation, in logarithms; None if there are none."""
    groups = defaultdict(list)
    for row in rows:
        if row["study"].startswith("repeats"):
            last = float(row[f"loss_{standin.STEPS}"])
            groups[tuple(row[name] for name in standin.SPACE)].append(np.log(last - standin.FLOOR))
    variances = [np.var(each, ddof=1) for each in groups.values() if len(each) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else None


def settle(family: str, rows: Sequence[Row]) -> None:
    """Fits the surrogate to the table and writes its settings, with what they are worth."""
    table = standin.read(family)
    found = fit(table)
    residuals = standin.Surrogate(table, found).residuals[:, -1]
    scale = float(np.log(table.losses[:, -1] - standin.FLOOR).std())
    deviation = repeated(rows)
    noise = scale * found.noise**0.5 if deviation is None else deviation
    told = {
        "settings": {
            "lengths": [round(x, 4) for x in found.lengths],
            "variance": round(found.variance, 4),
            "noise": float(f"{found.noise:.4g}"),
            "share": round(min(1.0, noise / float(residuals.std())), 4),
        },
        "trainings": len(table.params),
        "noise_from": "nugget" if deviation is None else "repeats",
        "left_out": checked(table, found),
    }
    standin.settings_of(family).write_text(json.dumps(told, indent=1) + "\n")


def make(folder: Path, family: str, trials: int, storages: Sequence[str] = ()) -> None:
    """Trains unless storages are named; exports and fits."""
    rows = exported(storages or train(folder / family, family, trials))
    write(family, rows)
    settle(family, rows)
