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


def launch_exact(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Sum with squared distances and logarithms in float64: slow, for any D; workspace 8 (D + 3) bytes a point."""
    device, n, d = call.x.device, call.n, call.d
    base = torch.full((n,), call.softening2, dtype=torch.float64, device=device)
    if call.height is not None:
        base += call.height.double() ** 2
    pivots = torch.full((n,), BIG.value, dtype=torch.float64, device=device)
    totals = torch.zeros(n, dtype=torch.float64, device=device)
    sums = torch.zeros(n, d, dtype=torch.float64, device=device)
    m = torch.empty(n, dtype=torch.float64, device=device)
    w = torch.empty(n, dtype=torch.float32, device=device)
    v = torch.empty(n, d, dtype=torch.float32, device=device)
    words = triton.cdiv(call.m, 32)
    marks = torch.full((words,), -1, dtype=torch.int32, device=device)
    if call.m % 32:
        marks[-1] = (1 << call.m % 32) - 1
    block = min(2048, triton.next_power_of_2(d))
    rescore_marked[(n,)](
        call.x, call.y, call.q, base, marks, pivots, totals, sums, d, d, words, 0, call.first_self or 0, call.rate,
        KIND=call.kind, HAS_Q=call.q is not None, HAS_SELF=call.first_self is not None, ONE_BLOCK=block >= d,
        BLOCK=block, WORDS=128, num_warps=1 if block <= 256 else 4, **LAUNCH,
    )  # fmt: skip
    block_d = min(64, triton.next_power_of_2(d))
    merge_splits[(triton.cdiv(n, 32), triton.cdiv(d, block_d))](
        call.x, None, pivots, totals, sums, m, w, v, n, d, n, d, 1, call.rate, KIND=call.kind, MOMENTS=False, EXTRA=0,
        BLOCK_N=32, BLOCK_D=block_d, num_warps=4, **LAUNCH,
    )  # fmt: skip
    return m, w, v
