"""Where in a box a point is worth most: candidates, ascent, moves along one axis; torch inside."""

from __future__ import annotations

from dataclasses import dataclass

from botorch.generation.gen import gen_candidates_scipy
import numpy as np
import torch

from optuna_partition._gp.exact import Improvement
from optuna_partition._rules.belief import Array
from optuna_partition._rules.belief import Box
from optuna_partition._rules.belief import Domain
from optuna_partition._rules.belief import Evidence


__all__ = ["promising"]

_SPREAD = 256  # quasi-random points in the box
_GOOD, _NEAR = 4, 24  # best observed points, and points around each
_MOVES = 16  # places tried along each axis through a good point
_NEAREST, _FARTHEST = -2.5, -0.7  # log10 of how far around a good point
_STARTS, _STEPS, _ROUNDS = 4, 15, 3  # of the ascent
_KEPT = 64


def promising(
    improvement: Improvement, domain: Domain, evidence: Evidence, box: Box, seed: int
) -> Array:
    """Points of a box in descending order of expected improvement, (k, D).

    The ascent climbs real axes by gradient with the others held, then tries every place of each
    axis in turn: so it crosses the steps of integers and categories, and valleys along an axis.

    Args:
        improvement: What a point is worth by the model.
        domain: What its axes are.
        evidence: What it has seen.
        box: Where to look.
        seed: Varies the candidates.
    """
    # The same evidence gives the same points, so that two workers who know the same ask for the
    # same point, one is refused by the claim, and looks again knowing of the other.
    rng = np.random.default_rng([seed, len(evidence.y), len(evidence.pending)])
    search = _Search(improvement, domain, box, rng)
    found = search.ranked(search.candidates(evidence))
    for _ in range(_ROUNDS):
        climbed = search.ranked(search.climbed(found[:_STARTS]))
        found = search.ranked(np.concatenate([climbed, search.moves(climbed[0]), found]))
        if (found[0] == climbed[0]).all():
            break  # no axis leads out of the summit
    return found


@dataclass(frozen=True)
class _Search:
    acquisition: Improvement
    domain: Domain
    box: Box
    rng: np.random.Generator

    def candidates(self, evidence: Evidence) -> Array:
        """Points all over the box, around the best observed ones and along axes through them."""
        good = evidence.x[evidence.ranking[:_GOOD]]
        good = np.clip(good, *self.box)
        shape = (len(good), _NEAR, good.shape[1])
        distances = 10 ** self.rng.uniform(_NEAREST, _FARTHEST, (*shape[:2], 1))
        near = good[:, None] + distances * self.rng.standard_normal(shape)
        near = np.clip(near.reshape(-1, good.shape[1]), *self.box)
        moved = [self.moves(x) for x in good]
        return np.concatenate([self.snapped(self._spread()), self.snapped(near), *moved])

    def _spread(self) -> Array:
        low, high = self.box
        seed = int(self.rng.integers(2**31))
        engine = torch.quasirandom.SobolEngine(  # type: ignore[no-untyped-call]
            len(low), scramble=True, seed=seed
        )
        units: Array = engine.draw(_SPREAD, dtype=torch.double).numpy()
        return low + (high - low) * units

    def moves(self, x: Array) -> Array:
        """The point moved along one axis at a time."""
        low, high = self.box
        moved = np.repeat(x[None], len(x) * _MOVES, axis=0)
        for i in range(len(x)):
            places = (np.arange(_MOVES) + self.rng.random()) / _MOVES
            moved[i * _MOVES : (i + 1) * _MOVES, i] = low[i] + places * (high[i] - low[i])
        return self.snapped(moved)

    def snapped(self, x: Array) -> Array:
        """Points put on the nearest step of every grid axis, inside the box."""
        x = x.copy()
        for i, steps in enumerate(self.domain.steps):
            if steps is not None:
                inside = steps[(steps >= self.box[0][i]) & (steps <= self.box[1][i])]
                x[:, i] = inside[np.abs(x[:, i, None] - inside).argmin(axis=1)]
        return x

    def climbed(self, starts: Array) -> Array:
        """Where the gradient leads on the real axes, (k, D)."""
        real = self.domain.real
        if not real:
            return starts
        fixed = {i: self._tensor(starts[:, i]) for i in range(starts.shape[1]) if i not in real}
        found, _ = gen_candidates_scipy(
            self._tensor(starts).unsqueeze(1),
            self.acquisition,
            lower_bounds=self._tensor(self.box[0]),
            upper_bounds=self._tensor(self.box[1]),
            fixed_features=fixed or None,
            # each start by itself, also where scipy is too new for BoTorch's batches of starts
            options={"maxiter": _STEPS, "max_optimization_problem_aggregation_size": 1},
        )
        climbed: Array = found.squeeze(1).detach().cpu().numpy()
        return climbed

    def ranked(self, x: Array) -> Array:
        """Different points of the greatest expected improvement, the best first."""
        x = np.unique(x, axis=0)
        with torch.no_grad():
            values = self.acquisition(self._tensor(x).unsqueeze(1)).cpu().numpy()
        return x[np.argsort(-values, kind="stable")[:_KEPT]]

    def _tensor(self, array: Array) -> torch.Tensor:
        return self.acquisition.exact.tensor(array)
