"""Lines from charge to charge at many features, where a search for near charges would cost more than the sums."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.discs import DiscGeometry
from ..geometry.nearest import nearest_of_candidates
from ..integrate.embedded import EVALUATIONS, dormand_prince, next_step
from ..integrate.steps import StepRule
from .charge_sums import ChargeSums, View
from .charge_walk import ChargeWalk
from .choice import Problem

#: A minus charge owns a line where all other charges together weigh less than this beside it. From there the line runs
#: straight to it: with shares of others up to s the ratio of any other charge's distance to its own grows as long as
#: 2 s < log(1 / s) / D, which holds up to D = 46,000.
_OTHERS = 1e-4


class SummedWalk(ChargeWalk):
    """Lines by the embedded pair, whose sums tell how far the nearest charges are and which one owns the line."""

    # sums reach their rate at some hundred points: with more lines waiting for their turn few sums are of few points
    window = 512

    def __init__(
        self, problem: Problem, rule: StepRule, discs: DiscGeometry, capture: float, backend: str
    ) -> None:
        self.sums = ChargeSums(problem, backend)
        n = len(problem.x)
        nothing = problem.x.new_full((n,), torch.nan, dtype=torch.float64)
        self.seen_nearest, self.seen_others = nothing, nothing.clone()
        super().__init__(problem, rule, discs, capture, backend)

    def advance(self, rows: Tensor) -> None:
        """Land the lines that a charge owns; one step, or one attempt at it, of the others."""
        owned = self.seen_others[rows] <= _OTHERS
        if owned.any():
            ends = rows[owned]
            distance, index = nearest_of_candidates(self.points[ends], self.minus, self.L, self.sums.centre)
            self._land(ends, distance, index)
        rows = rows[~owned]
        if len(rows):
            new, ds = self._summed_step(rows)
            self.length[rows] += ds
            self._settle(rows, new)

    def _summed_step(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """New points and the arc length to them; the old points and zero where the attempt was rejected."""
        points, distance = self.points[rows], self.seen_nearest[rows].to(self.ds.dtype)
        views: list[View] = []

        def direction(at: Tensor) -> Tensor:
            views[:] = [self.sums(at)]
            return views[0].direction

        ds = torch.minimum(self.ds[rows], distance)
        new, _, error = dormand_prince(direction, points, self.first[rows], ds)
        allowed = self.rule.tolerance * distance
        accepted = error <= allowed
        self.ds[rows] = next_step(ds, error, allowed)
        self.evaluations[rows] += EVALUATIONS
        done = accepted.nonzero()[:, 0]
        self._keep(rows[done], views[0][done])
        return torch.where(accepted[:, None], new, points), torch.where(accepted, ds, 0.0)

    def _keep(self, rows: Tensor, view: View) -> None:
        self.first[rows] = view.direction
        self.seen_nearest[rows], self.seen_others[rows] = view.nearest, view.others

    def _evaluate_first(self, rows: Tensor) -> None:
        for part in rows.split(self.window):
            self._keep(part, self.sums(self.points[part]))
        self.evaluations[rows] += 1
