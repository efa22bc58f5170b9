"""A study of 50 trials."""

import optuna
import optunahub


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -5, 10)
    y = trial.suggest_int("y", 0, 15)
    return (x - 3) ** 2 + (y - 2) ** 2


sampler = optunahub.load_module(package="samplers/nomad").NOMADSampler()
study = optuna.create_study(sampler=sampler)
study.optimize(objective, n_trials=50)
print(study.best_trial.value, study.best_trial.params)
