# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""A point's sum over a sample of the charges, from which its pass over all charges starts.

The fused pass uses the row's total so far to decide which pairs are heavy and which tiles cannot matter. At the start
of a split this total is small, so pairs would be marked and tiles summed in vain. The sum over a sample is a lower
bound of the row's total, and every split starts from it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .fused import product_of, weigh
from .kernel import BIG
from .split import largest_of, limits_of


@triton.jit(do_not_specialize=["sampled", "count", "splits", "step", "self_offset"])
def seed_rows(
    xh, xl, norm2, c, largest, yh, yl, y2, q, pivots, totals, rows, sampled, count, splits, step, self_offset, rounding,
    rate, second,
    WIDTH: tl.constexpr, KIND: tl.constexpr, VANISHES: tl.constexpr, HAS_XL: tl.constexpr, HAS_YL: tl.constexpr,
    HAS_Q: tl.constexpr, HAS_SELF: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Add every ``step``-th charge to the first split's pivots and totals [S, rows], and copy these to all splits.

    ``yh``, ``yl`` [sampled, WIDTH] and ``y2`` are the sample, ``q`` the weights of all charges. A charge of the sample
    counts again in its own split, so totals are at most twice as large as they should be. Nothing else is summed here.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    feature = tl.arange(0, WIDTH)
    x_high = tl.load(xh + row[:, None] * WIDTH + feature[None, :])
    x_low = tl.load(xl + row[:, None] * WIDTH + feature[None, :]) if HAS_XL else x_high
    own_c = tl.load(c + row)[:, None]
    own_near, _unused = limits_of(
        tl.load(norm2 + row)[:, None], own_c, largest_of(largest, count), rounding, rate, second, KIND, False
    )
    pivot = tl.load(pivots + row)[:, None]
    total = tl.load(totals + row)[:, None]
    for start in range(0, sampled, BLOCK_M):
        j = (start + tl.arange(0, BLOCK_M)).to(tl.int64)
        y_high = tl.load(yh + j[:, None] * WIDTH + feature[None, :])
        y_low = tl.load(yl + j[:, None] * WIDTH + feature[None, :]) if HAS_YL else y_high
        s = tl.load(y2 + j)[None, :] - 2.0 * product_of(x_high, x_low, y_high, y_low, HAS_XL, HAS_YL)
        if HAS_SELF:
            s = tl.where(j[None, :] * step + self_offset == row[:, None], BIG, s)
        s = tl.where(s < own_near, BIG, s)
        charge = tl.load(q + j * step)[None, :] if HAS_Q else None
        # the pass itself marks pairs
        pivot, total, _, _, _ = weigh(
            s, tl.min(s, 1, keep_dims=True), pivot, total, own_c, own_near, charge, rate, second, 2.0, KIND,
            VANISHES, HAS_Q,
        )  # fmt: skip
    place = row[:, None]
    for _ in range(0, splits):
        tl.store(pivots + place, pivot)
        tl.store(totals + place, total)
        place += rows
