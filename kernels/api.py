"""The functions that other models import: sums over charges and their gradients, on CUDA tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .group import centre_of
from .launch_backward import launch_backward
from .launch_gradients import Gradients, Needs, Upstream
from .platform import on_device
from .regimes import REGIMES
from .request import Request, Sums


def log_sum(request: Request) -> Sums:
    """Sums over charges in log scale, for every point.

    w_i e^{m_i} = sum_j q_j e^{l_ij} and v_i e^{m_i} = sum_j q_j e^{l_ij} (x_i - y_j).
    """
    if request.n == 0 or request.m == 0:
        return Sums.none(request.n, request.d, request.x.device)
    with on_device(request.x):
        return next(row for row in REGIMES if row.serves(request)).launch(request)


def log_sum_backward(
    request: Request,
    m: Tensor,
    g_w: Tensor,
    g_v: Tensor,
    *,
    needs_x: bool = True,
    needs_y: bool = True,
    needs_weight: bool = True,
) -> Gradients:
    """Gradients of :func:`log_sum` at fixed log scale ``m``, which carries no gradient itself.

    A function of (m, w, v) that depends only on e^m w and e^m v then gets its true gradient. Up to D = plan.BACKWARD_D
    all pairs are direct differences. Above, matrix products serve all pairs but the near and the heavy ones.

    Args:
        request: the sum.
        m: log scale that the sum returned, float64 [N]. Rows where it is infinite have no gradient.
        g_w: upstream gradient of w, [N].
        g_v: upstream gradient of v, [N, D].
        needs_x: whether the gradients of points and heights are needed; zeros if not.
        needs_y: whether the gradient of charges is needed; zeros if not.
        needs_weight: whether the gradient of charge weights is needed; zeros if not.

    Returns:
        Gradients with respect to x [N, D], y [M, D], weight [M] and height [N], float32.

    Raises:
        ValueError: an argument is wrong; the text names it, what was expected and what came.
    """
    n, shape = request.n, request.x.shape
    if m.shape != (n,) or g_w.shape != (n,) or g_v.shape != shape:
        raise ValueError(
            f"m, g_w, g_v: expected [{n}], [{n}] and {list(shape)}, "
            f"got {list(m.shape)}, {list(g_w.shape)} and {list(g_v.shape)}"
        )
    with on_device(request.x):
        upstream = Upstream(g_w.float().contiguous(), g_v.float().contiguous())
        return launch_backward(request, m.double(), upstream, Needs(needs_x, needs_y, needs_weight))


def representable_points(x: Tensor, y: Tensor) -> Tensor:
    """``x`` rounded so that its distance from the centre of ``y`` is exact in bfloat16, float32 [N, D].

    A training point may be rounded freely if the field is evaluated at the rounded point. Pass the rounded points with
    ``rounded_points=True`` and the same charges.

    Args:
        x: points, [N, D] float32.
        y: the charges of the later sums, [M, D], M > 0.
    """
    centre = centre_of(y)
    return centre + (x - centre).to(torch.bfloat16).to(torch.float32)


def warmup(
    n: int, m: int, d: int, *, device: torch.device | str = "cuda", uint8: bool = False, **arguments: Any
) -> None:
    """Compile the kernels of a sum of this size by computing it once with random data.

    Args:
        n: points.
        m: charges; numbers up to 8192 decide which kernels are compiled, larger ones do not.
        d: features.
        device: CUDA device.
        uint8: whether charges are bytes.
        arguments: further fields of :class:`Request`; without a kernel it is Coulomb's.
    """
    x = torch.randn(n, d, device=device)
    y = torch.randn(m, d, device=device)
    if uint8:
        y = (64.0 * y + 128.0).clamp(0.0, 255.0).to(torch.uint8)
    log_sum(Request(x, y, **{"kernel": "riesz", "parameters": (d + 1.0,), **arguments}))
