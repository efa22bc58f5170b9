"""Constraints that trials carry and a sampler does not use: told of; reads one trial."""

from __future__ import annotations

import optuna
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_partition._study.inferred import identity


__all__ = ["Unconstrained"]

_logger = optuna.logging.get_logger(f"optuna.{__name__}")


class Unconstrained:
    """Says once for each study that its sampler does not use constraints."""

    def __init__(self) -> None:
        self._told: tuple[int, int] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__()  # type: ignore[misc]

    def __call__(self, sampler: BaseSampler, study: Study, trial: FrozenTrial) -> None:
        """Looks at a trial that ends."""
        if self._told == identity(study) or not trial.constraints:
            return
        self._told = identity(study)
        names = ", ".join(f"`{name}`" for name in trial.constraints)
        _logger.warning(
            f"`{type(sampler).__name__}` does not use constraints, and trial {trial.number} has "
            f"{names}: points that violate them count as all others do. Take "
            "`optuna.samplers.GPSampler` or `TPESampler`, or return a penalty: a value that is "
            "the worse the more is violated."
        )
