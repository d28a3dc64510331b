# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""A medium number of features (up to 256): one pass in the manner of flash attention, accumulators on chip.

Distances come from a split-precision matrix product. Pairs for which that is not exact enough are not added but
marked, one bit each, and a second kernel adds them by direct difference (see :mod:`rescore`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from .weights import ABSENT, BIG, bfloat16_parts, excess_weight


@triton.jit
def dot(a, b, acc):
    """a b + acc in float32; bfloat16 operands, or float32 ones without any rounding (the interpreter)."""
    return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def weigh(
    s, pivot, total, c, near, doubtful, charge, rate, heavy,
    KIND: tl.constexpr, HAS_Q: tl.constexpr,
):  # fmt: skip
    """Weights of a block of pairs and which of them to mark; every row statistic is [rows, 1].

    ``s`` is r2 less the row's constant ``c``. Nearer than ``near`` the rounding of ``s`` exceeds what a weight can
    bear: such pairs are marked unseen. Others are marked if their share of the row's total so far exceeds
    ``heavy``, or 2^-20 where they are nearer than ``doubtful``.

    Returns:
        new pivot, new unsigned total, rescaling of what was summed before, signed weights of the unmarked, marks.
    """
    unseen = s < near
    s = tl.where(unseen, BIG, s)
    new_pivot = tl.minimum(pivot, tl.min(s, 1, keep_dims=True))
    inverse = 1.0 / (new_pivot + c)
    rescale = excess_weight(pivot - new_pivot, inverse, rate, KIND)
    weight = tl.where(s < ABSENT, excess_weight(s - new_pivot, inverse, rate, KIND), 0.0)
    signed = weight
    if HAS_Q:
        signed = weight * charge
        weight = tl.abs(signed)
    total = total * rescale + tl.sum(weight, 1, keep_dims=True)
    mark = unseen | (weight > total * tl.where(s < doubtful, 9.5367431640625e-07, heavy))
    return new_pivot, total, rescale, tl.where(mark, 0.0, signed), mark


@triton.jit(do_not_specialize=["charges", "self_offset"])
def sum_fused(
    xh, xl, c, near, doubtful, yh, yl, y2, q, marks, pivots, totals, rests, sums,
    rows, charges, per_split, chunk, words, self_offset, rate, heavy,
    WIDTH: tl.constexpr, KIND: tl.constexpr, HAS_XL: tl.constexpr, HAS_YL: tl.constexpr, HAS_Q: tl.constexpr,
    HAS_SELF: tl.constexpr, EMULATED: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Add one split of a chunk of charges to the state of one block of points.

    State (rows padded to BLOCK_N): pivots, totals, rests [S, rows] float32, sums [S, rows, WIDTH] float32, all
    continued in place; marks [rows, words] int32 are written whole.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    split = tl.program_id(1).to(tl.int64)
    feature = tl.arange(0, WIDTH)
    place = split * rows + row
    x_high = tl.load(xh + row[:, None] * WIDTH + feature[None, :])
    if HAS_XL:
        x_low = tl.load(xl + row[:, None] * WIDTH + feature[None, :])
    own_c = tl.load(c + row)[:, None]
    own_near = tl.load(near + row)[:, None]
    own_doubtful = tl.load(doubtful + row)[:, None]
    pivot = tl.load(pivots + place)[:, None]
    total = tl.load(totals + place)[:, None]
    rest = tl.load(rests + place)[:, None]
    acc = tl.load(sums + place[:, None] * WIDTH + feature[None, :])
    column = tl.arange(0, BLOCK_M)
    bit = (tl.full([BLOCK_M], 1, tl.int32) << (column % 32)).to(tl.int32)
    begin = (split * per_split).to(tl.int32)
    end = tl.minimum(begin + per_split, chunk)
    for start in range(begin, end, BLOCK_M):
        j = start + column
        j64 = j.to(tl.int64)
        y_high = tl.load(yh + j64[:, None] * WIDTH + feature[None, :])
        product = dot(x_high, tl.trans(y_high), tl.zeros([BLOCK_N, BLOCK_M], tl.float32))
        if HAS_XL:
            product = dot(x_low, tl.trans(y_high), product)
        if HAS_YL:
            y_low = tl.load(yl + j64[:, None] * WIDTH + feature[None, :])
            product = dot(x_high, tl.trans(y_low), product)
        s = tl.load(y2 + j)[None, :] - 2.0 * product
        if HAS_SELF:
            s = tl.where(j64[None, :] + self_offset == row[:, None], BIG, s)
        charge = tl.load(q + j, mask=j < charges, other=0.0)[None, :] if HAS_Q else None
        pivot, total, rescale, weight, mark = weigh(
            s, pivot, total, own_c, own_near, own_doubtful, charge, rate, heavy, KIND, HAS_Q
        )
        rest = rest * rescale + tl.sum(weight, 1, keep_dims=True)
        high, low = bfloat16_parts(weight, EMULATED)
        acc = dot(high, y_high, acc * rescale)
        acc = dot(low, y_high, acc)
        if HAS_YL:
            acc = dot(high, y_low, acc)
        flags = tl.where(mark, bit[None, :], 0)
        for word in tl.static_range(BLOCK_M // 32):
            packed = tl.sum(tl.where((column // 32 == word)[None, :], flags, 0), 1)
            tl.store(marks + row * words + start // 32 + word, packed)
    tl.store(pivots + place[:, None], pivot)
    tl.store(totals + place[:, None], total)
    tl.store(rests + place[:, None], rest)
    tl.store(sums + place[:, None] * WIDTH + feature[None, :], acc)
