"""Optuna's own conformance suite for samplers."""

from __future__ import annotations

from collections.abc import Callable

from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.testing.pytest_samplers import RelativeSamplerTestCase
from optuna.testing.pytest_samplers import SingleOnlySamplerTestCase
import pytest

from optuna_partition import BaMSOOSampler
from optuna_partition import DIRECTSampler
from optuna_partition import SOOSampler


class TestBaMSOO(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: BaMSOOSampler(stop_when_exhausted=False)


class TestPublishedBaMSOO(
    BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase
):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: BaMSOOSampler(as_published=True, stop_when_exhausted=False)


class TestDIRECT(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: DIRECTSampler(stop_when_exhausted=False)


class TestSOO(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        # The suite asks for 10 trials on a space of 3 points, where the default is to stop.
        return lambda: SOOSampler(stop_when_exhausted=False)
