"""What the walks of torch share: the state of all lines, the end on a charge, and the record of the lines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..geometry.discs import DiscGeometry
from ..integrate.steps import StepRule
from ..record import Lines, LineStatus
from .choice import LineProblem


class Walk:
    """State of all lines: every tensor has one row per line, then one for each of the ``spare`` points.

    Attributes:
        n: number of lines.
        points: where the lines are, [N, D+1], data units.
        status: :class:`LineStatus`, int64 [N]; a subclass may have further negative ones while it runs.
        evaluations: evaluations of the field, int64 [N].
        charge: the charge on which each line ended, int64 [N]; -1 for none.
        length: arc length so far, [N], data units.
        ds: largest length of the next step, [N], data units.
        first: direction at ``points``, [N, D+1], if the steps of a method begin with it.
        rejected: whether the last step of an embedded pair was rejected, bool [N].
    """

    def __init__(
        self, problem: LineProblem, rule: StepRule, discs: DiscGeometry, spare: Tensor | None = None
    ) -> None:
        points = torch.cat([problem.x, problem.z[:, None].to(problem.x.dtype)], dim=1)
        self.n, self.rule, self.discs = len(points), rule, discs
        self.plus, self.places, self.L = problem.plates.plus, problem.places, problem.plates.L
        started = torch.isfinite(points).all(dim=1)
        if spare is not None:
            points = torch.cat([points, spare.to(points)])
            started = torch.cat([started, started.new_zeros(len(spare))])
        self.points = points
        self.status = torch.where(started, int(LineStatus.RUNNING), int(LineStatus.FAILED))
        self.evaluations = torch.zeros_like(self.status)
        self.charge = torch.full_like(self.status, -1)
        self.length = points.new_zeros(len(points))
        self.ds = points.new_full((len(points),), torch.inf)
        self.first = torch.zeros_like(points)
        self.rejected = torch.zeros_like(started)

    def running(self) -> Tensor:
        """The lines that are under way, int64 [R]; the host waits for their number."""
        return (self.status[: self.n] == LineStatus.RUNNING).nonzero()[:, 0]

    def snapshot(self) -> Tensor:
        """A copy of the points of all lines, [N, D+1], as paths keep them."""
        return self.points[: self.n].clone()

    def land(self, rows: Tensor, distance: Tensor, place: Tensor) -> None:
        """End lines at minus charges' places at that ``distance``."""
        in_front = self.points[rows, -1] < self.L
        self.status[rows] = torch.where(in_front, int(LineStatus.FRONT), int(LineStatus.BEHIND))
        self.charge[rows] = self.places.first[place]
        self.length[rows] += distance
        self.points[rows, :-1] = self.places.at[place].to(self.points.dtype)
        self.points[rows, -1] = self.L

    def ended(self, paths: list[Tensor]) -> Lines:
        """The lines as they are now; those still running are at their limit of steps."""
        points, status = self.points[: self.n], self.status[: self.n]
        status = torch.where(status == LineStatus.RUNNING, int(LineStatus.STEP_LIMIT), status)
        failed = (status == LineStatus.FAILED)[:, None]
        return Lines(
            end=torch.where(failed, math.nan, points[:, :-1]),
            end_z=points[:, -1],
            status=status,
            charge=self.charge[: self.n],
            evaluations=self.evaluations[: self.n],
            length=self.length[: self.n],
            paths=torch.stack(paths) if paths else None,
        )
