"""Lines from charge to charge in torch. All lines step together, but each has its own steps and its own end."""

from __future__ import annotations

import torch
from torch import Tensor

from ..exact import ExactField
from ..geometry.discs import DiscGeometry
from ..geometry.nearest import nearest_charges
from ..integrate.embedded import PAIRS
from ..integrate.steps import TABLEAUS, StepRule, arc_step, runge_kutta, unit
from ..record import Lines, LineStatus
from .choice import LineProblem
from .walk import Walk


class ChargeWalk(Walk):
    """Lines that search for the charges near them. Each method changes only the given rows of the state."""

    def __init__(
        self,
        problem: LineProblem,
        rule: StepRule,
        discs: DiscGeometry,
        capture: float,
        backend: str,
    ) -> None:
        super().__init__(problem, rule, discs)
        self.capture = capture
        self.exact = ExactField(problem.plates, backend, problem.precision)
        self.pair = PAIRS.get(rule.method)

    def run(self, max_steps: int, every: int) -> Lines:
        """Take steps until every line has ended. Paths keep every ``every``-th step; 0 keeps none."""
        if self.pair is not None:
            self._evaluate_first(self.running())
        paths = [self.snapshot()] if every else []
        for step in range(1, max_steps + 2):
            rows = self.running()
            if len(rows) == 0:
                break
            self.advance(rows)
            if every and step % every == 0:
                paths.append(self.snapshot())
        if every > 1:
            paths.append(self.snapshot())
        return self.ended(paths)

    def advance(self, rows: Tensor) -> None:
        """End the lines that a place of minus charges takes, and try one step of the others."""
        points = self.points[rows]
        own, index = nearest_charges(points, self.places.at, self.L, 2)
        positive, positive_index = nearest_charges(points, self.plus, 0.0, 1)
        owned = own[:, 0] <= self.capture * torch.minimum(own[:, 1], positive[:, 0])
        self.land(rows[owned], own[owned, 0], index[owned, 0])
        if owned.all():
            return
        to_minus = own[:, 0] < positive[:, 0]
        nearest = torch.where(to_minus[:, None], self.places.at[index[:, 0]], self.plus[positive_index[:, 0]])
        plate = torch.where(to_minus, self.L, 0.0)
        offset = points - torch.cat([nearest, plate[:, None].to(nearest.dtype)], dim=1).to(points.dtype)
        self._step(rows[~owned], offset[~owned])

    def _step(self, rows: Tensor, offset: Tensor) -> None:
        """Step lines; ``offset`` [N, D+1] is the vector from their nearest charge to them."""
        points, distance = self.points[rows], offset.norm(dim=1)
        if self.pair is not None:
            ds = torch.minimum(self.ds[rows], distance)
            tried = self.pair.attempt(
                self.field, points, self.first[rows], ds, self.rule.tolerance * distance, self.rejected[rows]
            )
            accepted = tried.accepted
            self.ds[rows], self.rejected[rows] = tried.following, ~accepted
            self.evaluations[rows] += self.pair.evaluations
            self.first[rows] = torch.where(accepted[:, None], tried.last, self.first[rows])
            new, ds = torch.where(accepted[:, None], tried.new, points), torch.where(accepted, ds, 0.0)
        else:
            first = self.field(points)
            ds = arc_step(self.rule.step, distance, (offset * first).sum(dim=1) / distance)
            new = runge_kutta(lambda p, _: self.field(p), points, ds[:, None], self.rule.method, first)  # type: ignore[arg-type]
            self.evaluations[rows] += len(TABLEAUS[self.rule.method][0])
            self.first[rows] = first
        self.length[rows] += ds
        self._settle(rows, new)

    def _settle(self, rows: Tensor, new: Tensor) -> None:
        """Move lines to their new points, and those beyond the far radius to their mirror image."""
        x, z, mirrored = self.discs.mirror(new[:, :-1], new[:, -1])
        self.points[rows] = torch.cat([x, z[:, None]], dim=1)
        lost = ~torch.isfinite(new).all(dim=1) | (self.first[rows] == 0).all(dim=1)
        self.status[rows] = torch.where(lost, int(LineStatus.FAILED), self.status[rows])
        if self.pair is not None:
            self._evaluate_first(rows[mirrored])

    def field(self, points: Tensor) -> Tensor:
        """Unit direction of the field at ``points``, [N, D+1] both."""
        return unit(self.exact.direction(points[:, :-1], points[:, -1]).to(points.dtype))

    def _evaluate_first(self, rows: Tensor) -> None:
        """Evaluate the direction with which the next step of an embedded pair begins."""
        if len(rows):
            self.first[rows] = self.field(self.points[rows])
            self.evaluations[rows] += 1
