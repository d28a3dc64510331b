# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Adds the marked pairs by direct difference. They are few per point, but they decide the sum.

Squared distances and sums are float64. A weight depends on the difference of two squared distances, for which float32
has enough digits. A series of this difference replaces two exponentials and three logarithms in float64, which many
GPUs compute 64 times more slowly than in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kernel import BIG, TINY, excess_weight_far, log_kernel
from .merge import scale_to

NONE = tl.constexpr(2147483647)


@triton.jit
def beside(pivot, r2, rate, second, KIND: tl.constexpr, EXACT: tl.constexpr):
    """The factors of a sum relative to ``pivot`` and of a pair at ``r2``, relative to the nearer one; float64."""
    nearer = tl.minimum(pivot, r2)
    if EXACT:
        m = log_kernel(nearer, rate, second, KIND)
        return scale_to(m, pivot, rate, second, KIND), scale_to(m, r2, rate, second, KIND)
    excess = (tl.maximum(pivot, r2) - nearer).to(tl.float32)
    farther = excess_weight_far(excess, nearer.to(tl.float32), rate, second, KIND).to(tl.float64)
    return tl.where(r2 < pivot, farther, 1.0), tl.where(r2 < pivot, 1.0, farther)


@triton.jit(do_not_specialize=["words", "per_split", "mark_stride", "self_offset"])
def rescore_marked(
    x, y, q, base, marks, pivots, totals, sums, D, width, words, per_split, mark_stride, self_offset, rate, second,
    KIND: tl.constexpr, HAS_Q: tl.constexpr, HAS_SELF: tl.constexpr, EXACT: tl.constexpr, ONE_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    """Add the marked charges of one split of a chunk to a point's exact sum, in the order of the charges.

    A split has ``per_split`` of the chunk's ``words``, and its own state [S, rows].

    With EXACT, weights are computed by logarithms in float64. The marks of a row start ``mark_stride`` words after
    those of the row before; 0 means that all rows share them. ``base`` [rows] float64 is height^2 + softening^2. The
    state is continued in place: pivots [rows] float64, totals [rows] and sums [rows, width] of any floating dtype. If D
        exceeds a
    block it is continued in memory, where a thread reads only columns that it wrote itself.
    """
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + row
    lane = tl.arange(0, WORDS)
    shift = tl.arange(0, 32)
    column = tl.arange(0, BLOCK)
    offset = tl.load(base + row)
    pivot = tl.load(pivots + place)
    total = tl.load(totals + place).to(tl.float64)
    if ONE_BLOCK:
        own = tl.load(x + row * D + column, mask=column < D, other=0.0).to(tl.float64)
        acc = tl.load(sums + place * width + column, mask=column < D, other=0.0).to(tl.float64)
    begin = tl.program_id(1) * per_split
    end = tl.minimum(begin + per_split, words)
    for start in range(begin, end, WORDS):
        bits = tl.load(marks + row * mark_stride + start + lane, mask=start + lane < end, other=0)
        first = tl.min(tl.where(bits != 0, lane, NONE), 0)
        while first < NONE:
            word = tl.sum(tl.where(lane == first, bits, 0), 0)
            lowest = tl.min(tl.where(((word >> shift) & 1) != 0, shift, 32), 0)
            bits = tl.where(lane == first, bits & (word - 1), bits)
            j = ((start + first) * 32 + lowest).to(tl.int64)
            first = tl.min(tl.where(bits != 0, lane, NONE), 0)
            if ONE_BLOCK:
                other = tl.load(y + j * D + column, mask=column < D, other=0.0)
                difference = own - other.to(tl.float64)
                squares = difference * difference
            else:
                squares = tl.zeros([BLOCK], tl.float64)
                for at in range(0, D, BLOCK):
                    inside = at + column < D
                    mine = tl.load(x + row * D + at + column, mask=inside, other=0.0).to(tl.float64)
                    theirs = tl.load(y + j * D + at + column, mask=inside, other=0.0).to(tl.float64)
                    squares += (mine - theirs) * (mine - theirs)
            r2 = tl.maximum(tl.sum(squares, 0) + offset, TINY)
            charge = tl.load(q + j) if HAS_Q else 1.0
            counts = charge != 0.0
            if HAS_SELF:
                counts = counts & (j + self_offset != row)
            r2 = tl.where(counts, r2, BIG)
            rescale, weight = beside(pivot, r2, rate, second, KIND, EXACT)
            weight = tl.where(counts, weight * charge, 0.0)
            pivot = tl.minimum(pivot, r2)
            total = total * rescale + weight
            if ONE_BLOCK:
                acc = acc * rescale + weight * difference
            else:
                for at in range(0, D, BLOCK):
                    inside = at + column < D
                    mine = tl.load(x + row * D + at + column, mask=inside, other=0.0).to(tl.float64)
                    theirs = tl.load(y + j * D + at + column, mask=inside, other=0.0).to(tl.float64)
                    kept = tl.load(sums + place * width + at + column, mask=inside, other=0.0)
                    kept = kept * rescale + weight * (mine - theirs)
                    tl.store(sums + place * width + at + column, kept, mask=inside)
    tl.store(pivots + place, pivot)
    tl.store(totals + place, total)
    if ONE_BLOCK:
        tl.store(sums + place * width + column, acc, mask=column < D)
