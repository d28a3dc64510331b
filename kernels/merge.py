# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""The second stage: partial sums of the splits of the charges become one, in a fixed order, without atomics."""

from __future__ import annotations

import triton
import triton.language as tl

from .weights import BIG, GAUSSIAN, ON_CHARGE


@triton.jit
def log_kernel(r2, rate, KIND: tl.constexpr):
    """Natural logarithm of the kernel in float64; r2 float64."""
    return -r2 * (rate * 0.6931471805599453) if KIND == GAUSSIAN else -rate * tl.log(r2)


@triton.jit
def scale_of(pivots, valid, top, rate, KIND: tl.constexpr):
    """What a partial sum counts beside the others; 0 where it holds no charge."""
    own = tl.load(pivots, mask=valid, other=BIG)
    return tl.where(own < BIG, tl.exp(log_kernel(own, rate, KIND) - top), 0.0)


@triton.jit(do_not_specialize=["N", "rows", "splits"])
def merge_splits(
    x, centre, nearest, pivots, totals, sums, m, w, v, N, D, rows, width, splits, rate,
    KIND: tl.constexpr, MOMENTS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Merge ``splits`` partial sums: totals [S, rows] and sums [S, rows, width], relative to r2 = ``pivots``.

    Writes m [N], w [N] and v [N, D] relative to the least of ``nearest``; both r2 are [S, rows] float64. All is added
    in float64: where the fields of two plates nearly cancel, what is left carries the errors of both.

    With MOMENTS the sums are sum_j p_j (y_j - centre), and displacements are made from them here; r2 and totals
    then have one row more, of pairs whose displacements lie in v already. Without, one split may be merged in place,
    when w and v alias totals and sums.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    valid = row < N
    wide = valid[:, None] & (columns < D)[None, :]
    r2 = tl.full([BLOCK_N], BIG, tl.float64)
    place = row
    parts = splits + 1 if MOMENTS else splits
    for _ in range(0, parts):
        r2 = tl.minimum(r2, tl.load(nearest + place, mask=valid, other=BIG))
        place += rows
    top = log_kernel(r2, rate, KIND)
    total = tl.zeros([BLOCK_N], tl.float64)
    acc = tl.zeros([BLOCK_N, BLOCK_D], tl.float64)
    if MOMENTS:
        xc = tl.load(x + row[:, None] * D + columns[None, :], mask=wide, other=0.0).to(tl.float64)
        xc -= tl.load(centre + columns, mask=columns < D, other=0.0)[None, :]
    place = row
    for _ in range(0, splits):
        scale = scale_of(pivots + place, valid, top, rate, KIND)
        part = tl.load(totals + place, mask=valid, other=0.0).to(tl.float64)
        total += part * scale
        moved = tl.load(sums + place[:, None] * width + columns[None, :], mask=wide, other=0.0).to(tl.float64)
        if MOMENTS:
            moved = part[:, None] * xc - moved
        acc += moved * scale[:, None]
        place += rows
    out = v + row[:, None] * D + columns[None, :]
    if MOMENTS:
        scale = scale_of(pivots + place, valid, top, rate, KIND)
        total += tl.load(totals + place, mask=valid, other=0.0).to(tl.float64) * scale
        acc += tl.load(out, mask=wide, other=0.0) * scale[:, None]
    on_charge = (r2 <= ON_CHARGE) & (KIND != GAUSSIAN)
    acc = tl.where(on_charge[:, None], 0.0, acc)
    tl.store(out, acc, mask=wide)
    if tl.program_id(1) == 0:
        top = tl.where(on_charge, float("inf"), tl.where(r2 < BIG, top, float("-inf")))
        tl.store(m + row, top, mask=valid)
        tl.store(w + row, total, mask=valid)
