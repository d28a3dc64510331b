"""The field of both plates: exact superposition in log scale, normalised once."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..types import CapacitorField
from .ops import watched
from .request import Precision
from .streaming import Charges, is_streamed
from .sums import sum_and_charge

Normalization = Literal["superposition", "per_plate"]


def capacitor_field(
    x: Tensor,
    z: Tensor,
    plus: Charges,
    minus: Charges,
    L: float,
    *,
    plus_weight: Tensor | None = None,
    minus_weight: Tensor | None = None,
    softening: float = 0.0,
    normalization: Normalization = "superposition",
    backend: str = "auto",
    precision: Precision = "default",
    progress: bool = False,
) -> CapacitorField:
    """Direction and log norm of the Coulomb field between two charged plates (EFM, eq. 7).

    Args:
        x: features of the points, [N, D], data units.
        z: heights of the points, [N]; the plates lie at 0 and L.
        plus: positive charges on z = 0, [M, D]; in memory or streamed, see :func:`efm_fast.riesz_sum`.
        minus: negative charges on z = L, [M', D].
        L: distance between the plates, data units, above 0.
        plus_weight: relative weights of the charges, [M], scaled to total charge 1; None means equal.
        minus_weight: the same for ``minus``, [M'].
        softening: r2 becomes r2 + softening^2; data units.
        normalization: "superposition" adds the two plates' fields as physics does. "per_plate" scales each
            plate's field to length one before adding, as the authors' published code does; that is not a
            Coulomb field and is here for parity only.
        backend: see :func:`efm_fast.riesz_sum`.
        precision: see :func:`efm_fast.riesz_sum`.
        progress: see :func:`efm_fast.riesz_sum`.

    Returns:
        CapacitorField: unit ``direction`` [N, D+1] in the dtype of x, z last; ``log_norm`` float64 [N].
        Exactly on a charge: direction 0 and log_norm +inf. Where the field vanishes: 0 and -inf. A point with a
        NaN in x or z has NaN for both, and a NaN among charges or weights spoils every row.

    Raises:
        InputError: an argument has the wrong type, shape, device or range; a plate has no charges, or weights that
            add up to 0.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    checks.tensor("x", x, ndim=2)
    checks.same_device("z", checks.tensor("z", z, ndim=1, rows=len(x)), x.device)
    L = checks.length("L", L)
    checks.choice("normalization", normalization, get_args(Normalization))
    plates = []
    for name, charges, weight, height in (
        ("plus", plus, plus_weight, z),
        ("minus", minus, minus_weight, z.double() - L),
    ):
        known = None if is_streamed(charges) else plate_charge(name, charges, weight, x, "x")  # type: ignore[arg-type]
        part, streamed = sum_and_charge(
            x,
            charges,
            "riesz",
            x.shape[1] + 1.0,
            weight,
            height,
            softening,
            None,
            backend,
            precision,
            progress,
        )
        total = known if streamed is None else _not_zero(name, streamed)
        plates.append(_Plate(part.m, part.w * height.to(part.w.dtype), part.v, total))  # type: ignore[arg-type]
    if normalization == "per_plate":
        plates = [_unit(plate) for plate in plates]
    return _superposed(*plates)


def plate_charge(
    name: str, charges: Tensor, weight: Tensor | None, points: Tensor, of: str
) -> float | Tensor:
    """Total weight of a plate's charges [M, D] beside ``points`` [N, D], the argument ``of``.

    Raises:
        InputError: charges or weights are not such tensors, or cannot be scaled to charge 1.
    """
    checks.tensor(name, charges, ndim=2, columns=points.shape[1])
    checks.same_device(name, charges, points.device, of)
    if weight is None:
        return _not_zero(name, float(len(charges)))
    checks.tensor(f"{name}_weight", weight, ndim=1, rows=len(charges))
    checks.same_device(f"{name}_weight", weight, points.device, of)
    return _not_zero(name, weight.double().sum())


def _not_zero(name: str, total: float | Tensor) -> float | Tensor:
    """``total``, unless it is 0; what a compiler or transform traces has no value yet, and then gives NaN."""
    if (isinstance(total, float) or not watched(total)) and total == 0:
        raise InputError(
            f"{name}: expected charges whose weights do not add up to 0, got none or such that do"
        )
    return total


class _Plate(NamedTuple):
    """One plate's field: log scale [N], z component [N], feature components [N, D], to be divided by ``total``."""

    m: Tensor
    z: Tensor
    v: Tensor
    total: float | Tensor


def _with_norm(v: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors (v, z), [N, D + 1], and their lengths, float64 [N]."""
    vector = torch.cat([v, z[:, None]], 1)
    return vector, torch.linalg.vector_norm(vector, dim=1, dtype=torch.float64)


def _unit(plate: _Plate) -> _Plate:
    return _Plate(torch.zeros_like(plate.m), plate.z, plate.v, _with_norm(plate.v, plate.z)[1])


def _superposed(plus: _Plate, minus: _Plate) -> CapacitorField:
    """plus - minus, each over its total charge, and normalised once."""
    m = torch.maximum(plus.m, minus.m)
    factors = []
    for plate in (plus, minus):
        # equal infinities scale by one; a finite term beside +inf, or an empty one, by zero
        relative = torch.where(plate.m == m, 0.0, plate.m - m)
        factors.append((torch.exp(relative) / plate.total).to(plate.v.dtype))
    a, b = factors
    vector, norm = _with_norm(a[:, None] * plus.v - b[:, None] * minus.v, a * plus.z - b * minus.z)
    # a vanishing vector must not reach log and division, whose gradients there would spoil every other row
    vanishes = norm == 0
    safe = torch.where(vanishes, 1.0, norm)
    log_norm = torch.where(vanishes, -torch.inf, m + torch.log(safe))
    log_norm = torch.where(m == torch.inf, torch.inf, log_norm)
    return CapacitorField(vector / safe[:, None].to(vector.dtype), log_norm)
