"""The reference: every pair by direct difference in float64, block by block. Tests and benches compare with it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..logsum import LogSum, relative_weights
from ..request import SumRequest

_BLOCK_ELEMENTS = 1 << 21  # of the [rows, columns, D] differences: 16 MiB in float64


def why_not(request: SumRequest) -> str | None:
    """The reference serves every request; it is only slow."""
    return None


def pair_weight(request: SumRequest, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor:
    """q_j of a block of pairs, 0 for pairs that ``first_self`` leaves out; [1 or rows, columns]."""
    device = request.x.device
    n = len(range(*rows.indices(len(request.x))))
    m = len(range(*columns.indices(len(request.y))))
    if request.weight is None:
        weight = torch.ones(1, m, dtype=dtype, device=device)
    else:
        weight = request.weight[columns].to(dtype)[None, :]
    if request.first_self is None:
        return weight
    point = torch.arange(rows.start, rows.start + n, device=device)
    charge = torch.arange(columns.start, columns.start + m, device=device) + request.first_self
    return weight * (point[:, None] != charge[None, :])


def extra_r2(request: SumRequest) -> Tensor:
    """height_i^2 + softening^2 in float64, [N]."""
    n, device = len(request.x), request.x.device
    height = torch.zeros(n, device=device) if request.height is None else request.height
    return height.double() ** 2 + request.softening**2


def blocks(total: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` that cover range(total)."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def _block_sum(request: SumRequest, extra: Tensor, rows: slice, columns: slice) -> LogSum:
    difference = request.x[rows].double()[:, None, :] - request.y[columns].double()[None, :, :]
    r2 = (difference * difference).sum(-1) + extra[rows, None]
    charge = pair_weight(request, rows, columns, torch.float64)
    m, weight = relative_weights(request.kernel.log_kernel(r2), charge)
    return LogSum(m, weight.sum(1), torch.einsum("ij,ijd->id", weight, difference))


def log_sum(request: SumRequest) -> LogSum:
    """The sum of ``request`` in float64: m [N], w [N], v [N, D]. Besides the result, it keeps one block in memory."""
    n, d = request.x.shape
    device = request.x.device
    if n == 0 or len(request.y) == 0:
        return LogSum.empty(n, d, dtype=torch.float64, device=device)
    extra = extra_r2(request)
    pairs = max(1, _BLOCK_ELEMENTS // d)
    width = min(len(request.y), max(1, pairs // min(n, 16)))
    height = max(1, pairs // width)
    parts = []
    for rows in blocks(n, height):
        size = len(range(*rows.indices(n)))
        total = LogSum.empty(size, d, dtype=torch.float64, device=device)
        for columns in blocks(len(request.y), width):
            total = total.merge(_block_sum(request, extra, rows, columns))
        parts.append(total)
    whole = LogSum.rows(parts)
    # a point at infinity has no distances
    spoiled = torch.where(torch.isfinite(request.x).all(1) & torch.isfinite(extra), 0.0, torch.nan)
    return LogSum(whole.m + spoiled, whole.w + spoiled, whole.v + spoiled[:, None])
