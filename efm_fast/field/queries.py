"""Points at which a field sum is hard to compute, shared by tests and benches.

Points on the segment between two charges are mostly dominated by one charge and hide errors. Sums are hard where two
charges balance: at ties within a plate, at ties between the plates (every field line crosses such a surface), and at
points near two almost equal charges, where distances from a matrix product cancel. They are also hard where the fields
of whole plates balance: at flux points, from which a network learns, and farther away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import checks

KINDS = ("interpolated", "tie", "plate_tie", "twin", "flux", "far")

_TWIN_OFFSET = 1e-3  # rms distance between twins, in units of the rms distance between charges
_HEIGHTS = {"flux": (1e-3, 1.0), "far": (1.0, 10.0)}  # heights above the charge's plate, in units of L
_FLATTEST = 0.05  # smallest |g0| of a flux point; 4 % of a Gaussian's draws are smaller


def promised_error(kind: str, d: int) -> float:
    """The largest error of the unit direction that "default" precision promises for ``kind`` in ``d`` dimensions."""
    near = 1e-4 if d <= 3072 else 2e-4 if d <= 12288 else 1e-3
    return max(near, 1e-3) if kind == "far" else near


@dataclass(frozen=True)
class QuerySet:
    """Charges of a capacitor and points between its plates.

    Attributes:
        kind: one of :data:`KINDS`.
        x: features of the points, float32 [N, D], data units.
        z: heights of the points, float64 [N], data units.
        plus: charges on z = 0, float32 [M, D] or uint8 [M, D].
        minus: charges on z = L, like ``plus``.
        L: distance between the plates: the rms distance between charges.
    """

    kind: str
    x: Tensor
    z: Tensor
    plus: Tensor
    minus: Tensor
    L: float


def query_set(kind: str, n: int, m: int, d: int, *, seed: int = 0, uint8: bool = False) -> QuerySet:
    """Draw ``m`` charges per plate and ``n`` points of ``kind`` in ``d`` dimensions. The same seed gives the same draw.

    interpolated: anywhere on the segment between a positive and a negative charge.
    tie: midway between two positive charges, between the plates.
    plate_tie: near the middle of a segment between the plates, at the height where both ends are equally far.
    twin: a thousandth of the distance between charges away from two almost equal positive charges.
    flux: x = y + h g / |g0| at height h = 0.001 ... 1 L over a charge y of either plate, on either side, with Gaussian
    g and |g0| >= 0.05: where the flux of the charge crosses that height.
    far: the same at h = 1 ... 10 L.

    Args:
        kind: one of :data:`KINDS`.
        n: points, N.
        m: charges per plate, M, at least 2.
        d: features, D.
        seed: of the drawing.
        uint8: draw pixel values 0 ... 255 as bytes; else standard normal float32 charges.

    Raises:
        InputError: ``kind`` is unknown or ``m`` below 2.
    """
    checks.choice("kind", kind, KINDS)
    checks.positive("m - 1", m - 1)
    generator = torch.Generator().manual_seed(seed)
    plus, minus = (_charges(m, d, uint8, generator) for _ in range(2))
    scale = math.sqrt(2 * d) * (math.sqrt((256**2 - 1) / 12) if uint8 else 1.0)
    if kind == "twin":
        step = torch.randn(m // 2, d, generator=generator) * (_TWIN_OFFSET * scale / math.sqrt(d))
        step = step.round().clamp_min(1) if uint8 else step
        plus[m // 2 : 2 * (m // 2)] = _moved(plus[: m // 2], step)
    first = torch.randint(0, m // 2, (n,), generator=generator)
    second = first + m // 2
    other = torch.randint(0, m, (n,), generator=generator)
    t = torch.rand(n, 1, generator=generator)
    a, b, c = plus[first].float(), plus[second].float(), minus[other].float()
    z = (0.05 + 0.9 * torch.rand(n, generator=generator)).double() * scale
    if kind == "interpolated":
        x = a + (c - a) * (0.05 + 0.9 * t)
    elif kind == "tie":
        x = (a + b) / 2
    elif kind == "plate_tie":
        x = a + (c - a) * (0.45 + 0.1 * t)
        r2_plus, r2_minus = (torch.linalg.vector_norm(x.double() - y.double(), dim=1) ** 2 for y in (a, c))
        z = (scale**2 + r2_minus - r2_plus) / (2 * scale)
    elif kind in _HEIGHTS:
        x, z = _flux_points(plus[first], minus[other], scale, *_HEIGHTS[kind], generator)
    else:
        x = (a + b) / 2 + torch.randn(n, d, generator=generator) * (_TWIN_OFFSET * scale / math.sqrt(d))
        z = z * _TWIN_OFFSET
    return QuerySet(kind, x, z, plus, minus, scale)


def _flux_points(
    plus: Tensor, minus: Tensor, L: float, low: float, high: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Features and heights of points through which the flux of a charge of each row passes."""
    n, d = plus.shape
    above = torch.rand(n, generator=generator) < 0.5
    from_plus = torch.rand(n, generator=generator) < 0.5
    h = (low * (high / low) ** torch.rand(n, generator=generator)).double() * L
    g = torch.randn(n, d, generator=generator)
    g0 = torch.randn(n, generator=generator).abs().clamp_min(_FLATTEST)
    charge = torch.where(from_plus[:, None], plus.float(), minus.float())
    z = torch.where(from_plus, 0.0, L).double() + torch.where(above, h, -h)
    return charge + (h / g0).float()[:, None] * g, z


def _charges(m: int, d: int, uint8: bool, generator: torch.Generator) -> Tensor:
    if uint8:
        return torch.randint(0, 256, (m, d), generator=generator, dtype=torch.uint8)
    return torch.randn(m, d, generator=generator)


def _moved(charges: Tensor, step: Tensor) -> Tensor:
    """``charges + step``, clamped and rounded to bytes if the charges are bytes."""
    moved = charges.float() + step
    return moved.clamp(0, 255).to(torch.uint8) if charges.dtype == torch.uint8 else moved
