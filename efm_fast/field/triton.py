"""Adapter of the Triton kernels: sums on CUDA devices, three regimes by the number of features."""

from __future__ import annotations

import math

import torch

from .. import kernels
from ..types import RieszSum
from .request import SumRequest

_CHARGES = (torch.float32, torch.bfloat16, torch.float16, torch.uint8)
_CAPABILITY = (8, 0)  # bfloat16 on the tensor cores


def why_not(request: SumRequest) -> str | None:
    """A sentence that says why this backend cannot serve ``request``; None if it can."""
    device = request.x.device
    if device.type != "cuda" and not kernels.INTERPRET:
        return f"its kernels run on CUDA devices, and the points are on {device}"
    if request.x.dtype != torch.float32:
        return f"it computes in float32, and the points are {request.x.dtype}"
    if request.y.dtype not in _CHARGES:
        return f"it reads charges of float32, bfloat16, float16 and uint8, not {request.y.dtype}"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < _CAPABILITY:
        return f"it needs compute capability 8.0 or newer, and {torch.cuda.get_device_name(device)} has less"
    return None


def riesz_sum(request: SumRequest) -> RieszSum:
    """The sum of ``request``: m float64 [N], w and v float32."""
    m, w, v = kernels.riesz_sum(
        request.x,
        request.y,
        power=request.power,
        kernel=request.kernel,
        bandwidth=None if math.isnan(request.bandwidth) else request.bandwidth,
        softening=request.softening,
        weight=request.weight,
        height=request.height,
        first_self=request.first_self,
        precision=request.precision,
    )
    return RieszSum(m, w, v)
