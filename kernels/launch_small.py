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

#: Points of one pass; bounds the partial sums.
ROWS = 1 << 20


def launch_small(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Sum by direct differences, D <= plan.SMALL_D; workspace plan.PARTIALS and 12 bytes a point."""
    device = call.x.device
    m = torch.empty(call.n, dtype=torch.float64, device=device)
    w = torch.empty(call.n, dtype=torch.float32, device=device)
    v = torch.empty(call.n, call.d, dtype=torch.float32, device=device)
    for first in range(0, call.n, ROWS):
        rows = slice(first, min(first + ROWS, call.n))
        _pass(call, rows, m[rows], w[rows], v[rows])
    return m, w, v


def _pass(call: Call, rows: slice, m: Tensor, w: Tensor, v: Tensor) -> None:
    shape = plan.small_shape(call.d)
    x = call.x[rows]
    n, d = x.shape
    tiles = triton.cdiv(n, shape.block_n)
    splits, per_split = plan.splits(
        tiles, call.m, 4 * d + 12, n, processors=processors(x), least=2048, most=plan.SMALL_SPLIT
    )
    pivots = torch.empty(splits, n, dtype=torch.float64, device=x.device)
    # a single split is written where it belongs and finished in place
    totals = w if splits == 1 else torch.empty(splits, n, device=x.device)
    sums = v if splits == 1 else torch.empty(splits, n, d, device=x.device)
    height = None if call.height is None else call.height[rows]
    first_self = 0 if call.first_self is None else call.first_self - rows.start
    sum_small[(tiles, splits)](
        x, call.y, call.q, height, pivots, totals, sums, n, call.m, per_split, first_self, call.rate,
        call.softening2, D=d, KIND=call.kind, POWER=call.power, HAS_Q=call.q is not None,
        HAS_HEIGHT=height is not None, HAS_SELF=call.first_self is not None, BLOCK_N=shape.block_n,
        BLOCK_M=shape.block_m, num_warps=shape.warps, **LAUNCH,
    )  # fmt: skip
    block_d = triton.next_power_of_2(d)
    block_n = 128
    merge_splits[(triton.cdiv(n, block_n), 1)](
        x, None, pivots, totals, sums, m, w, v, n, d, n, d, splits, call.rate, KIND=call.kind, MOMENTS=False,
        BLOCK_N=block_n, BLOCK_D=block_d, num_warps=4, **LAUNCH,
    )  # fmt: skip
