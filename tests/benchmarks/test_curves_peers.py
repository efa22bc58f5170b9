"""The peers of the comparison on curves; each in an environment that has it, skipped elsewhere."""

from __future__ import annotations

import pytest

from benchmarks.compare.instance import NotAvailable
from benchmarks.curves import entrants
from benchmarks.curves.families import find
from benchmarks.curves.simulate import Workshop


pytestmark = pytest.mark.filterwarnings("ignore")  # theirs


@pytest.mark.parametrize("name", entrants.PEERS)
def test_a_peer_searches_in_its_own_environment(name: str) -> None:
    curves = find("hartmann", "3d-good", 0)
    try:
        entrant = entrants.maker(name)(curves, 0, 10 * curves.steps, 1)
    except NotAvailable as reason:
        pytest.skip(str(reason))
    workshop = Workshop(curves, entrant, 0, 10 * curves.steps)
    workshop.work(1)
    assert workshop.spent == 10 * curves.steps and workshop.finished
