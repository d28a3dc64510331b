"""Embedded pairs of explicit Runge-Kutta methods: one step of every line, and the length of its next step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Attempt:
    """One step of every line, which is taken where its error is small enough.

    Attributes:
        accepted: whether it is taken, bool [N].
        new: ends of the steps, [N, D+1], data units.
        last: direction there, [N, D+1].
        length: arc length of the steps, [N], data units.
        following: size of the next attempt, [N], data units.
    """

    accepted: Tensor
    new: Tensor
    last: Tensor
    length: Tensor
    following: Tensor


@dataclass(frozen=True)
class EmbeddedPair:
    """Two methods of neighbouring order with common stages. The last stage is the first of the next step.

    Attributes:
        rows: rows of the matrix from the second stage on; the last one holds the weights of the higher order.
        error: weights of the higher order less those of the lower order, one per stage.
        order: power of the step in the error of one step.
        safety: fraction of the step that would just be allowed.
        growth: largest factor from one step to the next.
        patient: whether the step after a rejected one must not grow. Near a sharp turn, where the error jumps, this
            saves half of the rejections.
    """

    rows: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]
    order: int
    safety: float = 0.9
    growth: float = 5.0
    patient: bool = False

    @property
    def evaluations(self) -> int:
        """Evaluations per step; its first stage is the last stage of the step before and costs nothing."""
        return len(self.rows)

    def advance(
        self, direction: Callable[[Tensor], Tensor], points: Tensor, first: Tensor, ds: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step of size ``ds`` along dp/ds = direction(p).

        Args:
            direction: a positive multiple of the field at points, dimensionless, [N, D+1] to [N, D+1].
            points: [N, D+1], data units.
            first: direction at ``points``.
            ds: step of each line, [N], data units; its arc length where directions are unit vectors.

        Returns:
            New points, the direction there, the arc length of the step, and the size of its local error, [N], data
            units.
        """
        stages = [first]
        new = points
        for row in self.rows:
            new = points + ds[:, None] * _combine(row, stages)
            stages.append(direction(new))
        error = ds * _combine(self.error, stages).norm(dim=1)
        length = ds * _combine(self.rows[-1], [stage.norm(dim=1) for stage in stages[:-1]])
        return new, stages[-1], length, error

    def attempt(
        self,
        direction: Callable[[Tensor], Tensor],
        points: Tensor,
        first: Tensor,
        ds: Tensor,
        allowed: Tensor,
        rejected: Tensor,
    ) -> Attempt:
        """Try one step of size ``ds`` and choose the next one; arguments as for :meth:`advance`.

        Args:
            direction: a positive multiple of the field at points.
            points: where the lines are.
            first: direction there.
            ds: step of each line.
            allowed: largest local error, [N], data units.
            rejected: whether the attempt before was rejected, bool [N].
        """
        new, last, length, error = self.advance(direction, points, first, ds)
        accepted = error <= allowed
        following = self.next_step(ds, error, allowed)
        if self.patient:
            following = torch.where(accepted & rejected, torch.minimum(following, ds), following)
        return Attempt(accepted, new, last, length, following)

    def next_step(self, ds: Tensor, error: Tensor, allowed: Tensor) -> Tensor:
        """The step of the next attempt, [N], data units."""
        share = allowed / error.clamp_min(torch.finfo(error.dtype).tiny)
        # exp and log, because torch's power rounds differently in lanes of a vector, and a line would depend on its
        # batch
        factor = self.safety * torch.exp(torch.log(share) / self.order)
        # an error of NaN, which comes from a stage on a charge, shrinks the step as a large error does
        return ds * factor.nan_to_num(0.2).clamp(0.2, self.growth)


def _combine(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    total = torch.zeros_like(stages[0])
    for weight, stage in zip(weights, stages, strict=True):
        if weight:
            total = total + weight * stage
    return total


#: Dormand and Prince (J. Comput. Appl. Math. 6, 1980); Bogacki and Shampine (Appl. Math. Lett. 2, 1989).
PAIRS: dict[str, EmbeddedPair] = {
    "dopri5": EmbeddedPair(
        rows=(
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
        order=5,
    ),
    "bs23": EmbeddedPair(
        rows=((1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
        error=(-5 / 72, 1 / 12, 1 / 9, -1 / 8),
        order=3,
        safety=0.8,
        growth=3.0,
        patient=True,
    ),
}
