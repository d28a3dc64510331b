"""Launcher of the kernel for few features."""

from __future__ import annotations

import torch
import triton

from . import plan
from .merge import merge_splits
from .platform import LAUNCH, processors
from .request import Request, Sums
from .small import sum_small

#: log2 of the largest weight of a charge, relative to the pivot, that does not move the pivot.
LEEWAY = 8.0


def launch_small(request: Request) -> Sums:
    """Sum by direct differences, for D <= plan.SMALL_D; workspace plan.PARTIALS + 12 bytes per point."""
    out = Sums.room(request.n, request.d, request.x.device)
    size = plan.small_rows(request.n, request.m, request.d)
    for first in range(0, request.n, size):
        rows = slice(first, min(first + size, request.n))
        _pass(request, rows, out.of(rows))
    return out


def _pass(request: Request, rows: slice, out: Sums) -> None:
    shape, form = plan.small_shape(request.d), request.form
    x = request.x[rows]
    n, d = x.shape
    splits, per_split = plan.small_splits(n, request.m, d, processors(x))
    nearest, pivots = torch.empty(2, splits, n, dtype=torch.float64, device=x.device)
    # a single split is written to the result and finished in place
    totals = out.w if splits == 1 else torch.empty(splits, n, device=x.device)
    sums = out.v if splits == 1 else torch.empty(splits, n, d, device=x.device)
    height = None if request.height is None else request.height[rows]
    sum_small[(triton.cdiv(n, shape.block_n), splits)](
        x=x, y=request.y, q=request.weight, height=height, nearest=nearest, pivots=pivots, totals=totals, sums=sums,
        N=n, M=request.m, per_split=per_split, first_self=request.self_offset(0, rows.start), rate=form.rate,
        second=form.second, slack=form.slack(LEEWAY), softening2=request.softening**2, D=d, KIND=form.kind,
        POWER=form.power, HAS_Q=request.weight is not None, HAS_HEIGHT=height is not None,
        HAS_SELF=request.first_self is not None, BLOCK_N=shape.block_n, BLOCK_M=shape.block_m, num_warps=shape.warps,
        **LAUNCH,
    )  # fmt: skip
    block_n = 128
    merge_splits[(triton.cdiv(n, block_n), 1)](
        x=x, centre=None, nearest=nearest, pivots=pivots, totals=totals, sums=sums, m=out.m, w=out.w, v=out.v, N=n, D=d,
        rows=n, width=d, splits=splits, rate=form.rate, second=form.second, KIND=form.kind, MOMENTS=False,
        BLOCK_N=block_n, BLOCK_D=triton.next_power_of_2(d), num_warps=4, **LAUNCH,
    )  # fmt: skip
