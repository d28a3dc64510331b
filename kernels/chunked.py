# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Many features: two matrix products per chunk of charges, with the weights in between.

The chunk is sized so that distances and weights stay in the L2 cache between the three kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .fused import dot, weigh
from .weights import BIG, bfloat16_parts


@triton.jit
def distances(
    xh, xl, yh, yl, y2, s, columns, width,
    HAS_XL: tl.constexpr, HAS_YL: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """s [rows, columns] = |y|^2 - 2 x.y: the squared distance less |x|^2. Rows, columns, width fill whole blocks.

    Programs that share charges are neighbours, so that charges come from device memory once.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    column = tl.program_id(1).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    feature = tl.arange(0, BLOCK_D)
    x_place = row[:, None] * width + feature[None, :]
    y_place = column[:, None] * width + feature[None, :]
    product = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    for _ in range(0, width, BLOCK_D):
        x_high = tl.load(xh + x_place)
        y_high = tl.load(yh + y_place)
        if HAS_XL:
            product = dot(tl.load(xl + x_place), tl.trans(y_high), product)
        if HAS_YL:
            product = dot(x_high, tl.trans(tl.load(yl + y_place)), product)
        product = dot(x_high, tl.trans(y_high), product)
        x_place += BLOCK_D
        y_place += BLOCK_D
    result = tl.load(y2 + column)[None, :] - 2.0 * product
    tl.store(s + row[:, None] * columns + column[None, :], result)


@triton.jit(do_not_specialize=["charges", "self_offset"])
def weights_of_rows(
    s, q, c, near, doubtful, pivots, totals, rests, rescales, high, low, marks, charges, self_offset, rate, heavy,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, KIND: tl.constexpr, HAS_Q: tl.constexpr, HAS_SELF: tl.constexpr,
    EMULATED: tl.constexpr,
):  # fmt: skip
    """ROWS rows of a chunk: weights as two bfloat16 parts, marks, and the rows' running pivot and totals.

    ``self_offset`` names the column that is the point itself, counted from the first row of this launch.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    values = tl.load(s + row * COLUMNS + column)
    if HAS_SELF:
        values = tl.where(column + self_offset == row, BIG, values)
    charge = tl.load(q + column, mask=column < charges, other=0.0) if HAS_Q else None
    pivot, total, rescale, weight, mark = weigh(
        values, tl.load(pivots + row), tl.load(totals + row), tl.load(c + row), tl.load(near + row),
        tl.load(doubtful + row), charge, rate, heavy, KIND, HAS_Q,
    )  # fmt: skip
    rest = tl.load(rests + row) * rescale + tl.sum(weight, 1, keep_dims=True)
    first, second = bfloat16_parts(weight, EMULATED)
    tl.store(high + row * COLUMNS + column, first)
    tl.store(low + row * COLUMNS + column, second)
    bit = tl.full([1, COLUMNS], 1, tl.int32) << (column % 32).to(tl.int32)
    packed = tl.sum(tl.reshape(tl.where(mark, bit, 0), [ROWS, COLUMNS // 32, 32]), 2)
    tl.store(marks + row * (COLUMNS // 32) + tl.arange(0, COLUMNS // 32)[None, :], packed)
    tl.store(pivots + row, pivot)
    tl.store(totals + row, total)
    tl.store(rests + row, rest)
    tl.store(rescales + row, rescale)


@triton.jit
def combine(
    high, low, yh, yl, rescales, sums, rows, columns, width, per_split,
    HAS_YL: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """sums [S, rows, width] = rescale sums + weights x charges, each split over its own part of the chunk."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    feature = tl.program_id(1).to(tl.int64) * BLOCK_D + tl.arange(0, BLOCK_D)
    split = tl.program_id(2).to(tl.int64)
    begin = split * per_split
    j = begin + tl.arange(0, BLOCK_M)
    w_place = row[:, None] * columns + j[None, :]
    y_place = j[:, None] * width + feature[None, :]
    place = (split * rows + row)[:, None] * width + feature[None, :]
    acc = tl.load(sums + place) * tl.load(rescales + row)[:, None]
    for _ in range(begin, tl.minimum(begin + per_split, columns), BLOCK_M):
        w_high = tl.load(high + w_place)
        y_high = tl.load(yh + y_place)
        acc = dot(tl.load(low + w_place), y_high, acc)
        if HAS_YL:
            acc = dot(w_high, tl.load(yl + y_place), acc)
        acc = dot(w_high, y_high, acc)
        w_place += BLOCK_M
        y_place += BLOCK_M * width
    tl.store(sums + place, acc)
