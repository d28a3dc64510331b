"""An infinite chain of plates of alternating sign, one L apart: its field between two neighbours.

The plates at z = 0, +-2 L, +-4 L, ... hold the positive charges of P; those at L, -L, +-3 L, ... hold the negative
charges of Q. The field is symmetric above and below each plate, so no line crosses a plate, and between z = 0 and L its
height component is positive everywhere. Every line that leaves P upwards arrives at Q from below, and flux is
conserved. Therefore the forward map alone carries P to Q exactly.

**The sum over the chain.** If the sum is cut off after some plates, it converges slowly and depends on the order,
because the copies of one set alone add up to the field of charged lines, which falls as r^-D. Therefore the copies are
multiplied by a smooth window, some L wide, about the middle. The charge that the window removes is put back as a
continuous density 1 / (2 L) along the lines. Its integral is a sum over a few nodes at equal ratios, up to where r^-n
is a pure power; the rest is a geometric series. By Poisson's summation formula the error is the spectrum of the
window's complement at the wave number pi / L and above. A window made of erfc makes it as small as ``tolerance``.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from ... import checks
from ...errors import InputError
from ...types import CapacitorField
from ..capacitor import normalised
from .sums import ImageSum, image_sum

TOLERANCE = 1e-6
_FINE = 1e-9


def chain_plates(L: float, n: int, reach: float, *, tolerance: float = TOLERANCE) -> tuple[Tensor, Tensor]:
    """The heights of the copies of one plate's charges, and the charge on each of them.

    Sums of r^-n over them are those over all plates 2 L k, k any whole number, times 1 + O(tolerance), and sums of
    h r^-n have that error in units of L times the former; for points up to L from the plate z = 0.

    Args:
        L: distance between neighbouring plates of opposite sign, data units.
        n: exponent of the distance, D + 1 for the field of D features; at least 2.
        reach: largest distance over features between a point and a charge, data units.
        tolerance: relative error, from 1e-12 to 0.01.

    Returns:
        Heights and charges, float64 [K], of the copies that count and of the nodes of the continuous rest. K falls with
        n: it is about 70 in the plane, and 3 from a hundred features on if L is as large as ``reach``.

    Raises:
        InputError: an argument out of range.
    """
    L, reach = checks.length("L", L), checks.length("reach", reach)
    if checks.integer("n", n) < 2:
        raise InputError(f"n: expected an integer of at least 2, got {n}")
    if not 1e-12 <= checks.positive("tolerance", tolerance) <= 0.01:
        raise InputError(f"tolerance: expected a number from 1e-12 to 0.01, got {tolerance}")
    return _plates(L, n, reach, tolerance)


@functools.lru_cache(maxsize=64)
def _plates(L: float, n: int, reach: float, tolerance: float) -> tuple[Tensor, Tensor]:
    sharp = math.sqrt(math.log(1.0 / tolerance))
    edge = 2.0 * L / math.pi * sharp
    # the window is 1 up to 2 L, because no node may be nearer to a point than the nearest copy
    window = 2.0 * L + sharp * edge
    count = math.ceil((window + sharp * edge) / (2.0 * L))
    copies = 2.0 * L * torch.arange(-count, count + 1, dtype=torch.float64)

    def beyond(height: Tensor) -> Tensor:
        return 0.5 * torch.special.erfc((window - height.abs()) / edge)

    charge = 1.0 - beyond(copies)
    ratio = 0.9 * math.pi / sharp**2
    last = max(reach, window) * tolerance ** (-1.0 / (n + 1))
    steps = math.ceil(math.log(last / (2.0 * L)) / ratio)
    node = 2.0 * L * torch.exp(ratio * torch.arange(1, steps + 1, dtype=torch.float64))
    rest = beyond(node) * node * ratio / (2.0 * L)
    rest[-1] /= 1.0 - math.exp(-(n - 1) * ratio)  # the nodes after it, whose weights fall as a power
    heights = torch.cat([copies, node, -node])
    charges = torch.cat([charge, rest, rest])
    # the largest weight of a plate beside the nearest one, at the farthest point
    away = (heights.abs() - L).clamp_min(0.0)
    share = charges * ((reach**2 + away**2) / (reach**2 + L**2)) ** (-0.5 * n)
    kept = share * (1.0 + heights.abs() / L) > 0.01 * tolerance
    return heights[kept], charges[kept]


def chain_sum(
    x: Tensor,
    height: Tensor,
    y: Tensor,
    L: float,
    *,
    tolerance: float = TOLERANCE,
    backend: str = "auto",
) -> ImageSum:
    """The sum over charges y that repeat at every 2 L, at Coulomb's power; each charge 1.

    Args:
        x: points, [N, D], data units.
        height: distance from the plate that holds y, between -L and L, [N], data units.
        y: charges, [M, D], at least one.
        L: half the distance between neighbouring copies, data units.
        tolerance: see :func:`chain_plates`.
        backend: see :func:`image_sum`.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    checks.tensor("x", x, ndim=2)
    checks.tensor("y", y, ndim=2, columns=x.shape[1])
    checks.tensor("height", height, ndim=1, rows=len(x))
    if len(y) == 0:
        raise InputError("y: expected at least one charge, got none")
    plates, charges = chain_plates(L, x.shape[1] + 1, _reach(x, y), tolerance=tolerance)
    heights = height.double()[:, None] - plates.to(x.device)
    return image_sum(x, y, heights, charges.to(x.device), power=x.shape[1] + 1.0, backend=backend)


