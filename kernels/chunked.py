# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Many features: two matrix products per chunk of charges, with the weights in between.

A chunk is so small that distances and weights stay in the L2 cache between the kernels. The second product leaves out
tiles of charges that do not matter to a block of points. Its loop has no branch for this: it goes over a list of tiles.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import dot, pack_marks, truncated_parts
from .kernel import ABSENT, BIG, excess_weight
from .merge import lowered


@triton.jit
def weigh(
    s, pivot, total, c, near, doubtful, charge, rate, second, heavy,
    KIND: tl.constexpr, HAS_Q: tl.constexpr,
):  # fmt: skip
    """Weights of a block of pairs and which of them to mark; every row statistic is [rows, 1].

    ``s`` is r2 less the row's constant ``c``. If ``s`` is below ``near``, its rounding changes the weight too much, and
    the pair is marked without being weighed. Other pairs are marked if their share of the row's total so far exceeds
    ``heavy``, or exceeds 2^-20 and ``s`` is below ``doubtful``.

    Returns:
        new pivot, new unsigned total, factor for the sums so far, signed weights of the unmarked pairs, marks.
    """
    unseen = s < near
    s = tl.where(unseen, BIG, s)
    new_pivot, r2, rescale = lowered(pivot, tl.min(s, 1, keep_dims=True), c, rate, second, KIND)
    weight = tl.where(s < ABSENT, excess_weight(s - new_pivot, r2, rate, second, KIND), 0.0)
    signed = weight
    if HAS_Q:
        signed = weight * charge
        weight = tl.abs(signed)
    total = total * rescale + tl.sum(weight, 1, keep_dims=True)
    mark = unseen | (weight > total * tl.where(s < doubtful, 9.5367431640625e-07, heavy))
    return new_pivot, total, rescale, tl.where(mark, 0.0, signed), mark


