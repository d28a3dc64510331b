"""Launchers of the gradients; deterministic, workspace at most plan.PAIRS x 1.5 beside the gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from . import plan
from .backward import gather, pair_coefficients
from .platform import LAUNCH
from .request import Call
from .weights import GAUSSIAN

#: Points and charges of a block of pairs: three float32 per pair.
BLOCK = 2048


class Gradients(NamedTuple):
    """Gradients with respect to points [N, D], charges [M, D], charge weights [M] and heights [N], float32."""

    x: Tensor
    y: Tensor
    weight: Tensor
    height: Tensor


def pivots_of(call: Call, m: Tensor) -> Tensor:
    """The squared distance whose log kernel is ``m``, float64 [N]; 0 where m is infinite."""
    finite = torch.where(torch.isinf(m), 0.0, m)
    log2e = 1.4426950408889634
    r2 = finite * (-log2e / call.rate) if call.kind == GAUSSIAN.value else torch.exp(-finite / call.rate)
    return torch.where(torch.isinf(m), 0.0, r2.clamp_min(1e-300))


def launch_backward(
    call: Call, m: Tensor, g_w: Tensor, g_v: Tensor, *, needs_x: bool, needs_y: bool, needs_weight: bool
) -> Gradients:
    """Gradients of a sum, see :func:`api.log_sum_backward`."""
    device, d = call.x.device, call.d
    out = Gradients(
        torch.zeros(call.n, d, device=device),
        torch.zeros(call.m, d, device=device),
        torch.zeros(call.m, device=device),
        torch.zeros(call.n, device=device),
    )
    base = torch.full((call.n,), call.softening2, dtype=torch.float64, device=device)
    if call.height is not None:
        base += call.height.double() ** 2
    pivots = pivots_of(call, m)
    columns = min(BLOCK, triton.cdiv(call.m, 32) * 32)
    height = min(BLOCK, call.n)
    b, q_rho = (torch.empty(height, columns, device=device) for _ in range(2))
    rho_a = torch.empty(height, columns, device=device) if needs_weight else None
    block_d = min(64, triton.next_power_of_2(d))
    for left in range(0, call.m, columns):
        y = call.y[left : left + columns]
        q = None if call.q is None else call.q[left : left + columns]
        for top in range(0, call.n, height):
            rows = slice(top, min(top + height, call.n))
            n, c = rows.stop - top, len(y)
            x, upstream = call.x[rows], g_v[rows]
            self_offset = 0 if call.first_self is None else left + call.first_self - top
            shape = plan.BACKWARD
            pair_coefficients[(triton.cdiv(n, shape.block_n), triton.cdiv(columns, shape.block_m))](
                x, y, q, base[rows], pivots[rows], g_w[rows], upstream, b, q_rho, rho_a, n, c, d, columns, self_offset,
                call.rate, KIND=call.kind, HAS_Q=q is not None, HAS_SELF=call.first_self is not None,
                NEEDS_Q=needs_weight, BLOCK_N=shape.block_n, BLOCK_M=shape.block_m, STEP=32,
                num_warps=shape.warps, **LAUNCH,
            )  # fmt: skip
            if needs_x:
                gather[(triton.cdiv(n, 32), triton.cdiv(d, block_d))](
                    x, y, upstream, b, q_rho, None, out.x[rows], out.height[rows], n, c, d, columns, 1, POINTS=True,
                    NEEDS_SUM=True, BLOCK_N=32, BLOCK_D=block_d, num_warps=4, **LAUNCH,
                )  # fmt: skip
            if needs_y or needs_weight:
                gather[(triton.cdiv(c, 32), triton.cdiv(d, block_d))](
                    y, x, upstream, b, q_rho, rho_a, out.y[left:], out.weight[left:], c, n, d, 1, columns,
                    POINTS=False, NEEDS_SUM=needs_weight, BLOCK_N=32, BLOCK_D=block_d, num_warps=4, **LAUNCH,
                )  # fmt: skip
    if call.height is not None:
        out.height.mul_(call.height)
    return out
