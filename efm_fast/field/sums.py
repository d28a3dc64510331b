"""``kernel_sum`` and its two short forms ``riesz_sum`` and ``gaussian_sum``: sums over charges, for any model."""

from __future__ import annotations

import functools

import torch
import torch.distributed as dist
from torch import Tensor

from .. import checks
from . import backends, torch_op
from .distributed.sharding import Sharding, together
from .distributed.sums import sharded_sum
from .kernel import Gaussian, Kernel, Riesz, checked_kernel
from .logsum import CentredSum, LogSum
from .request import Precision, SumRequest, checked, heights, working_dtype
from .streaming import Charges, is_streamed, stream

Group = dist.ProcessGroup | Sharding | None


@together
def kernel_sum(
    x: Tensor,
    y: Charges,
    kernel: Kernel,
    *,
    weight: Tensor | None = None,
    height: Tensor | float | None = None,
    softening: float = 0.0,
    first_self: int | None = None,
    backend: str = "auto",
    precision: Precision = "default",
    progress: bool = False,
    group: Group = None,
) -> LogSum:
    """Sum a kernel function and its displacements over charges, in log scale.

    Args:
        x: points, [N, D]; float32 and float64 keep their dtype, others are read as float32.
        y: charges, [M, D], uint8, bfloat16, float16, float32 or float64; M may be 0. Charges that float32 would
            round (float64, int32, int64) are summed in float64, and the result returned in the dtype of x. Charges
            that do not fit in memory may be a numpy array or memmap, or anything that iterates over chunks [m, D]
            (tensors, arrays, or pairs of charges and their weights): they are read, summed and merged chunk by
            chunk.
        kernel: the kernel function, such as ``efm_fast.Riesz(power)`` or ``efm_fast.Gaussian(bandwidth)``; or one of
            your own, see :func:`efm_fast.register_kernel`.
        weight: charge weights of either sign, [M]; None means one each.
        height: distance of each point from the charges' plate, [N] or one number, data units; None means 0.
        softening: r2 becomes r2 + softening^2; data units.
        first_self: leave out the pair (i, j) where j + first_self == i; 0 leaves out each point's own.
        backend: "auto", or a name that ``efm-fast info`` lists.
        precision: "fast", "default" or "exact".
        progress: show a progress bar over the chunks of streamed charges.
        group: a process group of torch.distributed, or an ``efm_fast.Sharding``. The sum then goes over the charges of
            all its processes; ``y`` and ``weight`` are those of this process. Points are the same on all processes
            unless the Sharding says otherwise. None means this process alone.

    Returns:
        LogSum (m float64 [N], w [N], v [N, D]). If the kernel has a pole, a point exactly on a charge has m = +inf,
            w = that charge's weight and v = 0. A point without charges has m = -inf, w = 0 and v = 0. NaN in a point or
            its height makes that row NaN; NaN in a charge or its weight makes every row NaN.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
        BackendUnavailableError: ``backend`` was named and cannot serve; the text says why.
    """
    factor = None
    if height is not None:
        factor = checked_kernel(kernel).log_factor(heights(height, checks.tensor("x", x, ndim=2)))
    request = SumRequest(
        x=x,
        y=y,  # type: ignore[arg-type]  # a stream is converted to tensors when it is read
        kernel=kernel,
        softening=softening,
        weight=weight,
        height=height if factor is None else None,  # type: ignore[arg-type]  # a number is converted when it is checked
        first_self=first_self,
        precision=precision,
    )
    total = sum_and_charge(request, backend, progress, group)[0].whole(x).to(result_dtype(x, backend))
    return total if factor is None else _times(total, factor)


