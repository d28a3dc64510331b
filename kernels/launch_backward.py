"""Launchers of the gradients; those in few features are reduced from direct differences.

They are deterministic. Their workspace is that of :mod:`plan`, and plan.PAIRS x 1.5 + plan.GRADIENTS in few features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from . import plan
from .backward import gather, pair_coefficients
from .launch_gradients import Gradients, Needs, Upstream, launch_gradients
from .platform import LAUNCH, processors
from .request import Request

#: Points and charges of a block of pairs: three float32 per pair.
BLOCK = 2048


def pivots_of(request: Request, m: Tensor) -> Tensor:
    """The squared distance whose log kernel is ``m``, float64 [N]; 0 where m is infinite."""
    infinite = torch.isinf(m)
    r2 = request.form.reach(torch.where(infinite, 0.0, m))
    return torch.where(infinite, 0.0, r2.clamp_min(1e-300))


def launch_backward(request: Request, m: Tensor, upstream: Upstream, needs: Needs) -> Gradients:
    """Gradients of a sum, see :func:`api.log_sum_backward`."""
    device, d = request.x.device, request.d
    wide = d > plan.BACKWARD_D
    # the matrix products write the gradients of the charges before they add to them
    written = wide and needs.y and request.n > 0
    out = Gradients(
        torch.zeros(request.n, d, device=device),
        (torch.empty if written else torch.zeros)(request.m, d, device=device),
        torch.zeros(request.m, device=device),
        torch.zeros(request.n, device=device),
    )
    if request.n and request.m:
        serve = launch_gradients if wide else launch_direct
        serve(request, pivots_of(request, m), upstream, needs, out)
    if request.height is not None:
        out.height.mul_(request.height)
    return out


def launch_direct(request: Request, pivots: Tensor, upstream: Upstream, needs: Needs, out: Gradients) -> None:
    """Add the gradients of a sum in few features to ``out``, whose heights take sum_j b."""
    device, d, form, shape = request.x.device, request.d, request.form, plan.BACKWARD
    base = request.base()
    columns = min(BLOCK, triton.cdiv(request.m, 32) * 32)
    height = min(BLOCK, request.n)
    b, q_rho = (torch.empty(height, columns, device=device) for _ in range(2))
    rho_a = torch.empty(height, columns, device=device) if needs.weight else None
    for left in range(0, request.m, columns):
        y, q = request.chunk(left, columns)
        for top in range(0, request.n, height):
            rows = slice(top, min(top + height, request.n))
            n, c = rows.stop - top, len(y)
            x, g_v = request.x[rows], upstream.v[rows]
            pair_coefficients[(triton.cdiv(n, shape.block_n), triton.cdiv(columns, shape.block_m))](
                x=x, y=y, q=q, base=base[rows], pivots=pivots[rows], g_w=upstream.w[rows], g_v=g_v, b=b, q_rho=q_rho,
                rho_a=rho_a, N=n, C=c, D=d, columns=columns, self_offset=request.self_offset(left, top),
                rate=form.rate, second=form.second, KIND=form.kind, HAS_Q=q is not None,
                HAS_SELF=request.first_self is not None, NEEDS_Q=needs.weight, BLOCK_N=shape.block_n,
                BLOCK_M=shape.block_m, STEP=32, num_warps=shape.warps, **LAUNCH,
            )  # fmt: skip
            pairs = _Coefficients(b, q_rho, rho_a, g_v)
            if needs.x:
                _gather(x, y, out.x[rows], out.height[rows], pairs, (columns, 1), points=True)
            if needs.y or needs.weight:
                here = slice(left, left + c)
                _gather(y, x, out.y[here], out.weight[here], pairs, (1, columns), needs_sum=needs.weight)


class _Coefficients(NamedTuple):
    """The coefficients of the pairs of a block: b, q rho and rho a, each [points, charges], and g_v of the points."""

    b: Tensor
    q_rho: Tensor
    rho_a: Tensor | None
    g_v: Tensor


def _gather(
    own: Tensor,
    other: Tensor,
    grad: Tensor,
    grad_sum: Tensor,
    pairs: _Coefficients,
    strides: tuple[int, int],
    *,
    points: bool = False,
    needs_sum: bool = True,
) -> None:
    """Add the gradients of ``own``, reduced over ``other``; ``strides`` are the steps of both in the coefficients."""
    (n, d), count = own.shape, len(other)
    block_d = min(64, triton.next_power_of_2(d))
    blocks = triton.cdiv(n, 32), triton.cdiv(d, block_d)
    splits, per_split = plan.gather_splits(blocks[0] * blocks[1], count, n * d, processors(own))
    grads, grad_sums = (torch.empty(splits, *part.shape, device=part.device) for part in (grad, grad_sum))
    grid = (*blocks, splits)
    gather[grid](
        own=own, other=other, g_v=pairs.g_v, b=pairs.b, q_rho=pairs.q_rho, rho_a=pairs.rho_a,
        grads=grads, grad_sums=grad_sums, N=n, count=count, per_split=per_split, D=d, own_stride=strides[0],
        other_stride=strides[1], POINTS=points, NEEDS_SUM=needs_sum, BLOCK_N=32, BLOCK_D=block_d, num_warps=4, **LAUNCH,
    )  # fmt: skip
    grad += grads.sum(0)
    if needs_sum:
        grad_sum += grad_sums.sum(0)
