# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""A medium number of features (up to 256): one pass in the manner of flash attention, with accumulators on chip.

Distances come from a split-precision matrix product. Pairs for which this is not exact enough are not added but marked,
one bit each, and a second kernel adds them by direct difference (see :mod:`rescore`). Besides the matrix products, the
instructions per pair limit the speed. The pass therefore decides row by row where it can, and it stops after the
distances of a tile whose charges are too far away to count.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import add_compensated, dot, pack_marks, truncated_parts
from .kernel import ABSENT, BIG, excess_weight, excess_weight_far
from .merge import lowered
from .split import largest_of, limits_of

#: The work that a tile needs: none, its sums, or its sums after marking pairs whose distance the product cannot
#: resolve.
NEGLIGIBLE = tl.constexpr(0)
PLAIN = tl.constexpr(1)
UNSEEN = tl.constexpr(2)


@triton.jit
def product_of(x_high, x_low, y_high, y_low, HAS_XL: tl.constexpr, HAS_YL: tl.constexpr):
    """x.y of a tile of points and charges in bfloat16 parts; a low part is not read without HAS_XL or HAS_YL."""
    product = dot(x_high, tl.trans(y_high), tl.zeros([x_high.shape[0], y_high.shape[0]], tl.float32))
    if HAS_XL:
        product = dot(x_low, tl.trans(y_high), product)
    if HAS_YL:
        product = dot(x_high, tl.trans(y_low), product)
    return product


@triton.jit
def need_of(lowest, pivot, total, c, near, cut, rate, second, KIND: tl.constexpr):
    """NEGLIGIBLE, PLAIN or UNSEEN for a tile, from the smallest r2 less ``c`` of each row in it; rows are [rows, 1].

    ``cut`` is 2^24 times the number of charges times the largest weight. A charge whose kernel is below the row's total
    / ``cut`` does not change the row's sum, even if all charges are like it. A total that started from a sample may be
    twice the true one.
    """
    share = excess_weight(tl.maximum(lowest - pivot, 0.0), pivot + c, rate, second, KIND)
    counts = (pivot >= ABSENT) | (share * cut > total)
    return tl.max(tl.where(lowest < near, UNSEEN, tl.where(counts, PLAIN, NEGLIGIBLE)))


@triton.jit
def weigh(
    s, lowest, pivot, total, c, doubtful, charge, rate, second, heavy,
    KIND: tl.constexpr, VANISHES: tl.constexpr, HAS_Q: tl.constexpr,
):  # fmt: skip
    """Weights of a tile of pairs ``s``, and which of them to mark; ``lowest`` is the smallest ``s`` of each row.

    Returns:
        new pivot, new unsigned total, factor for the sums so far, signed weights of the unmarked pairs, marks.
    """
    new_pivot, r2, rescale = lowered(pivot, lowest, c, rate, second, KIND)
    # before the first pair, an absent pair must not lie at the pivot, where its weight would be 1
    origin = tl.where(new_pivot < ABSENT, new_pivot, -BIG)
    if HAS_Q:
        weight = excess_weight_far(s - origin, r2, rate, second, KIND)
    else:
        weight = excess_weight(s - origin, r2, rate, second, KIND)
    if not VANISHES:
        weight = tl.where(s < ABSENT, weight, 0.0)
    signed = weight
    if HAS_Q:
        signed = weight * charge
        weight = tl.abs(signed)
    total = total * rescale + tl.sum(weight, 1, keep_dims=True)
    mark = weight > total * tl.where(lowest < doubtful, 9.5367431640625e-07, heavy)
    return new_pivot, total, rescale, tl.where(mark, 0.0, signed), mark


