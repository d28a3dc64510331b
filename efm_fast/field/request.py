"""One checked sum over charges, as every backend receives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from .kernel import Kernel, checked_kernel

Precision = Literal["fast", "default", "exact"]

_FARTHEST_SELF = 2**62
_SAMPLES = 256  # charges whose mean is taken as the centre of all
_BEYOND_FLOAT32 = (torch.float64, torch.int32, torch.int64, torch.uint32, torch.uint64)


def working_dtype(x: Tensor, *charges: Tensor) -> torch.dtype:
    """The dtype in which points ``x`` and ``charges`` are subtracted: float64 if float32 would round one of them."""
    wide = x.dtype == torch.float64 or any(y.dtype in _BEYOND_FLOAT32 for y in charges)
    return torch.float64 if wide else torch.float32


@dataclass(frozen=True)
class SumRequest:
    """Arguments of one sum over charges. Backends receive them from :func:`checked`.

    Attributes:
        x: points, [N, D], float32 or float64; the result has its dtype.
        y: charges, [M, D], any real dtype (uint8 stays bytes until a backend reads a chunk of it).
        kernel: the kernel function e^l of r2_ij = |x_i - y_j|^2 + height_i^2 + softening^2.
        softening: Plummer softening length, data units, 0 for none.
        weight: charge weights q_j of either sign, [M], or None for all ones.
        height: h_i, distance of the point from the charges' plate, [N], or None for 0. It is kept apart from the
            features: its square may be so large that float32 would lose the differences between charges.
        first_self: the pair (i, j) with j + first_self == i is left out; None leaves nothing out.
        precision: "fast", "default" or "exact", with the same promise on every backend.
        centre: float32 [D], data units, near the middle of the charges. Displacements are then split about it, see
            :class:`efm_fast.field.logsum.CentredSum`. With None the backend chooses a centre, and displacements are not
            split.
    """

    x: Tensor
    y: Tensor
    kernel: Kernel
    softening: float = 0.0
    weight: Tensor | None = None
    height: Tensor | None = None
    first_self: int | None = None
    precision: Precision = "default"
    centre: Tensor | None = None


def checked(request: SumRequest) -> SumRequest:
    """Return ``request`` if its arguments are right, in working dtype, with one height per point.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
    """
    x = checks.tensor("x", request.x, ndim=2)
    y = checks.tensor("y", request.y, ndim=2, columns=x.shape[1])
    weight, first_self = request.weight, request.first_self
    if x.shape[1] == 0:
        raise InputError(f"x: expected at least one feature, got shape {tuple(x.shape)}")
    if weight is not None:
        checks.tensor("weight", weight, ndim=1, rows=len(y))
    height = None if request.height is None else heights(request.height, x)
    for name, other in (("y", y), ("weight", weight)):
        if other is not None:
            checks.same_device(name, other, x.device)
    checks.choice("precision", request.precision, get_args(Precision))
    if first_self is not None:
        first_self = checks.integer("first_self", first_self, "an int or None")
        if abs(first_self) >= _FARTHEST_SELF:
            raise InputError(f"first_self: expected an int below 2^62, got {checks.describe(first_self)}")
    # backends read memory, which holds the negative numbers of a tensor with torch's negative bit
    return SumRequest(
        x=x.to(working_dtype(x, y)).resolve_neg(),
        y=y.resolve_neg(),
        kernel=checked_kernel(request.kernel),
        softening=checks.length("softening", request.softening, zero=True),
        weight=None if weight is None else weight.resolve_neg(),
        height=None if height is None else height.resolve_neg(),
        first_self=first_self,
        precision=request.precision,
        centre=request.centre,
    )


def heights(height: Any, x: Tensor) -> Tensor:
    """One height for each of the points ``x``, [N].

    Raises:
        InputError: ``height`` is neither such a tensor nor a number.
    """
    if not isinstance(height, Tensor):
        number = checks.number("height", height, "a tensor [N], one number or None")
        return torch.full((len(x),), number, dtype=torch.float64, device=x.device)
    return checks.same_device("height", checks.tensor("height", height, ndim=1, rows=len(x)), x.device)


def centre_of(*charges: Tensor) -> Tensor:
    """A mean of some of the charges of each set, float32 [D], data units: a centre for :class:`SumRequest`.

    It consists of whole numbers if a set holds bytes, so that differences from it are exact in bfloat16. It is 0 where
    it would not be finite.
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
