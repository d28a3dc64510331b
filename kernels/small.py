# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Few features (D up to 16): direct differences in registers, one thread per point, no matrix product.

A tile is [charges, points] with points along the threads. Each reduction over charges is then inside one thread, and a
charge is loaded once and broadcast.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kernel import BIG, RATIO, TINY, excess_weight, outweighs, ratio_weight


@triton.jit
def _tile(
    xs, own, base, slack, rows, j, y, q, M, first_self, rate, second, nearest, pivot, total, vs,
    D: tl.constexpr, KIND: tl.constexpr, POWER: tl.constexpr, HAS_Q: tl.constexpr, HAS_SELF: tl.constexpr,
    TAIL: tl.constexpr,
):  # fmt: skip
    """Add one tile of charges to the running (nearest, pivot, sum of weights, sums of displacements) of each point.

    Numbers of points are [1, BLOCK_N], all in one register layout, so that threads exchange nothing. Heights are part
    of ``own``, from which r2 starts, or are kept apart in ``base`` if the form uses differences of r2.
    """
    MASKED: tl.constexpr = HAS_Q or HAS_SELF or TAIL
    inside = j < M
    j64 = j.to(tl.int64)
    ys = ()
    for d in tl.static_range(D):
        ys += (tl.load(y + j64 * D + d, mask=inside, other=0.0).to(tl.float32)[:, None],)
    r2 = own
    for d in tl.static_range(D):
        difference = xs[d] - ys[d]
        r2 += difference * difference
    if MASKED:
        counts = inside[:, None]
        if HAS_Q:
            charge = tl.load(q + j64, mask=inside, other=0.0)[:, None]
            counts = counts & (charge != 0.0)
        if HAS_SELF:
            counts = counts & (j64[:, None] + first_self != rows)
        r2 = tl.where(counts, r2, BIG)
    least = tl.min(r2, 0, keep_dims=True)
    nearest = tl.minimum(nearest, least)
    moves = outweighs(least, pivot, base, slack, KIND)
    new_pivot = tl.where(moves, least, pivot)
    if KIND <= RATIO:
        inverse = 1.0 / new_pivot
        rescale = ratio_weight(pivot, inverse, rate, POWER)
        weight = ratio_weight(r2, inverse, rate, POWER)
    else:
        rescale = excess_weight(pivot - new_pivot, new_pivot + base, rate, second, KIND)
        weight = excess_weight(r2 - new_pivot, new_pivot + base, rate, second, KIND)
    # exactly 1 where the pivot stays, because a rounding error would be repeated with every tile
    rescale = tl.where(moves, rescale, 1.0)
    if MASKED:
        weight = tl.where(counts, weight, 0.0)
        if HAS_Q:
            weight *= charge
    total = total * rescale + tl.sum(weight, 0, keep_dims=True)
    sums = ()
    for d in tl.static_range(D):
        sums += (vs[d] * rescale + tl.sum(weight * (xs[d] - ys[d]), 0, keep_dims=True),)
    return nearest, new_pivot, total, sums


@triton.jit(do_not_specialize=["N", "M", "per_split", "first_self"])
def sum_small(
    x, y, q, height, nearest, pivots, totals, sums, N, M, per_split, first_self, rate, second, slack, softening2,
    D: tl.constexpr, KIND: tl.constexpr, POWER: tl.constexpr, HAS_Q: tl.constexpr, HAS_HEIGHT: tl.constexpr,
    HAS_SELF: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Partial sums of one block of points over one split of the charges.

    Writes the smallest r2, ``nearest``, the r2 to which sums are relative, ``pivots``, both [S, N] float64, and totals
    [S, N] and sums [S, N, D] float32. The pivot moves only to an r2 below ``slack`` times its own, or for the Gaussian
    kernel smaller by more than ``slack``, because every move rounds the sums so far in the same direction.
    """
    APART: tl.constexpr = KIND > RATIO
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    split = tl.program_id(1).to(tl.int64)
    valid = rows < N
    xs = ()
    vs = ()
    for d in tl.static_range(D):
        xs += (tl.load(x + rows * D + d, mask=valid, other=0.0),)
        vs += (tl.zeros([1, BLOCK_N], tl.float32),)
    base64 = tl.full([1, BLOCK_N], softening2, tl.float64)
    if HAS_HEIGHT:
        h = tl.load(height + rows, mask=valid, other=0.0).to(tl.float64)
        base64 += h * h
    base = base64.to(tl.float32)
    own = tl.full([1, BLOCK_N], TINY, tl.float32)
    if not APART:
        own += base
        base = 0.0
    least = tl.full([1, BLOCK_N], BIG, tl.float32)
    pivot = tl.full([1, BLOCK_N], BIG, tl.float32)
    total = tl.zeros([1, BLOCK_N], tl.float32)
    first = (split * per_split).to(tl.int32)
    last = tl.minimum(first + per_split, M)
    full = first + (last - first) // BLOCK_M * BLOCK_M
    for start in range(first, full, BLOCK_M):
        least, pivot, total, vs = _tile(
            xs, own, base, slack, rows, start + tl.arange(0, BLOCK_M), y, q, M, first_self, rate, second, least,
            pivot, total, vs, D, KIND, POWER, HAS_Q, HAS_SELF, False,
        )  # fmt: skip
    if full < last:
        least, pivot, total, vs = _tile(
            xs, own, base, slack, rows, full + tl.arange(0, BLOCK_M), y, q, last, first_self, rate, second, least,
            pivot, total, vs, D, KIND, POWER, HAS_Q, HAS_SELF, True,
        )  # fmt: skip
    place = split * N + rows
    some = least < BIG
    if APART:
        reached, scale = least.to(tl.float64) + base64, pivot.to(tl.float64) + base64
    else:
        # weights are relative to the rounded reciprocal
        scale = 1.0 / (1.0 / pivot).to(tl.float64)
        reached = tl.where(least == pivot, scale, least.to(tl.float64))
    tl.store(nearest + place, tl.where(some, reached, BIG), mask=valid)
    tl.store(pivots + place, tl.where(some, scale, BIG), mask=valid)
    tl.store(totals + place, total, mask=valid)
    for d in tl.static_range(D):
        tl.store(sums + place * D + d, vs[d], mask=valid)
