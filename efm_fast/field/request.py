"""One validated call of the pairwise sum, as every backend receives it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kernel = Literal["riesz", "gaussian"]
Precision = Literal["fast", "default", "exact"]

_SAMPLES = 256  # charges whose mean is near enough to the centre of all
_BEYOND_FLOAT32 = (torch.float64, torch.int32, torch.int64, torch.uint32, torch.uint64)


def working_dtype(x: Tensor, *charges: Tensor) -> torch.dtype:
    """The dtype in which points ``x`` and ``charges`` are subtracted: float64 where float32 would round one of them."""
    wide = x.dtype == torch.float64 or any(y.dtype in _BEYOND_FLOAT32 for y in charges)
    return torch.float64 if wide else torch.float32


@dataclass(frozen=True)
class SumRequest:
    """Arguments of one sum over charges, checked and on one device.

    Attributes:
        x: points, [N, D], float32 or float64; the result has its dtype.
        y: charges, [M, D], any real dtype (uint8 stays bytes until a backend reads a chunk of it).
        kernel: "riesz": l = -(power / 2) log r2; "gaussian": l = -r2 / (2 bandwidth^2), where
            r2_ij = |x_i - y_j|^2 + height_i^2 + softening^2.
        power: exponent of the distance in the Riesz kernel, above 0; Coulomb's field is power = D + 1.
        bandwidth: of the Gaussian kernel, data units.
        softening: Plummer softening length, data units, 0 for none.
        weight: charge weights q_j of either sign, [M], or None for all ones.
        height: h_i, distance of the point from the charges' plate, [N], or None for 0. Kept apart from the
            features because where the plates are far apart its square would drown their differences in float32.
        first_self: pair (i, j) is left out where j + first_self == i; None leaves nothing out.
        precision: "fast", "default" or "exact"; the same promise on every backend.
        centre: float32 [D], data units, near the middle of the charges; displacements are then split about it, see
            :class:`efm_fast.types.CentredSum`. None lets a backend choose, and gives whole displacements.
    """

    x: Tensor
    y: Tensor
    kernel: Kernel = "riesz"
    power: float = math.nan
    bandwidth: float = math.nan
    softening: float = 0.0
    weight: Tensor | None = None
    height: Tensor | None = None
    first_self: int | None = None
    precision: Precision = "default"
    centre: Tensor | None = None


def centre_of(*charges: Tensor) -> Tensor:
    """A mean of some of the charges of each set, float32 [D], data units: a centre for :class:`SumRequest`.

    Whole numbers where a set is of bytes, whose differences from it bfloat16 then holds. 0 where it is not finite.
    """
    rows = [y.detach()[:: max(1, len(y) // _SAMPLES)][:_SAMPLES].double() for y in charges if len(y)]
    mean = (
        torch.stack([part.mean(0) for part in rows]).mean(0)
        if rows
        else charges[0].new_zeros(charges[0].shape[1])
    )
    if any(y.dtype == torch.uint8 for y in charges):
        mean = mean.round()
    return torch.where(torch.isfinite(mean), mean, 0.0).float().contiguous()
