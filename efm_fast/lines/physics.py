"""Physical invariants of a field and its lines, as numbers that tests and benches compare with bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..extras import extra
from ..field import capacitor_field
from . import seeds
from .record import Lines
from .trace import trace_lines

with extra("train"):
    from scipy import special, stats


def cap_fraction(cosine: Tensor, n: int) -> Tensor:
    """Fraction of the unit sphere of R^n within the angle of cosine ``cosine``, float64."""
    c = cosine.double().clamp(-1.0, 1.0)
    beyond = torch.as_tensor(special.betainc(0.5, (n - 1) / 2, c.square().cpu().numpy()), device=c.device)
    return 0.5 - 0.5 * torch.sign(c) * beyond


def dipole_invariant(points: Tensor, L: float) -> Tensor:
    """I = F(theta_1) + F(theta_2) of a positive charge at the origin and a negative one at (0, L), float64 [...].

    theta_k is the angle at charge k between the point and the other charge, and F(theta) the fraction of the sphere
    within that angle. I is the flux of both charges through the cap that a line bounds. No line crosses the boundary of
    the cap, so I is constant on every line. NaN exactly on a charge.

    Args:
        points: (x, z), [..., D+1], data units.
        L: distance between the charges, data units.
    """
    p = points.double()
    n = p.shape[-1]
    lateral = p[..., :-1].norm(dim=-1)
    up, down = p[..., -1], L - p[..., -1]
    return cap_fraction(up / torch.hypot(lateral, up), n) + cap_fraction(down / torch.hypot(lateral, down), n)


def dipole_drift(
    d: int,
    L: float,
    n_lines: int,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> tuple[Tensor, Lines]:
    """Largest change of the invariant on each line of a dipole, [n_lines], and the lines.

    Lines start uniformly on a sphere of radius 0.03 L around the positive charge; ``options`` are passed to
    :func:`trace_lines`. A line that does not arrive has an infinite drift.
    """
    charge = torch.zeros(1, d, dtype=dtype, device="cpu")
    start = 0.03 * L * seeds.sphere(seed, torch.arange(n_lines, device="cpu"), 0, d + 1).to(dtype)
    lines = trace_lines(start[:, :-1], start[:, -1], charge, charge, L, return_paths=True, **options)
    assert lines.paths is not None
    invariant = dipole_invariant(lines.paths, L)
    drift = (invariant - invariant[0]).abs().nan_to_num(0.0).amax(dim=0)
    return torch.where(lines.arrived, drift, torch.inf), lines


def flux_p_value(charge: Tensor, n_charges: int) -> float:
    """Chi-square p value of uniform arrivals per negative charge (Gauss: equal charges draw equal flux).

    Args:
        charge: index of the charge on which each line ended, int64 [N]; lines with -1, which reached none, are left
            out.
        n_charges: how many negative charges there are; N should be at least five times as many.
    """
    counts = torch.bincount(charge[charge >= 0], minlength=n_charges)
    return float(stats.chisquare(counts.cpu().numpy()).pvalue)


def same_target(lines: Lines, reference: Lines) -> float:
    """Share of lines that end on the same charge as the reference's, which must have arrived."""
    assert lines.charge is not None
    assert reference.charge is not None
    same = (lines.charge == reference.charge) & (lines.charge >= 0)
    return float(same.double().mean())


def swap_antisymmetry(x: Tensor, z: Tensor, plus: Tensor, minus: Tensor, L: float) -> float:
    """Largest difference between a field's direction and that of the capacitor with its plates exchanged.

    Exchanging the plates' data and reflecting z reverses the sign of every charge: E_x(x, z) -> -E_x(x, L - z) and
    E_z(x, z) -> +E_z(x, L - z).
    """
    here = capacitor_field(x, z, plus, minus, L).direction
    swapped = capacitor_field(x, L - z, minus, plus, L).direction
    expected = torch.cat([-swapped[:, :-1], swapped[:, -1:]], dim=1)
    return float((here - expected).norm(dim=1).max())


def tangential_jump(x: Tensor, plate_z: float, gap: float, plus: Tensor, minus: Tensor, L: float) -> Tensor:
    """|E_t above - E_t below| / |E| across a plate, [N], float64: zero in the limit away from the charges.

    Args:
        x: features of the points, [N, D].
        plate_z: height of the plane.
        gap: the field is compared at plate_z + gap and plate_z - gap, data units.
        plus, minus, L: the capacitor.
    """
    sides = []
    for z in (plate_z + gap, plate_z - gap):
        sides.append(capacitor_field(x, x.new_full((len(x),), z), plus, minus, L))
    scale = torch.exp(sides[1].log_norm - sides[0].log_norm)[:, None]
    jump = sides[0].direction[:, :-1].double() - scale * sides[1].direction[:, :-1].double()
    return jump.norm(dim=1) / torch.maximum(scale[:, 0], torch.ones_like(scale[:, 0]))


def gauss_flux(
    center: Tensor,
    radius: float,
    plus: Tensor,
    minus: Tensor,
    L: float,
    *,
    n_points: int = 4096,
    seed: int = 0,
) -> tuple[float, float]:
    """Charge inside a sphere, from the flux through it divided by S_{n-1}, and its standard error.

    Args:
        center: (x, z), [D+1], data units.
        radius: data units.
        plus, minus, L: the capacitor; each plate has total charge 1.
        n_points: points of the Monte Carlo integral, in antipodal pairs.
        seed: of the points.
    """
    n = len(center)
    half = seeds.sphere(seed, torch.arange(n_points // 2, device="cpu"), 0, n)
    normal = torch.cat([half, -half]).to(center.dtype)
    points = center + radius * normal
    field = capacitor_field(points[:, :-1], points[:, -1], plus, minus, L)
    log_area = (n - 1) * np.log(radius)
    outward = (field.direction.double() * normal.double()).sum(dim=1)
    density = torch.exp(field.log_norm + log_area) * outward
    pairs = density.view(2, -1).mean(dim=0)
    return float(pairs.mean()), float(pairs.std() / len(pairs) ** 0.5)
