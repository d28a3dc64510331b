"""The functions that other models import: sums over charges and their gradients, on CUDA tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from . import plan
from .launch_backward import Gradients, launch_backward
from .launch_exact import launch_exact
from .launch_gemm import centre_of, launch_gemm
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


def log_sum(
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
    rounded_points: bool = False,
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
        precision: "default" keeps the direction of the field within 1e-4 up to D = 3072; "fast" adds no pair
            by direct difference above D = 16 but those that nothing else can tell apart; "exact" adds every pair
            by direct difference in float64.
        rounded_points: x came from :func:`representable_points`, so it needs no low part: fewer matrix products.

    Returns:
        m: log scale, float64 [N]; -inf without charges, +inf for a point on a charge (nearer than 1e-18).
        w: scaled sum of weights, float32 [N].
        v: scaled sum of displacements, float32 [N, D], data units.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    call = make_call(
        x, y, power=power, kernel=kernel, bandwidth=bandwidth, softening=softening, weight=weight,
        height=height, first_self=first_self, precision=precision, rounded=rounded_points,
    )  # fmt: skip
    if call.n == 0 or call.m == 0:
        return _empty(call)
    with on_device(call.x):
        if call.precision == "exact":
            return launch_exact(call)
        return launch_small(call) if call.d <= plan.SMALL_D else launch_gemm(call)


def log_sum_backward(
    x: Tensor,
    y: Tensor,
    m: Tensor,
    g_w: Tensor,
    g_v: Tensor,
    *,
    power: float = math.nan,
    kernel: str = "riesz",
    bandwidth: float | None = None,
    softening: float = 0.0,
    weight: Tensor | None = None,
    height: Tensor | None = None,
    first_self: int | None = None,
    needs_x: bool = True,
    needs_y: bool = True,
    needs_weight: bool = True,
) -> Gradients:
    """Gradients of :func:`log_sum` at fixed log scale ``m``, which carries no gradient itself.

    Whatever depends on (m, w, v) only through e^m w and e^m v then has its true gradient. Pairs are direct
    differences for every D: exact, but bound by plain arithmetic, not by the tensor cores.

    Args:
        x, y, power, kernel, bandwidth, softening, weight, height, first_self: as in the sum.
        m: log scale that the sum returned, float64 [N]. Rows where it is infinite pass nothing on.
        g_w: gradient that reaches w, [N].
        g_v: gradient that reaches v, [N, D].
        needs_x: whether the gradients of points and heights are wanted; zeros if not.
        needs_y: whether the charges' gradient is wanted; zeros if not.
        needs_weight: whether the charge weights' gradient is wanted; zeros if not.

    Returns:
        Gradients with respect to x [N, D], y [M, D], weight [M] and height [N], float32.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    call = make_call(
        x, y, power=power, kernel=kernel, bandwidth=bandwidth, softening=softening, weight=weight,
        height=height, first_self=first_self, precision="default",
    )  # fmt: skip
    if m.shape != (call.n,) or g_w.shape != (call.n,) or g_v.shape != call.x.shape:
        raise ValueError(
            f"m, g_w, g_v: expected [{call.n}], [{call.n}] and {list(call.x.shape)}, "
            f"got {list(m.shape)}, {list(g_w.shape)} and {list(g_v.shape)}"
        )
    with on_device(call.x):
        return launch_backward(
            call, m.double(), g_w.float().contiguous(), g_v.float().contiguous(), needs_x=needs_x,
            needs_y=needs_y, needs_weight=needs_weight,
        )  # fmt: skip


def representable_points(x: Tensor, y: Tensor) -> Tensor:
    """``x`` rounded so that its distance from the centre of ``y`` is exact in bfloat16, float32 [N, D].

    A training point may be rounded for nothing, as long as the field is evaluated at the rounded point; pass it
    with ``rounded_points=True`` and the same charges.

    Args:
        x: points, [N, D] float32.
        y: the charges of the sums to come, [M, D], M > 0.
    """
    centre = centre_of(y)
    return centre + (x - centre).to(torch.bfloat16).to(torch.float32)


def warmup(
    n: int, m: int, d: int, *, device: torch.device | str = "cuda", uint8: bool = False, **arguments: Any
) -> None:
    """Compile what a sum of that size launches, by running it once on random data.

    Args:
        n: points.
        m: charges; up to 8192 the number decides which kernels are compiled, beyond it does not.
        d: features.
        device: CUDA device.
        uint8: charges in bytes.
        arguments: further arguments of :func:`log_sum`; ``power`` is d + 1 if left out.
    """
    x = torch.randn(n, d, device=device)
    y = torch.randn(m, d, device=device)
    if uint8:
        y = (64.0 * y + 128.0).clamp(0.0, 255.0).to(torch.uint8)
    if arguments.get("kernel", "riesz") == "riesz":
        arguments.setdefault("power", d + 1.0)
    log_sum(x, y, **arguments)
