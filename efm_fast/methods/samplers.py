"""Steps that the methods share: Runge-Kutta on given heights, and steps with what was learned held.

Every method's samples obey an equation in which the network gives a few slowly varying parts, such as plate means, and
the rest is known. With these parts held over a step the equation has a closed solution, the exponential step: one
evaluation and first order, exact where the parts do not change (for one plate it is DDIM, Song et al. 2021). With the
parts extrapolated to the middle of the step from the step before, it is second order at the same cost (as in
DPM-Solver++, Lu et al. 2022, algorithm 2).

    one plate        x' = m + (h' / h) (x - m)
    two plates       x' = m(z') + (z' / z)^kappa (h' / h)^(1 - kappa) (x - m(z)),  m(z) = (1 - z/L) m+ + (z/L) m-
    flow matching    x' = x + (z' - z) v / L
    tubes            x' = x + (z' - z) delta / L + (s(z') - s(z)) e
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..lines import Lines, LineStatus
from ..lines.integrate.steps import slope
from ..types import Field

Solver = Literal["euler", "heun", "midpoint", "exponential", "multistep"]
EXPONENTIAL = ("exponential", "multistep")
"""The solvers that hold what was learned over a step."""
Held = tuple[Tensor, ...]


class Flow(Protocol):
    """The equation dx/dz that samples obey, split into what the network gives and what is known.

    Points x are [N, D], heights z numbers, all in data units.
    """

    def held(self, x: Tensor, z: float) -> Held:
        """What an exponential step holds; one evaluation of the network."""
        ...

    def velocity(self, held: Held, x: Tensor, z: float) -> Tensor:
        """dx/dz, [N, D]."""
        ...

    def advance(self, held: Held, x: Tensor, z: float, new_z: float) -> Tensor:
        """The solution at ``new_z`` from x at ``z`` with ``held`` as it is, [N, D]; also where ``new_z`` is a plate."""
        ...


@dataclass(frozen=True)
class DirectionFlow:
    """dx/dz = E_x / E_z of a field of which nothing but the direction is known."""

    field: Field

    def held(self, x: Tensor, z: float) -> Held:
        """The direction, [N, D+1]."""
        return (self.field.direction(x, x.new_full((len(x),), z, dtype=torch.float64)),)

    def velocity(self, held: Held, x: Tensor, z: float) -> Tensor:
        """E_x / E_z, bounded where a line is nearly level."""
        return slope(held[0].to(x.dtype), 10.0 * math.sqrt(x.shape[1] + 1))

    def advance(self, held: Held, x: Tensor, z: float, new_z: float) -> Tensor:
        """x + (z' - z) E_x / E_z."""
        return x + (new_z - z) * self.velocity(held, x, z)


def rho_spaced(first: float, last: float, steps: int, rho: float) -> list[float]:
    """``steps`` + 1 distances from ``first`` to ``last``, equidistant in distance^(1/rho) (EDM, eq. 5)."""
    a, b = first ** (1.0 / rho), last ** (1.0 / rho)
    inside = [(a + k / steps * (b - a)) ** rho for k in range(1, steps)]
    return [first, *inside, last]


def log_spaced(first: float, last: float, steps: int) -> list[float]:
    """``steps`` + 1 distances from ``first`` to ``last`` with a constant ratio."""
    inside = [first * (last / first) ** (k / steps) for k in range(1, steps)]
    return [first, *inside, last]


@torch.no_grad()
def carry(
    flow: Flow,
    x0: Tensor,
    heights: Sequence[float],
    solver: Solver,
    *,
    lands: bool = False,
    return_paths: bool = False,
) -> Lines:
    """Carry samples along ``flow`` from height to height.

    Args:
        flow: the equation.
        x0: starts at the first height, [N, D], data units.
        heights: rising or falling, at least two, data units.
        solver: "euler" and "exponential" and "multistep" take one evaluation a step, "heun" and "midpoint" two.
        lands: whether the last height is a plate where the velocity is singular; the step there is exponential,
            with one evaluation.
        return_paths: also return the points of the lines, [T, N, D+1].

    Returns:
        Lines that end at the last height; lines whose numbers stopped being finite have failed.
    """
    x, before, count = x0, None, 0
    points = [x]
    for k, (z, new_z) in enumerate(itertools.pairwise(heights)):
        held = flow.held(x, z)
        count += 1
        if solver == "exponential" or (lands and k == len(heights) - 2):
            x = flow.advance(held, x, z, new_z)
        elif solver == "multistep":
            x = flow.advance(ahead(held, before), x, z, new_z)
        else:
            x = _runge_kutta(flow, held, x, (z, new_z), solver)
            count += solver != "euler"
        before = held
        points.append(x)
    return lines_through(points, heights, count, return_paths=return_paths)


def lines_through(
    points: Sequence[Tensor], heights: Sequence[float], evaluations: int, *, return_paths: bool
) -> Lines:
    """The record of lines through ``points`` [N, D] at ``heights``, with as many evaluations each."""
    paths = torch.stack(
        [torch.cat([x, x.new_full((len(x), 1), z)], 1) for x, z in zip(points, heights, strict=True)]
    )
    end = points[-1]
    alive = torch.isfinite(end).all(1)
    started = torch.isfinite(points[0]).all(1)
    return Lines(
        end=torch.where(alive[:, None], end, math.nan),
        end_z=end.new_full((len(end),), heights[-1]),
        status=torch.where(alive, int(LineStatus.FRONT), int(LineStatus.FAILED)),
        charge=None,
        evaluations=torch.where(started, evaluations, 0),
        length=paths.diff(dim=0).norm(dim=2).sum(0),
        paths=paths if return_paths else None,
    )


def ahead(held: Held, before: Held | None) -> Held:
    """``held`` extrapolated by half a step, from its values of this step and of the one before."""
    if before is None:
        return held
    return tuple(1.5 * now - 0.5 * then for now, then in zip(held, before, strict=True))


def _runge_kutta(flow: Flow, held: Held, x: Tensor, span: tuple[float, float], solver: Solver) -> Tensor:
    """A step of Euler, Heun or the midpoint rule in z."""
    z, new_z = span
    dz, slope = new_z - z, flow.velocity(held, x, z)
    if solver == "euler":
        return x + dz * slope
    if solver == "midpoint":
        middle, at = z + 0.5 * dz, x + 0.5 * dz * slope
        return x + dz * flow.velocity(flow.held(at, middle), at, middle)
    at = x + dz * slope
    return x + 0.5 * dz * (slope + flow.velocity(flow.held(at, new_z), at, new_z))
