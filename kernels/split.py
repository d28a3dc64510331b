# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Prepares points and charges for the tensor cores: centres, splits into bfloat16 parts, pads and measures them."""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import bfloat16_parts
from .kernel import ABSENT, BIG, rounding_limits


@triton.jit(do_not_specialize=["rows", "step"])
def split_rows(
    source, centre, q, high, low, norm2, largest, rows, step, D, width,
    HAS_Q: tl.constexpr, HAS_LOW: tl.constexpr, WIDE: tl.constexpr, EMULATED: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Split ROWS rows, every ``step``-th of ``source``, less ``centre``, into high + low, and compute squared norms.

    Columns from D to ``width`` are 0. With WIDE the norm is that of the float64 difference, because far from the
    charges every weight depends on it. The norm is BIG for padding rows and for charges of weight 0, which excludes
    them from every sum; ``largest`` [programs] float32 is the largest of the other norms.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    real = row < rows
    taken = row * step
    total = tl.zeros([ROWS], tl.float64 if WIDE else tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = (column < D)[None, :] & real[:, None]
        value = tl.load(source + taken[:, None] * D + column[None, :], mask=inside, other=0.0).to(total.dtype)
        value -= tl.load(centre + column, mask=column < D, other=0.0)[None, :]
        value = tl.where(inside, value, 0.0)
        total += tl.sum(value * value, 1)
        value = value.to(tl.float32)
        first, second = bfloat16_parts(value, EMULATED)
        place = row[:, None] * width + column[None, :]
        held = (column < width)[None, :]
        tl.store(high + place, first, mask=held)
        if HAS_LOW:
            tl.store(low + place, second, mask=held)
    norm = tl.where(real, total, BIG)
    if HAS_Q:
        norm = tl.where(tl.load(q + taken, mask=real, other=0.0) != 0.0, norm, BIG)
    tl.store(norm2 + row, norm)
    tl.store(largest + tl.program_id(0), tl.max(tl.where(norm < ABSENT, norm, 0.0), 0).to(tl.float32))


@triton.jit
def largest_of(largest, count):
    """The largest of ``count`` numbers [count] that are at least 0; all warps of a program take part."""
    lane = tl.arange(0, 1024)
    most = tl.zeros([1024], tl.float32)
    for start in range(0, count, 1024):
        most = tl.maximum(most, tl.load(largest + start + lane, mask=start + lane < count, other=0.0))
    return tl.max(most, 0)


@triton.jit
def limits_of(norm2, c, charges, rounding, rate, second, KIND: tl.constexpr, FAST: tl.constexpr):
    """Limits of r2 less ``c`` below which a pair of a row is unseen or doubtful, float32, of the rows' shape.

    ``norm2`` float64 are the norms of the points, ``charges`` bounds those of the charges, and ``rounding`` is the
    error of r2 relative to their sum. No pair of a padding row is unseen or doubtful.
    """
    real = norm2 < ABSENT
    own = tl.where(real, norm2, 0.0).to(tl.float32)
    # the product computes |y|^2 - 2 x.y, without |x|^2, so far from all charges its error is smaller
    error = rounding * (charges + tl.minimum(own, 2.0 * tl.sqrt(own * charges)))
    unseen, doubt = rounding_limits(error, c, rate, second, KIND)
    return tl.where(real, unseen, -BIG), tl.where(real & (not FAST), doubt, -BIG)
