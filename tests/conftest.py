"""Settings every test shares."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import settings
import optuna
import pytest


pytest.register_assert_rewrite("optuna.testing.pytest_samplers")
settings.register_profile("default", deadline=None)  # the machines are noisy
settings.load_profile("default")


@pytest.fixture(autouse=True)
def quiet_optuna() -> Iterator[None]:
    """Optuna tells of every trial; the tests that read its log ask for it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
