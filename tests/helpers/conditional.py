"""Objectives whose parameters depend on the values of others."""

from __future__ import annotations

import math

import optuna


def optimizer(trial: optuna.Trial) -> float:
    """Two choices have the same parameters behind them, and one range of two."""
    name = trial.suggest_categorical("optimizer", ["adam", "adamw", "sgd"])
    if name == "sgd":
        rate, own = trial.suggest_float("rate", 1e-3, 1, log=True), 0.0
        own = trial.suggest_float("momentum", 0, 1)
    else:
        rate = trial.suggest_float("rate", 1e-5, 1e-2, log=True)
        own = trial.suggest_float("beta", 0.8, 1)
    batch = trial.suggest_categorical("batch", [8, 16])
    return abs(math.log10(rate) + 2.7) + own + batch / 100 + (name == "adam")


def layers(trial: optuna.Trial) -> float:
    """Integers, one of many values, decide on as many others."""
    n = trial.suggest_int("n", 1, 40)
    activation = trial.suggest_categorical("activation", ["relu", "tanh"])
    widths = [trial.suggest_int(f"width{i}", 4, 64, log=True) for i in range(min(n, 3))]
    return abs(n - 12) + sum(abs(w - 20) for w in widths) / 9 + (activation == "relu")


def nested(trial: optuna.Trial) -> float:
    shared = trial.suggest_float("shared", 0, 1)
    if trial.suggest_categorical("outer", ["a", "b"]) == "a":
        return shared + 1
    inner = trial.suggest_categorical("inner", ["x", "y"])
    return shared + abs(trial.suggest_float(inner, 0, 1) - 0.8)
