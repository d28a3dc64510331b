"""Launcher of the exact sum: every pair by direct difference in float64, one program per point and split."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from . import plan
from .kernel import BIG
from .merge import merge_splits
from .platform import LAUNCH, processors
from .request import Request, Sums
from .rescore import rescore_marked


def launch_exact(request: Request) -> Sums:
    """Sum with distances and logarithms in float64, slowly, for any D; workspace plan.EXACT_SUMS + M / 8 bytes."""
    device, n, d = request.x.device, request.n, request.d
    out = Sums.room(n, d, device)
    words = triton.cdiv(request.m, 32)
    marks = torch.full((words,), -1, dtype=torch.int32, device=device)
    if request.m % 32:
        marks[-1] = (1 << request.m % 32) - 1
    size = plan.exact_rows(n, d)
    for first in range(0, n, size):
        rows = slice(first, min(first + size, n))
        _pass(request, rows, marks, out.of(rows))
    return out


def _pass(request: Request, rows: slice, marks: Tensor, out: Sums) -> None:
    device, x, form = request.x.device, request.x[rows], request.form
    n, d = x.shape
    chunk = plan.exact_charges(n, request.m, d)
    splits = plan.exact_splits(n, min(chunk, request.m), d, processors(x))
    pivots = torch.full((splits, n), BIG.value, dtype=torch.float64, device=device)
    totals = torch.zeros(splits, n, dtype=torch.float64, device=device)
    sums = torch.zeros(splits, n, d, dtype=torch.float64, device=device)
    base = request.base(rows)
    block = min(2048, triton.next_power_of_2(d))
    for first in range(0, request.m, chunk):
        y, q = request.chunk(first, chunk)
        words = triton.cdiv(len(y), 32)
        rescore_marked[(n, splits)](
            x=x, y=y, q=q, base=base, marks=marks[first // 32 :], pivots=pivots, totals=totals, sums=sums, D=d, width=d,
            words=words, per_split=triton.cdiv(words, splits), mark_stride=0,
            self_offset=request.self_offset(first, rows.start), rate=form.rate, second=form.second, KIND=form.kind,
            HAS_Q=q is not None, HAS_SELF=request.first_self is not None, EXACT=True, ONE_BLOCK=block >= d, BLOCK=block,
            WORDS=128, num_warps=1 if block <= 256 else 4, **LAUNCH,
        )  # fmt: skip
    block_d = min(64, triton.next_power_of_2(d))
    merge_splits[(triton.cdiv(n, 32), triton.cdiv(d, block_d))](
        x=x, centre=None, nearest=pivots, pivots=pivots, totals=totals, sums=sums, m=out.m, w=out.w, v=out.v, N=n, D=d,
        rows=n, width=d, splits=splits, rate=form.rate, second=form.second, KIND=form.kind, MOMENTS=False, BLOCK_N=32,
        BLOCK_D=block_d, num_warps=4, **LAUNCH,
    )  # fmt: skip
