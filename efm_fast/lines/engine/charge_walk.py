"""Lines from charge to charge in torch. All lines step together, but each has its own steps and its own end."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..exact import ExactField
from ..geometry.discs import DiscGeometry
from ..geometry.nearest import nearest_charges
from ..integrate.embedded import PAIRS
from ..integrate.steps import TABLEAUS, StepRule, arc_step, runge_kutta, unit
from ..record import Lines, LineStatus
from .choice import LineProblem


class ChargeWalk:
    """State of all lines: every tensor has one row per line, and each method changes only the given rows."""

    #: The largest number of lines that step together; None for all.
    window: int | None = None

    def __init__(
        self,
        problem: LineProblem,
        rule: StepRule,
        discs: DiscGeometry,
        capture: float,
        backend: str,
    ) -> None:
        self.points = points = torch.cat([problem.x, problem.z[:, None].to(problem.x.dtype)], dim=1)
        self.plus, self.places, self.L = problem.plates.plus, problem.places, problem.plates.L
        self.rule, self.discs, self.capture = rule, discs, capture
        self.exact = ExactField(problem.plates, backend, problem.precision)
        started = torch.isfinite(points).all(dim=1)
        self.status = torch.where(started, int(LineStatus.RUNNING), int(LineStatus.FAILED))
        self.evaluations = torch.zeros_like(self.status)
        self.charge = torch.full_like(self.status, -1)
        self.length = points.new_zeros(len(points))
        self.ds = points.new_full((len(points),), torch.inf)
        self.first = torch.zeros_like(points)
        self.pair = PAIRS.get(rule.method)
        self.rejected = torch.zeros_like(started)
        if self.pair is not None:
            self._evaluate_first(started.nonzero()[:, 0])

    def run(self, max_steps: int, every: int) -> Lines:
        """Take steps until every line has ended. Paths keep every ``every``-th step; 0 keeps none."""
        paths = [self.points.clone()] if every else []
        taken, step = torch.zeros_like(self.status), 0
        while True:
            under_way = (self.status == LineStatus.RUNNING) & (taken <= max_steps)
            # a path has one row per step of all lines, so with paths all lines must step together
            rows = under_way.nonzero()[:, 0][: None if every else self.window]
            if len(rows) == 0:
                break
            self.advance(rows)
            taken[rows] += 1
            step += 1
            if every and step % every == 0:
                paths.append(self.points.clone())
        if every > 1:
            paths.append(self.points.clone())
        self.status[self.status == LineStatus.RUNNING] = int(LineStatus.STEP_LIMIT)
        failed = (self.status == LineStatus.FAILED)[:, None]
        return Lines(
            end=torch.where(failed, math.nan, self.points[:, :-1]),
            end_z=self.points[:, -1],
            status=self.status,
            charge=self.charge,
            evaluations=self.evaluations,
            length=self.length,
            paths=torch.stack(paths) if every else None,
        )

    def advance(self, rows: Tensor) -> None:
        """End the lines that a place of minus charges takes, and try one step of the others."""
        points = self.points[rows]
        own, index = nearest_charges(points, self.places.at, self.L, 2)
        positive, positive_index = nearest_charges(points, self.plus, 0.0, 1)
        owned = own[:, 0] <= self.capture * torch.minimum(own[:, 1], positive[:, 0])
        self._land(rows[owned], own[owned, 0], index[owned, 0])
        if owned.all():
            return
        to_minus = own[:, 0] < positive[:, 0]
        nearest = torch.where(to_minus[:, None], self.places.at[index[:, 0]], self.plus[positive_index[:, 0]])
        plate = torch.where(to_minus, self.L, 0.0)
        offset = points - torch.cat([nearest, plate[:, None].to(nearest.dtype)], dim=1).to(points.dtype)
        self._step(rows[~owned], offset[~owned])

    def _land(self, rows: Tensor, distance: Tensor, place: Tensor) -> None:
        in_front = self.points[rows, -1] < self.L
        self.status[rows] = torch.where(in_front, int(LineStatus.FRONT), int(LineStatus.BEHIND))
        self.charge[rows] = self.places.first[place]
        self.length[rows] += distance
        self.points[rows, :-1] = self.places.at[place].to(self.points.dtype)
        self.points[rows, -1] = self.L

    def _step(self, rows: Tensor, offset: Tensor) -> None:
        """Step lines; ``offset`` [N, D+1] is the vector from their nearest charge to them."""
        points, distance = self.points[rows], offset.norm(dim=1)
        if self.pair is not None:
            accepted, new, ds, last = self._attempt(rows, distance, self.field)
            self.first[rows] = torch.where(accepted[:, None], last, self.first[rows])
            new, ds = torch.where(accepted[:, None], new, points), torch.where(accepted, ds, 0.0)
        else:
            first = self.field(points)
            ds = arc_step(self.rule.step, distance, (offset * first).sum(dim=1) / distance)
            new = runge_kutta(lambda p, _: self.field(p), points, ds[:, None], self.rule.method, first)  # type: ignore[arg-type]
            self.evaluations[rows] += len(TABLEAUS[self.rule.method][0])
            self.first[rows] = first
        self.length[rows] += ds
        self._settle(rows, new)

    def _attempt(
        self, rows: Tensor, distance: Tensor, field: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Try one step of the embedded pair, for lines at ``distance`` from their nearest charge.

        Returns:
            Which steps are accepted, bool [N], their ends, [N, D+1], their arc lengths, [N], and the directions there.
        """
        assert self.pair is not None
        ds = torch.minimum(self.ds[rows], distance)
        new, last, error = self.pair.advance(field, self.points[rows], self.first[rows], ds)
        allowed = self.rule.tolerance * distance
        accepted = error <= allowed
        following = self.pair.next_step(ds, error, allowed)
        if self.pair.patient:
            following = torch.where(accepted & self.rejected[rows], torch.minimum(following, ds), following)
        self.ds[rows], self.rejected[rows] = following, ~accepted
        self.evaluations[rows] += self.pair.evaluations
        return accepted, new, ds, last

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
