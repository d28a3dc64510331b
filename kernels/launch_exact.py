"""Launcher of the exact sum: every pair by direct difference in float64, one program to a point."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from .merge import merge_splits
from .platform import LAUNCH
from .request import Call
from .rescore import rescore_marked
from .weights import BIG

#: Bytes of sums, in float64, of the points of one pass.
SUMS = 128 << 20


def launch_exact(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Sum with squared distances and logarithms in float64: slow, for any D; workspace SUMS and M / 8 bytes."""
    device, n, d = call.x.device, call.n, call.d
    m = torch.empty(n, dtype=torch.float64, device=device)
    w = torch.empty(n, dtype=torch.float32, device=device)
    v = torch.empty(n, d, dtype=torch.float32, device=device)
    words = triton.cdiv(call.m, 32)
    marks = torch.full((words,), -1, dtype=torch.int32, device=device)
    if call.m % 32:
        marks[-1] = (1 << call.m % 32) - 1
    size = max(1, SUMS // (8 * d + 24))
    for first in range(0, n, size):
        rows = slice(first, min(first + size, n))
        _pass(call, rows, marks, m[rows], w[rows], v[rows])
    return m, w, v


def _pass(call: Call, rows: slice, marks: Tensor, m: Tensor, w: Tensor, v: Tensor) -> None:
    device, x = call.x.device, call.x[rows]
    n, d = x.shape
    base = torch.full((n,), call.softening2, dtype=torch.float64, device=device)
    if call.height is not None:
        base += call.height[rows].double() ** 2
    pivots = torch.full((n,), BIG.value, dtype=torch.float64, device=device)
    totals = torch.zeros(n, dtype=torch.float64, device=device)
    sums = torch.zeros(n, d, dtype=torch.float64, device=device)
    block = min(2048, triton.next_power_of_2(d))
    rescore_marked[(n,)](
        x, call.y, call.q, base, marks, pivots, totals, sums, d, d, len(marks), 0, (call.first_self or 0) - rows.start,
        call.rate, KIND=call.kind, HAS_Q=call.q is not None, HAS_SELF=call.first_self is not None, ONE_BLOCK=block >= d,
        BLOCK=block, WORDS=128, num_warps=1 if block <= 256 else 4, **LAUNCH,
    )  # fmt: skip
    block_d = min(64, triton.next_power_of_2(d))
    merge_splits[(triton.cdiv(n, 32), triton.cdiv(d, block_d))](
        x, None, pivots, pivots, totals, sums, m, w, v, n, d, n, d, 1, call.rate, KIND=call.kind, MOMENTS=False,
        BLOCK_N=32, BLOCK_D=block_d, num_warps=4, **LAUNCH,
    )  # fmt: skip
