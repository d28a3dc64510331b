"""Dormand and Prince's embedded pair, one step of every line at a time (J. Comput. Appl. Math. 6, 1980)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Rows of the matrix from the second stage on; the last one is also the fifth-order weights.
ROWS: tuple[tuple[float, ...], ...] = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
#: Fifth-order minus fourth-order weights.
ERROR: tuple[float, ...] = (
    71 / 57600,
    0.0,
    -71 / 16695,
    71 / 1920,
    -17253 / 339200,
    22 / 525,
    -1 / 40,
)
#: Evaluations per step: seven stages, of which the first is the last one of the step before.
EVALUATIONS = len(ROWS)


def dormand_prince(
    direction: Callable[[Tensor], Tensor], points: Tensor, first: Tensor, ds: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of length ``ds`` along dp/ds = direction(p).

    Args:
        direction: unit direction of the field at points, [N, D+1] to [N, D+1].
        points: [N, D+1], data units.
        first: direction at ``points``.
        ds: step of each line, [N], data units.

    Returns:
        New points, the direction there, and the size of the local error, [N], data units.
    """
    stages = [first]
    new = points
    for row in ROWS:
        new = points + ds[:, None] * _combine(row, stages)
        stages.append(direction(new))
    error = ds * _combine(ERROR, stages).norm(dim=1)
    return new, stages[-1], error


def _combine(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    total = torch.zeros_like(stages[0])
    for weight, stage in zip(weights, stages, strict=True):
        if weight:
            total = total + weight * stage
    return total


def next_step(ds: Tensor, error: Tensor, allowed: Tensor) -> Tensor:
    """Step for the next attempt, [N], data units: the error is of fifth order in it."""
    factor = 0.9 * (allowed / error.clamp_min(torch.finfo(error.dtype).tiny)) ** 0.2
    # a NaN error, from a stage on a charge, shrinks the step as a large one does
    return ds * factor.nan_to_num(0.2).clamp(0.2, 5.0)