@together
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
    group: Group = None,
) -> LogSum:
    """Sum the Riesz kernel r^-power and its displacements over charges, in log scale.

    Coulomb's law in n = D + 1 dimensions is ``power = D + 1`` (EFM, eq. 1); with ``power = D - 1`` the sum of
    weights is its potential; PFGM++'s posterior mean with d extra dimensions at radius r is
    ``riesz_sum(x, y, power=D + d, height=r).posterior_mean(x)``.

    Args:
        x: points, [N, D].
        y: charges, [M, D], or a stream of them; see :func:`efm_fast.kernel_sum`.
        power: exponent of the distance, above 0.
        weight: charge weights of either sign, [M]; None means one each.
        height: distance of each point from the charges' plate, [N] or one number, data units; None means 0.
        softening: r2 becomes r2 + softening^2; data units.
        first_self: leave out the pair (i, j) where j + first_self == i; 0 leaves out each point's own.
        backend: "auto", or a name that ``efm-fast info`` lists.
        precision: "fast", "default" or "exact".
        progress: show a progress bar over the chunks of streamed charges.
        group: processes that share the sum, see :func:`efm_fast.kernel_sum`.

    Returns:
        LogSum (m float64 [N], w [N], v [N, D]). A point exactly on a charge has m = +inf, w = that charge's
        weight and v = 0; a point with no charge has m = -inf, w = 0, v = 0. NaN stays visible: in a point or its
        height it spoils that row, in a charge or its weight every row.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
        BackendUnavailableError: ``backend`` was named and cannot serve; the text says why.
    """
    return kernel_sum(
        x,
        y,
        Riesz(power),
        weight=weight,
        height=height,
        softening=softening,
        first_self=first_self,
        backend=backend,
        precision=precision,
        progress=progress,
        group=group,
    )


@together
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
    group: Group = None,
) -> LogSum:
    """Sum the kernel exp(-r2 / (2 bandwidth^2)) and its displacements, for Stein-type and diffusion targets.

    The diffusion posterior mean at noise level s is ``gaussian_sum(x, y, bandwidth=s).posterior_mean(x)``.

    Args:
        x: points, [N, D].
        y: charges, [M, D], or a stream of them; see :func:`efm_fast.kernel_sum`.
        bandwidth: standard deviation of the kernel, data units, above 0.
        weight: charge weights, [M].
        height: distance of each point from the charges' plate, [N] or one number, data units.
        first_self: leave out the pair (i, j) where j + first_self == i.
        backend: "auto", or a name that ``efm-fast info`` lists.
        precision: "fast", "default" or "exact".
        progress: show a progress bar over a stream's chunks.
        group: processes that share the sum, see :func:`efm_fast.kernel_sum`.

    Returns:
        LogSum (m float64 [N], w [N], v [N, D]), as from :func:`efm_fast.kernel_sum`.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    return kernel_sum(
        x,
        y,
        Gaussian(bandwidth),
        weight=weight,
        height=height,
        first_self=first_self,
        backend=backend,
        precision=precision,
        progress=progress,
        group=group,
    )


def result_dtype(x: Tensor, backend: str) -> torch.dtype:
    """The dtype of a sum: that of float32 or float64 points ``x``, float32 for others; float64 from the reference."""
    return torch.float64 if backends.requested_name(backend) == "reference" else working_dtype(x)


def _times(total: LogSum, log_factor: Tensor) -> LogSum:
    """The sum with all weights times e^log_factor [N], the factor of a height where the kernel is a product.

    As part of r2, a large height would round away the differences between distances.
    """
    log_factor = torch.where(torch.isinf(log_factor), torch.nan, log_factor)
    # 1, or NaN if the height is NaN; it carries the gradient of the weights at a fixed log scale
    one = torch.exp(log_factor - log_factor.detach()).to(total.w.dtype)
    return LogSum(total.m + log_factor.detach(), total.w * one, total.v * one[:, None])


def sum_and_charge(
    request: SumRequest, backend: str, progress: bool = False, group: Group = None
) -> tuple[CentredSum, float | Tensor | None]:
    """The sum over charges in memory or streamed, and this process's total charge if they are streamed, else None."""
    if group is not None:
        serve = functools.partial(sum_and_charge, backend=backend, progress=progress)
        return sharded_sum(request, backend, Sharding.of(group), serve)
    if isinstance(request.y, Tensor) or not is_streamed(request.y):
        return torch_op.call(checked(request), backend), None
    return stream(request, lambda part: torch_op.call(checked(part), backend), progress)
