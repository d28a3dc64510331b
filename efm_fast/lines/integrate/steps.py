"""The arithmetic of one step: pure functions that compute each row by itself, shared by all integrators.

A direction is [N, D+1] with z last. It may be any positive multiple of the field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Method = Literal["euler", "heun", "midpoint", "rk4"]
TraceMethod = Literal["dopri5", "bs23", "rk4", "heun", "midpoint", "euler"]

#: Butcher tableaus of the explicit methods: nodes, rows of the matrix, weights.
TABLEAUS: dict[str, tuple[tuple[float, ...], tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    "euler": ((0.0,), ((),), (1.0,)),
    "heun": ((0.0, 1.0), ((), (1.0,)), (0.5, 0.5)),
    "midpoint": ((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "rk4": (
        (0.0, 0.5, 0.5, 1.0),
        ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    ),
}


@dataclass(frozen=True)
class StepRule:
    """The rule for the length of steps.

    Attributes:
        method: an explicit method, whose steps change the distance to the nearest charge by about ``step`` times that
            distance; or an embedded pair, whose steps keep the local error within ``tolerance`` times that distance and
            are never longer than it.
        step: dimensionless.
        tolerance: dimensionless.
    """

    method: TraceMethod
    step: float
    tolerance: float


def slope(direction: Tensor, steepest: float) -> Tensor:
    """dx/dz = f_x / f_z, [N, D], dimensionless (EFM, Algorithm 2).

    Where f_z tends to zero or is negative, a line is no function of z. Its slope is then ``steepest``, so that it stays
    finite.
    """
    lateral, axial = direction[:, :-1], direction[:, -1]
    floor = lateral.norm(dim=1) / steepest
    return lateral / torch.maximum(axial, floor).clamp_min(torch.finfo(direction.dtype).tiny)[:, None]


def runge_kutta(
    rate: Callable[[Tensor, float], Tensor],
    x: Tensor,
    dt: float | Tensor,
    method: Method,
    first: Tensor | None = None,
) -> Tensor:
    """One explicit step of dx/dt = rate, [N, D] to [N, D].

    Args:
        rate: function of x and of the fraction of the step that has passed, 0 to 1.
        x: [N, D].
        dt: the step, one number or [N, 1].
        method: a key of :data:`TABLEAUS`.
        first: rate(x, 0), if it is known.
    """
    nodes, rows, weights = TABLEAUS[method]
    stages = [rate(x, 0.0) if first is None else first]
    for node, row in zip(nodes[1:], rows[1:], strict=True):
        stages.append(rate(_advance(x, dt, row, stages), node))
    return _advance(x, dt, weights, stages)


def _advance(x: Tensor, dt: float | Tensor, weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    for weight, stage in zip(weights, stages, strict=True):
        if weight:
            x = x + (dt * weight) * stage
    return x


def unit(direction: Tensor, aspect: float = 1.0) -> Tensor:
    """Scale the direction to length one, with lateral lengths divided by ``aspect``; zero stays zero."""
    # dividing by the largest component first keeps the squares of any multiple in range
    largest = direction.abs().amax(dim=1, keepdim=True)
    scaled = direction / torch.where(largest > 0, largest, 1.0)
    size = (scaled[:, :-1].square().sum(dim=1) / aspect**2 + scaled[:, -1].square()).sqrt()
    return scaled / torch.where(size > 0, size, 1.0)[:, None]


def arc_step(step: float, scale: Tensor, gain: Tensor) -> Tensor:
    """Arc length that changes ``scale`` by about the factor 1 + ``step``, or 1 / (1 + ``step``) towards charges, [N].

    Args:
        step: dimensionless.
        scale: distance to the charges that the step must resolve, [N], data units.
        gain: derivative of that distance by arc length, [N], from -1 straight towards to 1 straight away.
    """
    return step * scale / (1.0 + 0.5 * step * (1.0 - gain))