@triton.jit(do_not_specialize=["charges", "count", "self_offset"])
def sum_fused(
    xh, xl, norm2, c, largest, yh, yl, y2, q, cuts, marks, pivots, totals, rests, sums,
    rows, charges, count, per_split, chunk, words, self_offset, rounding, rate, second, heavy,
    WIDTH: tl.constexpr, KIND: tl.constexpr, VANISHES: tl.constexpr, FAST: tl.constexpr, HAS_XL: tl.constexpr,
    HAS_YL: tl.constexpr, HAS_Q: tl.constexpr, HAS_SELF: tl.constexpr, EMULATED: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Add one split of a chunk of charges to the state of one block of points.

    The state, with rows padded to BLOCK_N, is continued in place: pivots and totals (unsigned, with marked pairs)
    [S, rows] float32, rests (signed, without marked pairs) [S, rows] float64, sums [S, rows, WIDTH] float32. Marks
    [rows, words] int32 are overwritten. VANISHES says that the kernel of an absent pair is 0 in float32 without a mask.
    """
    # a plan's workspace keeps all places within 32 bits, which saves registers
    row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    most = largest_of(largest, count)
    own_c = tl.load(c + row)[:, None]
    split = tl.program_id(1)
    feature = tl.arange(0, WIDTH)
    place = split * rows + row
    x_high = tl.load(xh + row[:, None] * WIDTH + feature[None, :])
    x_low = tl.load(xl + row[:, None] * WIDTH + feature[None, :]) if HAS_XL else x_high
    pivot = tl.load(pivots + place)[:, None]
    total = tl.load(totals + place)[:, None]
    kept = tl.load(rests + place)[:, None]
    rest = kept.to(tl.float32)
    lost = (kept - rest).to(tl.float32)
    acc = tl.load(sums + place[:, None] * WIDTH + feature[None, :])
    cut = tl.load(cuts)
    if HAS_SELF:
        own = row - self_offset
        own_charge = tl.where((own >= 0) & (own < chunk), own, -1).to(tl.int32)
    column = tl.arange(0, BLOCK_M)
    y_place = column[:, None] * WIDTH + feature[None, :]
    word = tl.arange(0, BLOCK_M // 32)
    begin = split * per_split
    end = tl.minimum(begin + per_split, chunk)
    own_near, own_doubtful = limits_of(
        tl.load(norm2 + row)[:, None], own_c, most, rounding, rate, second, KIND, FAST
    )
    tl.assume(begin < end)  # or the sums before and after the loop would have registers of their own
    for start in range(begin, end, BLOCK_M):
        j = start + column
        place_of_tile = start * WIDTH + y_place
        y_high = tl.load(yh + place_of_tile)
        y_low = tl.load(yl + place_of_tile) if HAS_YL else y_high
        s = tl.load(y2 + j)[None, :] - 2.0 * product_of(x_high, x_low, y_high, y_low, HAS_XL, HAS_YL)
        if HAS_SELF:
            s = tl.where(j[None, :] == own_charge[:, None], BIG, s)
        charge = tl.load(q + j, mask=j < charges, other=0.0)[None, :] if HAS_Q else None
        lowest = tl.min(s, 1, keep_dims=True)
        need = need_of(lowest, pivot, total, own_c, own_near, cut, rate, second, KIND)
        packed = tl.zeros([BLOCK_N, BLOCK_M // 32], tl.int32)
        if need != NEGLIGIBLE:
            if need == UNSEEN:
                unseen = s < own_near
                packed = pack_marks(unseen, BLOCK_N, BLOCK_M)
                s = tl.where(unseen, BIG, s)
                lowest = tl.min(s, 1, keep_dims=True)
            pivot, total, rescale, weight, mark = weigh(
                s, lowest, pivot, total, own_c, own_doubtful, charge, rate, second, heavy, KIND, VANISHES, HAS_Q,
            )  # fmt: skip
            packed |= pack_marks(mark, BLOCK_N, BLOCK_M)
            # a compensated sum, because a plain sum of a thousand equal tiles would lose three digits
            rest, lost = add_compensated(rest * rescale, lost * rescale, tl.sum(weight, 1, keep_dims=True))
            high, low = truncated_parts(weight, EMULATED)
            acc *= rescale
            # tensor cores truncate when they add, so they add one tile, and a rounded addition here adds the tiles, if
            # there are registers for both
            part = tl.zeros([BLOCK_N, WIDTH], tl.float32) if WIDTH <= 128 else acc
            part = dot(low, y_high, part)
            if HAS_YL:
                part = dot(high, y_low, part)
            part = dot(high, y_high, part)
            acc = acc + part if WIDTH <= 128 else part
        tl.store(marks + (row[:, None] * words + (start // 32 + word)[None, :]), packed)
    tl.store(pivots + place[:, None], pivot)
    tl.store(totals + place[:, None], total)
    tl.store(rests + place[:, None], rest.to(tl.float64) + lost)
    tl.store(sums + place[:, None] * WIDTH + feature[None, :], acc)
