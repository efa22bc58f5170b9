"""Family `sklearn`: small real tunings by cross-validation; reads scikit-learn's own data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import functools
import importlib
from typing import Any
import warnings

from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import NotAvailable
from benchmarks.compare.instance import Params
from benchmarks.compare.instance import Space


REFERENCE = 600  # evaluations of the long random search: each takes 10 to 150 ms
ROWS = 200


@dataclass(frozen=True)
class Tuning:
    """A model, what is fixed of it, the data it learns and scikit-learn's name of the score."""

    model: str
    data: str
    scoring: str
    space: Space
    fixed: Params


_LOG_C = FloatDistribution(1e-4, 1e4, log=True)
_GAMMA = FloatDistribution(1e-6, 1e1, log=True)
TUNINGS = {
    "svm-digits": Tuning("svm.SVC", "digits", "accuracy", {"C": _LOG_C, "gamma": _GAMMA}, {}),
    "svr": Tuning(
        "svm.SVR",
        "diabetes",
        "r2",
        {"C": _LOG_C, "gamma": _GAMMA, "epsilon": FloatDistribution(1e-3, 1, log=True)},
        {},
    ),
    "elastic-net": Tuning(
        "linear_model.SGDClassifier",
        "breast_cancer",
        "neg_log_loss",
        {
            "alpha": FloatDistribution(1e-6, 1e1, log=True),
            "l1_ratio": FloatDistribution(0, 1),
            "eta0": FloatDistribution(1e-4, 1e1, log=True),
            "power_t": FloatDistribution(0, 1),
        },
        {
            "loss": "log_loss",
            "penalty": "elasticnet",
            "learning_rate": "invscaling",
            "max_iter": 20,
            "tol": None,
            "random_state": 0,
        },
    ),
    "boosting": Tuning(
        "ensemble.GradientBoostingRegressor",
        "diabetes",
        "r2",
        {
            "learning_rate": FloatDistribution(1e-3, 1, log=True),
            "n_estimators": IntDistribution(3, 40),
            "max_depth": IntDistribution(1, 5),
            "subsample": FloatDistribution(0.3, 1),
            "min_samples_leaf": IntDistribution(1, 20),
        },
        {"random_state": 0},
    ),
    "tree": Tuning(
        "tree.DecisionTreeRegressor",
        "diabetes",
        "r2",
        {
            "ccp_alpha": FloatDistribution(1e-5, 1, log=True),
            "max_depth": IntDistribution(1, 15),
            "min_samples_leaf": IntDistribution(1, 60),
            "max_features": FloatDistribution(0.1, 1),
            "splitter": CategoricalDistribution(("best", "random")),
        },
        {"random_state": 0},
    ),
}


def instances(shift: int) -> list[Instance]:
    """A shift draws the rows; the value is minus the mean score over three folds."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise NotAvailable("sklearn needs `pip install scikit-learn`") from None
    return [
        Instance("sklearn", name, shift, _score(name, shift), each.space, reference=REFERENCE)
        for name, each in TUNINGS.items()
    ]


def _score(name: str, shift: int) -> Callable[[Params], float]:
    tuning = TUNINGS[name]

    def value(params: Params) -> float:
        from sklearn.model_selection import cross_val_score

        x, y = _rows(tuning.data, shift)
        model = _model(tuning.model)(**tuning.fixed, **params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model that does not converge is a bad score
            return -float(cross_val_score(model, x, y, scoring=tuning.scoring, cv=3).mean())

    return value


def _model(path: str) -> Any:
    module, name = path.split(".")
    return getattr(importlib.import_module(f"sklearn.{module}"), name)


@functools.lru_cache(maxsize=8)
def _rows(data: str, shift: int) -> tuple[Any, Any]:
    """A random part of the data with standardised columns (and target, where it is a number)."""
    from sklearn import datasets
    from sklearn.preprocessing import scale
    from sklearn.utils import resample

    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    x, y = resample(x, y, replace=False, n_samples=ROWS, random_state=shift)
    return scale(x), scale(y) if data == "diabetes" else y