def _reach(x: Tensor, y: Tensor) -> float:
    """A power of two above the distances between points and charges, so that few sets of plates are made."""
    centre = y.detach().double().mean(0)
    parts = [(part.detach().double() - centre).norm(dim=1) for part in (x, y) if len(part)]
    size = sum(float(torch.nan_to_num(part, posinf=0.0).amax()) for part in parts)
    return 2.0 ** math.ceil(math.log2(max(size, 1e-100)))


def chain_field(
    x: Tensor,
    z: Tensor,
    plus: Tensor,
    minus: Tensor,
    L: float,
    *,
    tolerance: float = TOLERANCE,
    backend: str = "auto",
) -> CapacitorField:
    """Direction and log norm of the field of the chain at points between its plates z = 0 and L.

    Args:
        x: features of the points, [N, D], data units.
        z: heights of the points, [N], from 0 to L.
        plus: positive charges, [M, D], on the plates 2 L k; total charge 1 on each.
        minus: negative charges, [M', D], on the plates L + 2 L k; total charge -1 on each.
        L: distance between neighbouring plates, data units.
        tolerance: see :func:`chain_plates`. Away from the charges the height component of the field falls as
            exp(-pi r / L), and the feature components as a power of r. Where the former is below ``tolerance`` times
            the latter, its digits are lost.
        backend: see :func:`image_sum`.

    Returns:
        CapacitorField, as from :func:`efm_fast.capacitor_field`.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    L = checks.length("L", L)
    checks.tensor("z", z, ndim=1, rows=len(checks.tensor("x", x, ndim=2)))
    sums = []
    for name, charges, height in (("plus", plus, z.double()), ("minus", minus, z.double() - L)):
        if len(checks.tensor(name, charges, ndim=2, columns=x.shape[1])) == 0:
            raise InputError(f"{name}: expected at least one charge, got none")
        total = chain_sum(x, height, charges, L, tolerance=tolerance, backend=backend)
        sums.append(total.times(torch.tensor(1.0 / len(charges), dtype=torch.float64, device=x.device)))
    both = sums[0].merge(-sums[1])
    return normalised(both.m, both.v, both.u)


def chain_weights(r2: Tensor, height: Tensor, L: float, n: int) -> tuple[Tensor, Tensor]:
    """Logs of the total weight of one charge that repeats at every 2 L, and of the weights times their heights.

    Args:
        r2: squared distance over features, [N], data units squared.
        height: distance from the charge's plate, above 0 and up to L, [N].
        L: half the distance between neighbouring copies, data units.
        n: D + 1.

    Returns:
        Logs of sum_k r_k^-n and of sum_k h_k r_k^-n, float64 [N]. The latter falls as exp(-pi r / L); it is at least
        1e-9 L of the former, where its digits are lost.
    """
    r2, height = r2.double(), height.double()
    reach = float(torch.nan_to_num(r2, posinf=0.0).amax()) ** 0.5 if len(r2) else 1.0
    plates, charges = chain_plates(L, n, 2.0 ** math.ceil(math.log2(max(reach, L))), tolerance=_FINE)
    heights = height[:, None] - plates.to(r2.device)
    nearest = r2 + height.square()
    ratio = (r2[:, None] + heights.square()) / nearest[:, None]
    weight = charges.to(r2.device) * torch.exp(-0.5 * n * torch.log(ratio))
    total, upward = weight.sum(1), (weight * heights).sum(1)
    base = -0.5 * n * torch.log(nearest)
    return base + torch.log(total), base + torch.log(torch.maximum(upward, _FINE * L * total))
