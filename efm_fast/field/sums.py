"""``riesz_sum`` and ``gaussian_sum``: the one reduction over charges, for any model that needs it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..types import CentredSum, RieszSum
from . import backends, ops
from .request import Kernel, Precision, SumRequest, working_dtype
from .streaming import Charges, is_streamed, stream

_FARTHEST_SELF = 2**62


def riesz_sum(
    x: Tensor,
    y: Charges,
    *,
    power: float,
    weight: Tensor | None = None,
    height: Tensor | float | None = None,
    softening: float = 0.0,
    first_self: int | None = None,
    backend: str = "auto",
    precision: Precision = "default",
    progress: bool = False,
) -> RieszSum:
    """Sum the Riesz kernel r^-power and its displacements over charges, in log scale.

    Coulomb's law in n = D + 1 dimensions is ``power = D + 1`` (EFM, eq. 1); with ``power = D - 1`` the sum of
    weights is its potential; PFGM++'s posterior mean with d extra dimensions at radius r is
    ``riesz_sum(x, y, power=D + d, height=r).posterior_mean(x)``.

    Args:
        x: points, [N, D]; float32 and float64 keep their dtype, others are read as float32.
        y: charges, [M, D], uint8, bfloat16, float16, float32 or float64; M may be 0. Charges that float32 would
            round (float64, int32, int64) are summed in float64, and the result returned in the dtype of x. Charges
            that do not fit in memory may be a numpy array or memmap, or anything that iterates over chunks [m, D]
            (tensors, arrays, or pairs of charges and their weights): they are read, summed and merged chunk by
            chunk.
        power: exponent of the distance, above 0.
        weight: charge weights of either sign, [M]; None means one each.
        height: distance of each point from the charges' plate, [N] or one number, data units; None means 0.
        softening: r2 becomes r2 + softening^2; data units.
        first_self: leave out the pair (i, j) where j + first_self == i; 0 leaves out each point's own.
        backend: "auto", or a name that ``efm-fast info`` lists.
        precision: "fast", "default" or "exact".
        progress: show a progress bar over the chunks of streamed charges.

    Returns:
        RieszSum (m float64 [N], w [N], v [N, D]). A point exactly on a charge has m = +inf, w = that charge's
        weight and v = 0; a point with no charge has m = -inf, w = 0, v = 0. NaN stays visible: in a point or its
        height it spoils that row, in a charge or its weight every row.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
        BackendUnavailableError: ``backend`` was named and cannot serve; the text says why.
    """
    power = checks.positive("power", power)
    total = sum_and_charge(
        x, y, "riesz", power, weight, height, softening, first_self, backend, precision, progress
    )[0]
    return total.whole(x).to(result_dtype(x, backend))


def gaussian_sum(
    x: Tensor,
    y: Charges,
    *,
    bandwidth: float,
    weight: Tensor | None = None,
    height: Tensor | float | None = None,
    first_self: int | None = None,
    backend: str = "auto",
    precision: Precision = "default",
    progress: bool = False,
) -> RieszSum:
    """Sum the kernel exp(-r2 / (2 bandwidth^2)) and its displacements, for Stein-type and diffusion targets.

    The diffusion posterior mean at noise level s is ``gaussian_sum(x, y, bandwidth=s).posterior_mean(x)``.

    Args:
        x: points, [N, D].
        y: charges, [M, D], or a stream of them.
        bandwidth: standard deviation of the kernel, data units, above 0.
        weight: charge weights, [M].
        height: distance of each point from the charges' plate, [N] or one number, data units.
        first_self: leave out the pair (i, j) where j + first_self == i.
        backend: "auto", or a name that ``efm-fast info`` lists.
        precision: "fast", "default" or "exact".
        progress: show a progress bar over a stream's chunks.

    Returns:
        RieszSum, as from :func:`riesz_sum`.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    bandwidth = checks.length("bandwidth", bandwidth)
    checks.tensor("x", x, ndim=2)
    height = _heights(height, x)
    total = sum_and_charge(
        x, y, "gaussian", bandwidth, weight, None, 0.0, first_self, backend, precision, progress
    )[0]
    whole = total.whole(x).to(result_dtype(x, backend))
    return whole if height is None else _raised(whole, height, bandwidth)


