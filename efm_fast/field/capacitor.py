"""The field of both plates: exact superposition in log scale, normalised once."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from .. import checks
from ..types import CapacitorField, RieszSum
from .request import Precision
from .sums import riesz_sum

Normalization = Literal["superposition", "per_plate"]


def capacitor_field(
    x: Tensor,
    z: Tensor,
    plus: Tensor,
    minus: Tensor,
    L: float,
    *,
    plus_weight: Tensor | None = None,
    minus_weight: Tensor | None = None,
    softening: float = 0.0,
    normalization: Normalization = "superposition",
    backend: str = "auto",
    precision: Precision = "default",
) -> CapacitorField:
    """Direction and log norm of the Coulomb field between two charged plates (EFM, eq. 7).

    Args:
        x: features of the points, [N, D], data units.
        z: heights of the points, [N]; the plates lie at 0 and L.
        plus: positive charges on z = 0, [M, D].
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

    Returns:
        CapacitorField: unit ``direction`` [N, D+1] in the dtype of x, z last; ``log_norm`` float64 [N].
        Exactly on a charge: direction 0 and log_norm +inf. Where the field vanishes: 0 and -inf.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    checks.tensor("x", x, ndim=2)
    checks.tensor("z", z, ndim=1, rows=len(x))
    checks.tensor("plus", plus, ndim=2, columns=x.shape[1])
    checks.tensor("minus", minus, ndim=2, columns=x.shape[1])
    checks.positive("L", L)
    checks.choice("normalization", normalization, get_args(Normalization))
    plates = []
    for charges, weight, height in ((plus, plus_weight, z), (minus, minus_weight, z.double() - L)):
        part = riesz_sum(
            x,
            charges,
            power=x.shape[1] + 1,
            weight=weight,
            height=height,
            softening=softening,
            backend=backend,
            precision=precision,
        )
        total = float(len(charges)) if weight is None else weight.double().sum()
        plates.append(_with_z(part, height, total))
    if normalization == "per_plate":
        plates = [_unit(plate) for plate in plates]
    return _normalized(plates[0].merge(-plates[1]))


def _with_z(part: RieszSum, height: Tensor, total: float | Tensor) -> RieszSum:
    """Append the z component w h to v, and scale to total charge 1."""
    z_component = (part.w * height.to(part.w.dtype))[:, None]
    return RieszSum(part.m, part.w / total, torch.cat([part.v, z_component], 1) / total)


def _unit(plate: RieszSum) -> RieszSum:
    norm = torch.linalg.vector_norm(plate.v, dim=1, dtype=torch.float64)
    return RieszSum(torch.zeros_like(plate.m), plate.w, plate.v / norm[:, None].to(plate.v.dtype))


def _normalized(total: RieszSum) -> CapacitorField:
    norm = torch.linalg.vector_norm(total.v, dim=1, dtype=torch.float64)
    safe = torch.where(norm > 0, norm, 1.0)
    log_norm = torch.where(total.m == torch.inf, torch.inf, total.m + torch.log(norm))
    return CapacitorField((total.v / safe[:, None]).to(total.v.dtype), log_norm)
