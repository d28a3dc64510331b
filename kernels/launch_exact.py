"""Launcher of the exact sum: every pair by direct difference in float64, one program to a point."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from .kernel import BIG
from .merge import merge_splits
from .platform import LAUNCH
from .request import Request, Sums
from .rescore import rescore_marked

#: Bytes of sums, in float64, of the points of one pass.
SUMS = 128 << 20


def launch_exact(request: Request) -> Sums:
    """Sum with squared distances and logarithms in float64: slow, for any D; workspace SUMS and M / 8 bytes."""
    device, n, d = request.x.device, request.n, request.d
    out = Sums.room(n, d, device)
    words = triton.cdiv(request.m, 32)
    marks = torch.full((words,), -1, dtype=torch.int32, device=device)
    if request.m % 32:
        marks[-1] = (1 << request.m % 32) - 1
    size = max(1, SUMS // (8 * d + 24))
    for first in range(0, n, size):
        rows = slice(first, min(first + size, n))
        _pass(request, rows, marks, out.of(rows))
    return out


def _pass(request: Request, rows: slice, marks: Tensor, out: Sums) -> None:
    device, x, form = request.x.device, request.x[rows], request.form
    n, d = x.shape
    pivots = torch.full((n,), BIG.value, dtype=torch.float64, device=device)
    totals = torch.zeros(n, dtype=torch.float64, device=device)
    sums = torch.zeros(n, d, dtype=torch.float64, device=device)
    block = min(2048, triton.next_power_of_2(d))
    rescore_marked[(n,)](
        x=x, y=request.y, q=request.weight, base=request.base(rows), marks=marks, pivots=pivots, totals=totals,
        sums=sums, D=d, width=d, words=len(marks), mark_stride=0, self_offset=request.self_offset(0, rows.start),
        rate=form.rate, second=form.second, KIND=form.kind, HAS_Q=request.weight is not None,
        HAS_SELF=request.first_self is not None, ONE_BLOCK=block >= d, BLOCK=block, WORDS=128,
        num_warps=1 if block <= 256 else 4, **LAUNCH,
    )  # fmt: skip
    block_d = min(64, triton.next_power_of_2(d))
    merge_splits[(triton.cdiv(n, 32), triton.cdiv(d, block_d))](
        x=x, centre=None, nearest=pivots, pivots=pivots, totals=totals, sums=sums, m=out.m, w=out.w, v=out.v, N=n, D=d,
        rows=n, width=d, splits=1, rate=form.rate, second=form.second, KIND=form.kind, MOMENTS=False, BLOCK_N=32,
        BLOCK_D=block_d, num_warps=4, **LAUNCH,
    )  # fmt: skip