def result_dtype(x: Tensor, backend: str) -> torch.dtype:
    """What a sum at ``x`` returns: the points' own dtype, float64 of the reference, float32 of other dtypes."""
    return torch.float64 if backends.requested_name(backend) == "reference" else working_dtype(x)


def _raised(total: RieszSum, height: Tensor, bandwidth: float) -> RieszSum:
    """A Gaussian sum seen from ``height`` [N] above its charges, where every weight shrinks by one factor.

    Summed with the others, a height's square would drown the differences of distances that tell the weights apart.
    """
    depth = (height.double() / bandwidth) ** 2 / 2
    depth = torch.where(torch.isinf(depth), torch.nan, depth)
    # 1, and NaN where the height is no number; its gradient is that of the weights at a fixed log scale
    factor = torch.exp(depth.detach() - depth).to(total.w.dtype)
    return RieszSum(total.m - depth.detach(), total.w * factor, total.v * factor[:, None])


def sum_and_charge(
    x: Tensor,
    y: Charges,
    kernel: Kernel,
    scale: float,
    weight: Tensor | None,
    height: Tensor | float | None,
    softening: float,
    first_self: int | None,
    backend: str,
    precision: Precision,
    progress: bool,
    centre: Tensor | None = None,
) -> tuple[CentredSum, float | Tensor | None]:
    """The sum over charges in memory or streamed; with it the total charge, where only the stream knew it.

    Displacements are split about ``centre`` if there is one; see :class:`efm_fast.types.CentredSum`.
    """

    def over(y: Tensor, weight: Tensor | None, first_self: int | None) -> CentredSum:
        request = make_request(x, y, kernel, scale, weight, height, softening, first_self, precision)
        return ops.call(replace(request, centre=centre), backend)

    if isinstance(y, Tensor) or not is_streamed(y):
        return over(y, weight, first_self), None  # type: ignore[arg-type]
    checks.tensor("x", x, ndim=2)
    empty = over(x.new_zeros(0, x.shape[1]), None, first_self)
    return stream(
        y,
        over,
        empty,
        weight=weight,
        first_self=first_self,
        device=x.device,
        progress=progress,
        name="y",
    )


def make_request(
    x: Tensor,
    y: Tensor,
    kernel: Kernel,
    scale: float,
    weight: Tensor | None,
    height: Tensor | float | None,
    softening: float,
    first_self: int | None,
    precision: Precision,
) -> SumRequest:
    """Check the arguments of a sum and gather them; ``scale`` is the kernel's power or bandwidth."""
    checks.tensor("x", x, ndim=2)
    checks.tensor("y", y, ndim=2, columns=x.shape[1])
    if x.shape[1] == 0:
        raise InputError(f"x: expected at least one feature, got shape {tuple(x.shape)}")
    if weight is not None:
        checks.tensor("weight", weight, ndim=1, rows=len(y))
    height = _heights(height, x)
    for name, other in (("y", y), ("weight", weight)):
        if other is not None:
            checks.same_device(name, other, x.device)
    checks.choice("precision", precision, get_args(Precision))
    if first_self is not None:
        first_self = checks.integer("first_self", first_self, "an int or None")
        if abs(first_self) >= _FARTHEST_SELF:
            raise InputError(f"first_self: expected an int below 2^62, got {checks.describe(first_self)}")
    x = x.to(working_dtype(x, y))
    # backends read memory, where torch may hold a number's negative
    x, y, weight, height = (None if t is None else t.resolve_neg() for t in (x, y, weight, height))  # type: ignore[assignment]
    return SumRequest(
        x=x,
        y=y,
        kernel=kernel,
        power=scale if kernel == "riesz" else math.nan,
        bandwidth=scale if kernel == "gaussian" else math.nan,
        softening=checks.length("softening", softening, zero=True),
        weight=weight,
        height=height,
        first_self=first_self,
        precision=precision,
    )


def _heights(height: Tensor | float | None, x: Tensor) -> Tensor | None:
    """One height per point, [N], or None."""
    if height is None:
        return None
    if not isinstance(height, Tensor):
        number = checks.number("height", height, "a tensor [N], one number or None")
        return torch.full((len(x),), number, dtype=torch.float64, device=x.device)
    return checks.same_device("height", checks.tensor("height", height, ndim=1, rows=len(x)), x.device)