@triton.jit
def distances(
    xh, xl, yh, yl, y2, s, rows, columns, width, depth,
    HAS_XL: tl.constexpr, HAS_YL: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """s [slices, rows, columns], summed over slices |y|^2 - 2 x.y: the squared distance less |x|^2.

    A slice has ``depth`` features, a multiple of BLOCK_D. Rows, columns and width fill whole blocks. Programs that
    share charges are neighbours, so that charges are read from device memory once.
    """
    first_row = tl.program_id(0).to(tl.int64) * BLOCK_N
    first_column = tl.program_id(1).to(tl.int64) * BLOCK_M
    row = first_row + tl.arange(0, BLOCK_N)
    column = first_column + tl.arange(0, BLOCK_M)
    part = tl.program_id(2)
    begin = part * depth
    # Places in a tile are 32 bits and stay the same; a 64-bit scalar says where the tile begins. With places that grew
    # in every step, Triton waited for each copy on capability 10 before it went on.
    feature = tl.arange(0, BLOCK_D)[None, :]
    x_place = tl.arange(0, BLOCK_N)[:, None] * width + feature
    y_place = tl.arange(0, BLOCK_M)[:, None] * width + feature
    product = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    end = tl.minimum(begin + depth, width)
    # if the loop might not run at all, accumulators are merged after it, and ptxas 12.8 then serialises its products
    tl.assume(begin < end)
    for at in range(begin, end, BLOCK_D):
        x_first, y_first = first_row * width + at, first_column * width + at
        x_high = tl.load(xh + x_first + x_place)
        y_high = tl.load(yh + y_first + y_place)
        # Tensor cores truncate when they add, so they add only one step, and a rounded addition here adds the steps.
        # With one accumulator for all features the error was 45 times ROUNDING at D = 3072 if all products had one
        # sign.
        step = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
        if HAS_XL:
            step = dot(tl.load(xl + x_first + x_place), tl.trans(y_high), step)
        if HAS_YL:
            step = dot(x_high, tl.trans(tl.load(yl + y_first + y_place)), step)
        product += dot(x_high, tl.trans(y_high), step)
    norm2 = tl.load(y2 + column)[None, :]
    result = tl.where(part == 0, norm2, 0.0) - 2.0 * product
    tl.store(s + (part.to(tl.int64) * rows + row)[:, None] * columns + column[None, :], result)


@triton.jit(do_not_specialize=["slices", "charges", "self_offset"])
def weights_of_rows(
    s, q, c, near, doubtful, pivots, totals, rests, rescales, high, low, marks, counts, rows, slices, charges,
    self_offset, rate, second, heavy, cut,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILE: tl.constexpr, KIND: tl.constexpr, HAS_Q: tl.constexpr,
    HAS_SELF: tl.constexpr, EMULATED: tl.constexpr,
):  # fmt: skip
    """Compute the weights of ROWS rows of a chunk as two bfloat16 parts, the marks, and the new pivots and totals.

    ``self_offset`` gives the column that is the point itself, counted from the first row of this launch. Weights below
    the row's total / ``cut`` (2^24 times the number of charges) are set to 0, because even all charges with such
    weights would not matter. ``counts`` [rows, COLUMNS / TILE] says which tiles hold any weight. ``rests`` are float64.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    place = row * COLUMNS + column
    values = tl.load(s + place)
    for part in range(1, slices):
        values += tl.load(s + tl.cast(part, tl.int64) * rows * COLUMNS + place)
    if HAS_SELF:
        values = tl.where(column + self_offset == row, BIG, values)
    charge = tl.load(q + column, mask=column < charges, other=0.0) if HAS_Q else None
    pivot, total, rescale, weight, mark = weigh(
        values, tl.load(pivots + row), tl.load(totals + row), tl.load(c + row), tl.load(near + row),
        tl.load(doubtful + row), charge, rate, second, heavy, KIND, HAS_Q,
    )  # fmt: skip
    weight = tl.where(tl.abs(weight) * cut > total, weight, 0.0)
    rest = tl.load(rests + row) * rescale + tl.sum(weight, 1, keep_dims=True)
    first, second = truncated_parts(weight, EMULATED)
    tl.store(high + place, first)
    tl.store(low + place, second)
    words = row * (COLUMNS // 32) + tl.arange(0, COLUMNS // 32)[None, :]
    tl.store(marks + words, pack_marks(mark, ROWS, COLUMNS))
    held = tl.max(tl.reshape((weight != 0.0).to(tl.int32), [ROWS, COLUMNS // TILE, TILE]), 2)
    tl.store(counts + row * (COLUMNS // TILE) + tl.arange(0, COLUMNS // TILE)[None, :], held.to(tl.int8))
    tl.store(pivots + row, pivot)
    tl.store(totals + row, total)
    tl.store(rests + row, rest)
    tl.store(rescales + row, rescale)


@triton.jit
def list_tiles(counts, tiles, BLOCK_N: tl.constexpr, TILES: tl.constexpr):
    """tiles [blocks, TILES + 2] int32: number and list of tiles of charges with weight, for a block of BLOCK_N points.

    Unused places of the list hold tile 0, so that reading ahead reads an existing tile.
    """
    block = tl.program_id(0).to(tl.int64)
    row = block * BLOCK_N + tl.arange(0, BLOCK_N)
    tile = tl.arange(0, TILES)
    held = tl.max(tl.load(counts + row[:, None] * TILES + tile[None, :]).to(tl.int32), 0)
    before = tl.cumsum(held, 0) - held
    total = tl.sum(held, 0)
    own = tiles + block * (TILES + 2)
    tl.store(own, total)
    tl.store(own + 1 + TILES, 0)
    # the tiles without weight follow in the list
    tl.store(own + 1 + tl.where(held > 0, before, total + tile - before), tl.where(held > 0, tile, 0))


@triton.jit
def combine(
    high, low, yh, yl, rescales, tiles, sums, rows, columns, width,
    HAS_YL: tl.constexpr, TILES: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """sums [S, rows, width] = rescale sums + weights x charges, each split over its own part of the listed tiles."""
    block = tl.program_id(0).to(tl.int64)
    row = block * BLOCK_N + tl.arange(0, BLOCK_N)
    feature = tl.program_id(1).to(tl.int64) * BLOCK_D + tl.arange(0, BLOCK_D)
    split = tl.program_id(2)
    own = tiles + block * (TILES + 2)
    listed = tl.load(own)
    per_split = tl.cdiv(listed, tl.num_programs(2))
    begin = tl.minimum(split * per_split, listed)
    end = tl.minimum(begin + per_split, listed)
    # places in a tile are 32 bits, which saves registers; where the tile begins is a 64-bit scalar
    w_place = tl.arange(0, BLOCK_N)[:, None] * columns + tl.arange(0, BLOCK_M)[None, :]
    y_place = tl.arange(0, BLOCK_M)[:, None] * width + tl.arange(0, BLOCK_D)[None, :]
    w_begin = block * BLOCK_N * columns
    y_begin = tl.program_id(1).to(tl.int64) * BLOCK_D
    place = (split.to(tl.int64) * rows + row)[:, None] * width + feature[None, :]
    acc = tl.load(sums + place) * tl.load(rescales + row)[:, None]
    # the number of the next tile is read one step ahead, so that its address does not wait for it
    following = tl.load(own + 1 + begin)
    for at in range(begin, end):
        first = following.to(tl.int64) * BLOCK_M
        following = tl.load(own + 2 + at)
        w_first, y_first = w_begin + first, y_begin + first * width
        w_high = tl.load(high + w_first + w_place)
        y_high = tl.load(yh + y_first + y_place)
        # tensor cores truncate when they add, so they add one tile, and a rounded addition here adds the tiles
        part = dot(tl.load(low + w_first + w_place), y_high, tl.zeros([BLOCK_N, BLOCK_D], tl.float32))
        if HAS_YL:
            part = dot(w_high, tl.load(yl + y_first + y_place), part)
        acc += dot(w_high, y_high, part)
    tl.store(sums + place, acc)
