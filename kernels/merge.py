# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""The merge of sums over charges in Triton.

A sum is stored relative to the kernel at a squared distance, its pivot. To add a nearer charge or another sum, both are
rescaled to the smaller pivot: in float32 during a pass (:func:`lowered`), in float64 for exact sums (:func:`scale_to`).
At the end the splits of the charges are merged in a fixed order, without atomics.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kernel import ABSENT, BIG, excess_weight_far, log_kernel, on_charge


@triton.jit
def lowered(pivot, lowest, c, rate, second, KIND: tl.constexpr):
    """Lower the pivot of a sum to ``lowest`` if that is smaller; both are r2 less ``c``.

    Returns:
        the new pivot; its r2, or 1 before the first pair; the factor for the sum so far.
    """
    new_pivot = tl.minimum(pivot, lowest)
    r2 = tl.where(new_pivot < ABSENT, new_pivot + c, 1.0)
    return new_pivot, r2, excess_weight_far(pivot - new_pivot, r2, rate, second, KIND)


@triton.jit
def scale_to(m, r2, rate, second, KIND: tl.constexpr):
    """The factor that turns a sum relative to ``r2`` into one in the log scale ``m``; float64."""
    return tl.exp(log_kernel(r2, rate, second, KIND) - m)


@triton.jit
def scale_of(pivots, valid, m, rate, second, KIND: tl.constexpr):
    """The factor of a partial sum in the log scale ``m``; 0 if it holds no charge."""
    own = tl.load(pivots, mask=valid, other=BIG)
    return tl.where(own < BIG, scale_to(m, own, rate, second, KIND), 0.0)


@triton.jit(do_not_specialize=["N", "rows", "splits"])
def merge_splits(
    x, centre, nearest, pivots, totals, sums, m, w, v, N, D, rows, width, splits, rate, second,
    KIND: tl.constexpr, MOMENTS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Merge ``splits`` partial sums: totals [S, rows] and sums [S, rows, width], relative to r2 = ``pivots``.

    Writes m [N], w [N] and v [N, D] relative to the smallest of ``nearest``; ``nearest`` and ``pivots`` are [S, rows]
    float64. Sums are added in float64, because where the fields of two plates nearly cancel, the rest has the errors of
    both.

    With MOMENTS the sums are sum_j p_j (y_j - centre), and displacements are computed from them here. ``nearest``,
    ``pivots`` and ``totals`` then have one row more, for pairs whose displacements are already in v. Without MOMENTS
    one split may be merged in place: w and v may be the memory of totals and sums.
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
    top = log_kernel(r2, rate, second, KIND)
    total = tl.zeros([BLOCK_N], tl.float64)
    acc = tl.zeros([BLOCK_N, BLOCK_D], tl.float64)
    if MOMENTS:
        xc = tl.load(x + row[:, None] * D + columns[None, :], mask=wide, other=0.0).to(tl.float64)
        xc -= tl.load(centre + columns, mask=columns < D, other=0.0)[None, :]
    place = row
    for _ in range(0, splits):
        scale = scale_of(pivots + place, valid, top, rate, second, KIND)
        part = tl.load(totals + place, mask=valid, other=0.0).to(tl.float64)
        total += part * scale
        moved = tl.load(sums + place[:, None] * width + columns[None, :], mask=wide, other=0.0).to(tl.float64)
        if MOMENTS:
            moved = part[:, None] * xc - moved
        acc += moved * scale[:, None]
        place += rows
    out = v + row[:, None] * D + columns[None, :]
    if MOMENTS:
        scale = scale_of(pivots + place, valid, top, rate, second, KIND)
        total += tl.load(totals + place, mask=valid, other=0.0).to(tl.float64) * scale
        acc += tl.load(out, mask=wide, other=0.0) * scale[:, None]
    infinite = on_charge(r2, KIND)
    acc = tl.where(infinite[:, None], 0.0, acc)
    tl.store(out, acc, mask=wide)
    if tl.program_id(1) == 0:
        top = tl.where(infinite, float("inf"), tl.where(r2 < BIG, top, float("-inf")))
        tl.store(m + row, top, mask=valid)
        tl.store(w + row, total, mask=valid)
