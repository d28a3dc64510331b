"""Launcher of the small-D forward kernel."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from . import plan
from .merge import merge_splits
from .platform import LAUNCH, processors
from .request import Call
from .small import sum_small
from .weights import GAUSSIAN

#: How much more than the pivot a charge may weigh before the pivot moves, as a power of two.
LEEWAY = 8.0


def launch_small(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Sum by direct differences, D <= plan.SMALL_D; workspace plan.PARTIALS and 12 bytes a point."""
    device = call.x.device
    m = torch.empty(call.n, dtype=torch.float64, device=device)
    w = torch.empty(call.n, dtype=torch.float32, device=device)
    v = torch.empty(call.n, call.d, dtype=torch.float32, device=device)
    size = plan.small_rows(call.n, call.m, call.d)
    for first in range(0, call.n, size):
        rows = slice(first, min(first + size, call.n))
        _pass(call, rows, m[rows], w[rows], v[rows])
    return m, w, v


def _pass(call: Call, rows: slice, m: Tensor, w: Tensor, v: Tensor) -> None:
    shape = plan.small_shape(call.d)
    x = call.x[rows]
    n, d = x.shape
    tiles = triton.cdiv(n, shape.block_n)
    splits, per_split = plan.small_splits(n, call.m, d, processors(x))
    nearest, pivots = torch.empty(2, splits, n, dtype=torch.float64, device=x.device)
    # a single split is written where it belongs and finished in place
    totals = w if splits == 1 else torch.empty(splits, n, device=x.device)
    sums = v if splits == 1 else torch.empty(splits, n, d, device=x.device)
    height = None if call.height is None else call.height[rows]
    first_self = 0 if call.first_self is None else call.first_self - rows.start
    slack = LEEWAY / call.rate if call.kind == GAUSSIAN.value else 2.0 ** (-LEEWAY / call.rate)
    sum_small[(tiles, splits)](
        x, call.y, call.q, height, nearest, pivots, totals, sums, n, call.m, per_split, first_self, call.rate,
        slack, call.softening2, D=d, KIND=call.kind, POWER=call.power, HAS_Q=call.q is not None,
        HAS_HEIGHT=height is not None, HAS_SELF=call.first_self is not None, BLOCK_N=shape.block_n,
        BLOCK_M=shape.block_m, num_warps=shape.warps, **LAUNCH,
    )  # fmt: skip
    block_d = triton.next_power_of_2(d)
    block_n = 128
    merge_splits[(triton.cdiv(n, block_n), 1)](
        x, None, nearest, pivots, totals, sums, m, w, v, n, d, n, d, splits, call.rate, KIND=call.kind, MOMENTS=False,
        BLOCK_N=block_n, BLOCK_D=block_d, num_warps=4, **LAUNCH,
    )  # fmt: skip
