"""Adapter of the Triton kernels: sums on CUDA devices, three regimes by the number of features."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import kernels
from ..logsum import LogSum
from ..request import SumRequest
from .gradient import Needs

_CHARGES = (torch.float32, torch.bfloat16, torch.float16, torch.uint8)
_TRITON = (3, 5)  # older versions cannot compile the kernels, or need more shared memory than a GPU has


def why_not(request: SumRequest) -> str | None:
    """A sentence that says why this backend cannot serve ``request``; None if it can."""
    device = request.x.device
    if device.type != "cuda" and not kernels.INTERPRET:
        return f"its kernels run on CUDA devices, and the points are on {device}"
    if request.kernel.name not in kernels.KERNELS:
        return f"it knows the kernels {', '.join(kernels.KERNELS)}, not {request.kernel.name}"
    if request.x.dtype != torch.float32:
        return f"it computes in float32, and the points are {request.x.dtype}"
    if request.y.dtype not in _CHARGES:
        return f"it reads charges of float32, bfloat16, float16 and uint8, not {request.y.dtype}"
    if kernels.VERSION < _TRITON and not kernels.INTERPRET:
        found, least = (".".join(map(str, version)) for version in (kernels.VERSION, _TRITON))
        return f"it needs Triton {least} or newer, and this is {found}"
    if device.type != "cuda" or torch.cuda.is_current_stream_capturing():
        return None  # a capture allows neither compiling nor waiting
    return kernels.probe.why_not(torch.cuda.current_device() if device.index is None else device.index)


def _asked(request: SumRequest) -> kernels.Request:
    """``request`` in the form of the kernels."""
    return kernels.Request(
        request.x,
        request.y,
        request.kernel.name,
        request.kernel.parameters,
        softening=request.softening,
        weight=request.weight,
        height=request.height,
        first_self=request.first_self,
        precision=request.precision,
    )


def log_sum(request: SumRequest) -> LogSum:
    """The sum of ``request``: m float64 [N], w and v float32."""
    return LogSum(*kernels.log_sum(_asked(request)))


def log_sum_backward(
    request: SumRequest, m: Tensor, g_w: Tensor, g_v: Tensor, needs: Needs
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Gradients in float32; None for ``precision="exact"``, which the formula in torch computes in float64."""
    if request.precision == "exact":
        return None
    found = kernels.log_sum_backward(
        _asked(request),
        m,
        g_w,
        g_v,
        needs_x=needs.x or needs.height,
        needs_y=needs.y,
        needs_weight=needs.weight,
    )
    nothing = g_v.new_zeros(0)
    x, y, weight, height = (
        part if needed else nothing for part, needed in zip(found, vars(needs).values(), strict=True)
    )
    return x, y, weight, height
