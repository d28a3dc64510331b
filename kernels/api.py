"""The functions that other models import: sums over charges and their gradients, on CUDA tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import plan
from .launch_gemm import launch_gemm
from .launch_small import launch_small
from .platform import on_device
from .request import Call, make_call

Triple = tuple[Tensor, Tensor, Tensor]


def _empty(call: Call) -> Triple:
    """The sum over no charges."""
    return (
        torch.full((call.n,), -math.inf, dtype=torch.float64, device=call.x.device),
        torch.zeros(call.n, device=call.x.device),
        torch.zeros(call.n, call.d, device=call.x.device),
    )


def riesz_sum(
    x: Tensor,
    y: Tensor,
    *,
    power: float = math.nan,
    kernel: str = "riesz",
    bandwidth: float | None = None,
    softening: float = 0.0,
    weight: Tensor | None = None,
    height: Tensor | None = None,
    first_self: int | None = None,
    precision: str = "default",
) -> Triple:
    """Sums over charges in log scale, for every point.

    With r2_ij = |x_i - y_j|^2 + height_i^2 + softening^2 and l_ij = -(power / 2) log r2_ij (Riesz) or
    -r2_ij / (2 bandwidth^2) (Gaussian):  w_i e^{m_i} = sum_j q_j e^{l_ij},
    v_i e^{m_i} = sum_j q_j e^{l_ij} (x_i - y_j).

    Args:
        x: points, [N, D] float32, contiguous or not, lengths below 1e18.
        y: charges, [M, D] float32, bfloat16, float16 or uint8, in the units of x.
        power: exponent of the distance in the Riesz kernel; Coulomb's field in D + 1 dimensions is D + 1.
        kernel: "riesz" or "gaussian".
        bandwidth: of the Gaussian kernel, data units.
        softening: Plummer softening length, data units.
        weight: charge weights q_j of either sign, [M]; ones if left out.
        height: distance of each point from the plate, [N]; zero if left out.
        first_self: pair (i, j) with j + first_self == i is left out.
        precision: "fast", "default" or "exact".

    Returns:
        m: log scale, float64 [N]; -inf without charges, +inf for a point on a charge (nearer than 1e-18).
        w: scaled sum of weights, float32 [N].
        v: scaled sum of displacements, float32 [N, D], data units.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    call = make_call(
        x, y, power=power, kernel=kernel, bandwidth=bandwidth, softening=softening, weight=weight,
        height=height, first_self=first_self, precision=precision,
    )  # fmt: skip
    if call.n == 0 or call.m == 0:
        return _empty(call)
    with on_device(call.x):
        return launch_small(call) if call.d <= plan.SMALL_D else launch_gemm(call)
