# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Few features (D up to 16): direct differences in registers, one thread to a point, no matrix product.

The tile is [charges, points] with points along the threads: every reduction over charges then stays inside a
thread, and a charge is one broadcast load.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .weights import BIG, TINY, relative_weight


@triton.jit
def _tile(
    xs, base, rows, j, y, q, M, first_self, rate, pivot, total, vs,
    D: tl.constexpr, KIND: tl.constexpr, POWER: tl.constexpr, HAS_Q: tl.constexpr, HAS_SELF: tl.constexpr,
    TAIL: tl.constexpr,
):  # fmt: skip
    """Add one tile of charges to the running (pivot, sum of weights, sums of displacements) of each point.

    Everything per point is [1, BLOCK_N]: one register layout for all, so nothing is exchanged between threads.
    """
    MASKED: tl.constexpr = HAS_Q or HAS_SELF or TAIL
    inside = j < M
    j64 = j.to(tl.int64)
    ys = ()
    for d in tl.static_range(D):
        ys += (tl.load(y + j64 * D + d, mask=inside, other=0.0).to(tl.float32)[:, None],)
    r2 = base
    for d in tl.static_range(D):
        difference = xs[d] - ys[d]
        r2 += difference * difference
    if MASKED:
        counts = inside[:, None]
        if HAS_Q:
            charge = tl.load(q + j64, mask=inside, other=0.0)[:, None]
            counts = counts & (charge != 0.0)
        if HAS_SELF:
            counts = counts & (j64[:, None] + first_self != rows)
        r2 = tl.where(counts, r2, BIG)
    new_pivot = tl.minimum(pivot, tl.min(r2, 0, keep_dims=True))
    inverse = 1.0 / new_pivot
    # exactly 1 where the pivot stays: a rounding error here would come back once a tile, always the same way
    rescale = tl.where(new_pivot < pivot, relative_weight(pivot, new_pivot, inverse, rate, KIND, POWER), 1.0)
    weight = relative_weight(r2, new_pivot, inverse, rate, KIND, POWER)
    if MASKED:
        weight = tl.where(counts, weight, 0.0)
        if HAS_Q:
            weight *= charge
    total = total * rescale + tl.sum(weight, 0, keep_dims=True)
    sums = ()
    for d in tl.static_range(D):
        sums += (vs[d] * rescale + tl.sum(weight * (xs[d] - ys[d]), 0, keep_dims=True),)
    return new_pivot, total, sums


@triton.jit(do_not_specialize=["N", "M", "per_split", "first_self"])
def sum_small(
    x, y, q, height, pivots, totals, sums, N, M, per_split, first_self, rate, softening2,
    D: tl.constexpr, KIND: tl.constexpr, POWER: tl.constexpr, HAS_Q: tl.constexpr, HAS_HEIGHT: tl.constexpr,
    HAS_SELF: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Partial sums of one block of points over one split of the charges.

    Writes pivots [S, N] float64, totals [S, N] and sums [S, N, D] float32.
    """
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    split = tl.program_id(1).to(tl.int64)
    valid = rows < N
    xs = ()
    vs = ()
    for d in tl.static_range(D):
        xs += (tl.load(x + rows * D + d, mask=valid, other=0.0),)
        vs += (tl.zeros([1, BLOCK_N], tl.float32),)
    base = tl.full([1, BLOCK_N], TINY, tl.float32) + softening2
    if HAS_HEIGHT:
        h = tl.load(height + rows, mask=valid, other=0.0).to(tl.float32)
        base += h * h
    pivot = tl.full([1, BLOCK_N], BIG, tl.float32)
    total = tl.zeros([1, BLOCK_N], tl.float32)
    first = (split * per_split).to(tl.int32)
    last = tl.minimum(first + per_split, M)
    full = first + (last - first) // BLOCK_M * BLOCK_M
    for start in range(first, full, BLOCK_M):
        pivot, total, vs = _tile(
            xs, base, rows, start + tl.arange(0, BLOCK_M), y, q, M, first_self, rate, pivot, total, vs,
            D, KIND, POWER, HAS_Q, HAS_SELF, False,
        )  # fmt: skip
    if full < last:
        pivot, total, vs = _tile(
            xs, base, rows, full + tl.arange(0, BLOCK_M), y, q, last, first_self, rate, pivot, total, vs,
            D, KIND, POWER, HAS_Q, HAS_SELF, True,
        )  # fmt: skip
    place = split * N + rows
    tl.store(pivots + place, pivot.to(tl.float64), mask=valid)
    tl.store(totals + place, total, mask=valid)
    for d in tl.static_range(D):
        tl.store(sums + place * D + d, vs[d], mask=valid)
