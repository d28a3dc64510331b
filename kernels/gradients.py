# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Gradients of a sum over charges in many features, by matrix products; the formulas are those of :mod:`backward`.

Per chunk of charges, the products x.y and g_v.y give r2 and a of every pair, from which a row's program computes b and
q rho in two bfloat16 parts. Three more products reduce these over charges and over points. With the points and the
charges measured from a centre c,

    grad x_i = (x_i - c) sum_j b_ij - sum_j b_ij (y_j - c) + g_v_i sum_j q_j rho_ij
    grad y_j = (y_j - c) sum_i b_ij - sum_i b_ij (x_i - c) - sum_i q_j rho_ij g_v_i

A matrix product cannot tell near charges apart, and differences of these terms cancel there. Pairs that are too near,
or that decide their row, are marked as in the sum, left out of the products and added by direct difference.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .arithmetic import dot, pack_marks, truncated_parts
from .kernel import ABSENT, excess_weight, excess_weight_far, on_charge, slope
from .rescore import NONE
from .split import largest_of, limits_of


@triton.jit
def project_rows(x, centre, g_w, g_v, a, D, BLOCK: tl.constexpr):
    """a [N] = g_w + g_v . (x - centre), summed in float64."""
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros([BLOCK], tl.float64)
    for start in range(0, D, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < D
        own = tl.load(x + row * D + column, mask=inside, other=0.0) - tl.load(
            centre + column, mask=inside, other=0.0
        )
        total += own.to(tl.float64) * tl.load(g_v + row * D + column, mask=inside, other=0.0)
    tl.store(a + row, tl.load(g_w + row) + tl.sum(total, 0))


@triton.jit
def sum_of_slices(parts, place, rows, columns, slices):
    """Numbers at ``place`` of the first of ``slices`` [rows, columns], summed over all of them."""
    total = tl.load(parts + place)
    for part in range(1, slices):
        total += tl.load(parts + tl.cast(part, tl.int64) * rows * columns + place)
    return total


@triton.jit
def weights_of_pairs(
    values, row, column, q, charges, self_offset, near, pivot, shift, rate, second,
    KIND: tl.constexpr, HAS_Q: tl.constexpr, HAS_SELF: tl.constexpr,
):  # fmt: skip
    """rho and q rho of pairs with r2 less ``c`` = ``values``, their r2 less ``pivot``, and whether they are unseen.

    ``shift`` is the pivot's ``values``. rho is 0 where a pair is unseen, absent or left out, or where the pivot is 0.
    """
    real = (values < ABSENT) & (pivot > 0.0)
    if HAS_SELF:
        real = real & (column + self_offset != row)
    seen = real & (values >= near)
    excess = tl.where(seen, values - shift, 0.0)
    scale = tl.where(pivot > 0.0, pivot, 1.0)
    if HAS_Q:
        rho = excess_weight_far(excess, scale, rate, second, KIND)
    else:
        rho = excess_weight(excess, scale, rate, second, KIND)
    rho = tl.where(seen, rho, 0.0)
    signed = rho
    if HAS_Q:
        charge = tl.load(q + column, mask=column < charges, other=0.0)
        # a charge of weight 0 that is nearer than all others may have an infinite rho
        signed = tl.where(charge == 0.0, 0.0, rho * charge)
    return rho, signed, excess, real & (values < near)


@triton.jit(do_not_specialize=["slices", "charges", "count", "self_offset"])
def coefficients_of_rows(
    s, t, q, norm2, c, largest, constant, pivots, a, totals, b_sums, q_sums, b_high, b_low, q_high, q_low, rho_a,
    marks, counts, rows, slices, charges, count, self_offset, rounding, rate, second, heavy, cut,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, KIND: tl.constexpr,
    FAST: tl.constexpr, HAS_Q: tl.constexpr, HAS_SELF: tl.constexpr, NEEDS_Y: tl.constexpr, NEEDS_Q: tl.constexpr,
    EMULATED: tl.constexpr,
):  # fmt: skip
    """b and (NEEDS_Y) q rho of ROWS rows of a chunk as bfloat16 parts, (NEEDS_Q) rho a, and the marks.

    ``s`` and ``t`` [slices, rows, COLUMNS] are |y|^2 - 2 x.y and -2 g_v.y of centred x and y; ``a`` is that of
    :func:`project_rows`. ``pivots`` is the r2 whose log kernel is m, and ``constant`` is r2 less ``s``, both float64;
    rows with a pivot of 0 are left out. ``totals`` are sums of the sizes of the weights so far, from which a pair is
    marked or left out as in :func:`chunked.weights_of_rows`. ``b_sums`` and ``q_sums`` are float64. BLOCK charges are
    in registers at a time, and the total so far is that of them and the ones before.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    pivot64 = tl.load(pivots + row)
    pivot = pivot64.to(tl.float32)
    shift = (pivot64 - tl.load(constant + row)).to(tl.float32)
    near, doubtful = limits_of(
        tl.load(norm2 + row), tl.load(c + row), largest_of(largest, count), rounding, rate, second, KIND, FAST
    )
    total = tl.load(totals + row)
    own_a = tl.load(a + row)
    b_sum = tl.load(b_sums + row)
    q_sum = tl.load(q_sums + row)
    for start in range(0, COLUMNS, BLOCK):
        column = start + tl.arange(0, BLOCK)[None, :]
        place = row * COLUMNS + column
        values = sum_of_slices(s, place, rows, COLUMNS, slices)
        rho, signed, excess, mark = weights_of_pairs(
            values, row, column, q, charges, self_offset, near, pivot, shift, rate, second, KIND, HAS_Q, HAS_SELF
        )  # fmt: skip
        total += tl.sum(tl.abs(signed), 1, keep_dims=True)
        limit = tl.where(values < doubtful, 9.5367431640625e-07, heavy)
        mark = mark | (tl.abs(signed) > total * limit)
        if HAS_Q and NEEDS_Q:
            # a charge of weight 0, whose weight has a gradient all the same
            mark = mark | ((signed == 0.0) & (rho > limit))
        a_pair = own_a + 0.5 * sum_of_slices(t, place, rows, COLUMNS, slices)
        if NEEDS_Q:
            tl.store(rho_a + place, tl.where(mark, 0.0, rho * a_pair))
        signed = tl.where(mark | (tl.abs(signed) * cut <= total), 0.0, signed)
        b = signed * (2.0 * slope(tl.where(signed == 0.0, 1.0, pivot + excess), rate, second, KIND)) * a_pair
        first, rest = truncated_parts(b, EMULATED)
        tl.store(b_high + place, first)
        tl.store(b_low + place, rest)
        if NEEDS_Y:
            first, rest = truncated_parts(signed, EMULATED)
            tl.store(q_high + place, first)
            tl.store(q_low + place, rest)
        words = row * (COLUMNS // 32) + start // 32 + tl.arange(0, BLOCK // 32)[None, :]
        tl.store(marks + words, pack_marks(mark, ROWS, BLOCK))
        held = tl.max(tl.reshape((b != 0.0).to(tl.int32), [ROWS, BLOCK // TILE, TILE]), 2)
        tiles = row * (COLUMNS // TILE) + start // TILE + tl.arange(0, BLOCK // TILE)[None, :]
        tl.store(counts + tiles, held.to(tl.int8))
        b_sum += tl.sum(b, 1, keep_dims=True)
        q_sum += tl.sum(signed, 1, keep_dims=True)
    tl.store(totals + row, total)
    tl.store(b_sums + row, b_sum)
    tl.store(q_sums + row, q_sum)


@triton.jit(do_not_specialize=["rows", "charges"])
def sum_over_points(
    b_high, b_low, rho_a, b_columns, grads, rows, columns, charges,
    NEEDS_Y: tl.constexpr, NEEDS_Q: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """b_columns [columns] = sum_i b (NEEDS_Y), and grads [charges] += sum_i rho a (NEEDS_Q), over ``rows`` points."""
    column = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    b = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    weight = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
    for start in range(0, rows, BLOCK_N):
        row = start + tl.arange(0, BLOCK_N)
        place = row[:, None] * columns + column[None, :]
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        if NEEDS_Y:
            b += tl.load(b_high + place, mask=inside, other=0.0).to(tl.float32)
            b += tl.load(b_low + place, mask=inside, other=0.0).to(tl.float32)
        if NEEDS_Q:
            weight += tl.load(rho_a + place, mask=inside, other=0.0)
    if NEEDS_Y:
        tl.store(b_columns + column, tl.sum(b, 0), mask=column < columns)
    if NEEDS_Q:
        kept = tl.load(grads + column, mask=column < charges, other=0.0)
        tl.store(grads + column, kept + tl.sum(weight, 0), mask=column < charges)


@triton.jit
def add_transposed(
    acc, high, low, rows_high, rows_low, rows, columns, width, first_column, first_feature,
    HAS_LOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """acc [BLOCK_N, BLOCK_D] + coefficients^T x rows: of BLOCK_N charges from ``first_column`` on, and ``rows`` points.

    Coefficients are [rows, columns] and rows [rows, width], in bfloat16 parts.
    """
    place = tl.arange(0, BLOCK_N)[:, None] + tl.arange(0, BLOCK_M)[None, :] * columns
    row_place = tl.arange(0, BLOCK_M)[:, None] * width + tl.arange(0, BLOCK_D)[None, :]
    tl.assume(rows > 0)
    for start in range(0, rows, BLOCK_M):
        at = tl.cast(start, tl.int64) * columns + first_column
        row_at = tl.cast(start, tl.int64) * width + first_feature
        left = tl.load(high + at + place)
        right = tl.load(rows_high + row_at + row_place)
        # tensor cores truncate when they add, so they add one step, and a rounded addition here adds the steps
        part = dot(tl.load(low + at + place), right, tl.zeros([BLOCK_N, BLOCK_D], tl.float32))
        if HAS_LOW:
            part = dot(left, tl.load(rows_low + row_at + row_place), part)
        acc += dot(left, right, part)
    return acc


@triton.jit(do_not_specialize=["charges"])
def combine_points(
    b_high, b_low, q_high, q_low, xh, xl, gh, gl, yh, yl, b_columns, grads, rows, columns, width, charges, D,
    HAS_XL: tl.constexpr, HAS_YL: tl.constexpr, FIRST: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
):  # fmt: skip
    """grads [charges, D] = (y - c) sum_i b - b^T (x - c) - (q rho)^T g_v, added to the grads so far unless FIRST."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_N
    first_feature = tl.program_id(1).to(tl.int64) * BLOCK_D
    acc = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    acc = add_transposed(
        acc, b_high, b_low, xh, xl, rows, columns, width, first, first_feature, HAS_XL, BLOCK_N, BLOCK_D, BLOCK_M
    )  # fmt: skip
    acc = add_transposed(
        acc, q_high, q_low, gh, gl, rows, columns, width, first, first_feature, True, BLOCK_N, BLOCK_D, BLOCK_M
    )  # fmt: skip
    charge = first + tl.arange(0, BLOCK_N)
    feature = first_feature + tl.arange(0, BLOCK_D)
    own = tl.load(yh + charge[:, None] * width + feature[None, :]).to(tl.float32)
    if HAS_YL:
        own += tl.load(yl + charge[:, None] * width + feature[None, :]).to(tl.float32)
    acc = tl.load(b_columns + charge)[:, None] * own - acc
    inside = (charge < charges)[:, None] & (feature < D)[None, :]
    place = grads + charge[:, None] * D + feature[None, :]
    if not FIRST:
        acc += tl.load(place, mask=inside, other=0.0)
    tl.store(place, acc, mask=inside)


@triton.jit(do_not_specialize=["entries", "words"])
def add_marked(
    x, y, q, base, pivots, g_w, g_v, marks, grads, sums, D, entries, words, rate, second,
    POINTS: tl.constexpr, KIND: tl.constexpr, HAS_Q: tl.constexpr, NEEDS_GRAD: tl.constexpr, NEEDS_SUM: tl.constexpr,
    BLOCK: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Add the marked pairs of one point (POINTS) or one charge by direct difference, in a fixed order.

    ``grads`` are those of the points [rows, D], and ``sums`` [rows] float64 add b; or they are those of the charges,
    and ``sums`` [charges] add rho a. ``marks`` are [rows, words]; a point reads its ``entries`` words, a charge a bit
    of each of ``entries`` rows. A thread reads only gradients that it wrote itself.
    """
    own = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    shift = tl.arange(0, 32)
    column = tl.arange(0, BLOCK)
    side = tl.load(sums + own).to(tl.float64)
    for start in range(0, entries, LANES):
        entry = (start + lane).to(tl.int64)
        if POINTS:
            bits = tl.load(marks + own * words + entry, mask=entry < entries, other=0)
        else:
            bits = tl.load(marks + entry * words + own // 32, mask=entry < entries, other=0)
            bits = (bits >> (own % 32).to(tl.int32)) & 1
        first = tl.min(tl.where(bits != 0, lane, NONE), 0)
        while first < NONE:
            word = tl.sum(tl.where(lane == first, bits, 0), 0)
            if POINTS:
                lowest = tl.min(tl.where(((word >> shift) & 1) != 0, shift, 32), 0)
                i, j = own, ((start + first) * 32 + lowest).to(tl.int64)
            else:
                i, j = (start + first).to(tl.int64), own
            bits = tl.where(lane == first, bits & (word - 1), bits)
            first = tl.min(tl.where(bits != 0, lane, NONE), 0)
            squares = tl.zeros([BLOCK], tl.float64)
            dots = tl.zeros([BLOCK], tl.float32)
            for at in range(0, D, BLOCK):
                inside = at + column < D
                difference = tl.load(x + i * D + at + column, mask=inside, other=0.0).to(tl.float64)
                difference -= tl.load(y + j * D + at + column, mask=inside, other=0.0).to(tl.float64)
                squares += difference * difference
                dots += tl.load(g_v + i * D + at + column, mask=inside, other=0.0) * difference.to(tl.float32)
            r2 = tl.sum(squares, 0) + tl.load(base + i)
            pivot = tl.load(pivots + i)
            # a kernel with a pole has no gradient on a charge
            counts = (pivot > 0.0) & ~on_charge(r2, KIND)
            scale = tl.where(counts, pivot, 1.0)
            excess = tl.where(counts, r2 - pivot, 0.0).to(tl.float32)
            rho = tl.where(counts, excess_weight_far(excess, scale.to(tl.float32), rate, second, KIND), 0.0)
            a = tl.load(g_w + i) + tl.sum(dots, 0)
            weight = rho
            if HAS_Q:
                charge = tl.load(q + j)
                weight = tl.where(charge == 0.0, 0.0, rho * charge)
            b = 2.0 * slope(tl.where(counts, r2, 1.0).to(tl.float32), rate, second, KIND) * a
            b = tl.where(weight == 0.0, 0.0, b * weight)
            side += b if POINTS else rho * a
            if NEEDS_GRAD:
                for at in range(0, D, BLOCK):
                    inside = at + column < D
                    difference = tl.load(x + i * D + at + column, mask=inside, other=0.0)
                    difference -= tl.load(y + j * D + at + column, mask=inside, other=0.0).to(tl.float32)
                    moment = b * difference + weight * tl.load(
                        g_v + i * D + at + column, mask=inside, other=0.0
                    )
                    kept = tl.load(grads + own * D + at + column, mask=inside, other=0.0)
                    tl.store(
                        grads + own * D + at + column, kept + moment if POINTS else kept - moment, mask=inside
                    )
    if NEEDS_SUM:
        tl.store(sums + own, side)


@triton.jit(do_not_specialize=["N", "rows", "splits"])
def finish_points(
    x, centre, g_v, sums, b_sums, q_sums, grads, N, D, rows, width, splits,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """grads [N, D] += (x - c) sum_j b - sum_j b (y - c) + g_v sum_j q rho; the middle is ``sums`` [S, rows, width]."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = (row < N)[:, None] & (column < D)[None, :]
    place = row[:, None] * D + column[None, :]
    own = tl.load(x + place, mask=inside, other=0.0).to(tl.float64)
    own -= tl.load(centre + column, mask=column < D, other=0.0)[None, :]
    total = own * tl.load(b_sums + row, mask=row < N, other=0.0)[:, None]
    total += (
        tl.load(g_v + place, mask=inside, other=0.0) * tl.load(q_sums + row, mask=row < N, other=0.0)[:, None]
    )
    part = row
    for _ in range(0, splits):
        total -= tl.load(sums + part[:, None] * width + column[None, :], mask=inside, other=0.0)
        part += rows
    tl.store(grads + place, tl.load(grads + place, mask=inside, other=0.0) + total, mask=inside)
