"""The samplers that are compared, by name; the only file that imports other optimisers.

To add one, give `SAMPLERS` a function from an instance and a seed to an Optuna sampler:

    def annealed(instance: Instance, seed: int) -> BaseSampler:
        return AnnealingSampler(seed=seed)
    SAMPLERS["annealed"] = annealed

or leave this file alone and name your function on the command line as `module:function`.
"""

from __future__ import annotations

from collections.abc import Callable
import importlib
from typing import Any

from optuna.samplers import BaseSampler
from optuna.samplers import CmaEsSampler
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from benchmarks.compare.blocking import BlockingSampler
from benchmarks.compare.instance import Instance
from benchmarks.compare.instance import NotAvailable
from benchmarks.compare.instance import Space
from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import LatinHypercubeSampler
from optuna_partition import NOMADSampler
from optuna_partition import SOOSampler


MakeSampler = Callable[[Instance, int], BaseSampler]


def random(instance: Instance, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def lhs(instance: Instance, seed: int) -> BaseSampler:
    """Fifty points to a hypercube, as many as the research evaluates."""
    return LatinHypercubeSampler(n_trials=50, search_space=instance.space, seed=seed)


def tpe(instance: Instance, seed: int) -> BaseSampler:
    return TPESampler(seed=seed)


def tpe_group(instance: Instance, seed: int) -> BaseSampler:
    """Parameters together, branch by branch; the same as `tpe` where there are no branches."""
    return TPESampler(seed=seed, multivariate=True, group=True, warn_independent_sampling=False)


def gp(instance: Instance, seed: int) -> BaseSampler:
    return GPSampler(seed=seed)


def cmaes(instance: Instance, seed: int) -> BaseSampler:
    _needs("cmaes", "cmaes")
    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


def bamsoo(instance: Instance, seed: int) -> BaseSampler:
    return _bamsoo(instance, seed, as_published=False)


def bamsoo_2014(instance: Instance, seed: int) -> BaseSampler:
    """The rule as published."""
    return _bamsoo(instance, seed, as_published=True)


def _bamsoo(instance: Instance, seed: int, as_published: bool) -> BaseSampler:
    _needs("botorch", "botorch")
    return BaMSOOSampler(as_published=as_published, **_options(instance, seed))


def soo(instance: Instance, seed: int) -> BaseSampler:
    return SOOSampler(**_options(instance, seed))


def direct(instance: Instance, seed: int) -> BaseSampler:
    return _direct(instance, seed, locally_biased=True)


def direct_full(instance: Instance, seed: int) -> BaseSampler:
    return _direct(instance, seed, locally_biased=False)


def _direct(instance: Instance, seed: int, locally_biased: bool) -> BaseSampler:
    return DIRECTSampler(locally_biased=locally_biased, **_options(instance, seed))


def _options(instance: Instance, seed: int) -> dict[str, Any]:
    """What all our samplers are given."""
    return {
        "search_space": instance.space,
        "seed": seed,
        "warn_independent_sampling": False,
        "stop_when_exhausted": False,
    }


def nlopt_direct_l(instance: Instance, seed: int) -> BaseSampler:
    """Gablonsky's own DIRECT-L over the unit cube; ints and choices are rounded."""
    _needs("nlopt", "nlopt")
    return BlockingSampler(_space(instance), seed)


def nomad(instance: Instance, seed: int) -> BaseSampler:
    """MADS from the centre, where each partition begins too."""
    _needs("PyNomad", "PyNomadBBO")
    return NOMADSampler(search_space=instance.space, seed=seed, warn_independent_sampling=False)


def botorch(instance: Instance, seed: int) -> BaseSampler:
    return _botorch(seed, None)


def _botorch(seed: int, first: BaseSampler | None) -> BaseSampler:
    """BoTorchSampler, which has another sampler draw its first ten trials."""
    _needs("botorch", "botorch")
    _needs("optuna_integration", "optuna-integration")
    from optuna_integration import BoTorchSampler

    return BoTorchSampler(n_startup_trials=10, independent_sampler=first, seed=seed)


def hebo(instance: Instance, seed: int) -> BaseSampler:
    """In an environment of its own: it asks for NumPy below 1.25."""
    _needs("hebo", "HEBO")
    from benchmarks.compare.hebo import HEBOSampler

    return HEBOSampler(_space(instance), seed)


def bo(instance: Instance, seed: int) -> BaseSampler:
    """Bayesian optimisation as the research has it: after ten Latin hypercube trials."""
    return _botorch(seed, LatinHypercubeSampler(n_trials=10, seed=seed))


SAMPLERS: dict[str, MakeSampler] = {
    "random": random,
    "lhs": lhs,
    "tpe": tpe,
    "tpe-group": tpe_group,
    "gp": gp,
    "cmaes": cmaes,
    "bamsoo": bamsoo,
    "bamsoo-2014": bamsoo_2014,
    "soo": soo,
    "direct": direct,
    "direct-full": direct_full,
    "nlopt-direct-l": nlopt_direct_l,
    "nomad": nomad,
    "botorch": botorch,
    "bo": bo,
    "hebo": hebo,
}


def maker(name: str) -> MakeSampler:
    """The function of that name, or the one at `module:function`."""
    if name in SAMPLERS:
        return SAMPLERS[name]
    if ":" not in name:
        known = ", ".join(SAMPLERS)
        raise ValueError(f"A sampler is one of {known} or `module:function`, but got {name!r}.")
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def _needs(module: str, package: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError:
        raise NotAvailable(f"needs `pip install {package}`") from None


def _space(instance: Instance) -> Space:
    if instance.space is None:
        raise NotAvailable("needs a search space that is known beforehand")
    return instance.space
