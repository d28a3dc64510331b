# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Gradients of a sum over charges: coefficients of every pair, then a reduction over charges and one over points.

With d_ij = x_i - y_j, rho_ij = e^(l_ij - m_i) at fixed m, k_ij = 2 dl_ij / dr2_ij, and upstream gradients g_w
and g_v:  a_ij = g_w_i + g_v_i . d_ij,  b_ij = q_j rho_ij k_ij a_ij,

    grad x_i =  sum_j b_ij d_ij + q_j rho_ij g_v_i         grad h_i = h_i sum_j b_ij
    grad y_j = -sum_i b_ij d_ij + q_j rho_ij g_v_i         grad q_j = sum_i rho_ij a_ij
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kernel import excess_weight, excess_weight_far, on_charge, slope


@triton.jit(do_not_specialize=["N", "C", "self_offset"])
def pair_coefficients(
    x, y, q, base, pivots, g_w, g_v, b, q_rho, rho_a, N, C, D, columns, self_offset, rate, second,
    KIND: tl.constexpr, HAS_Q: tl.constexpr, HAS_SELF: tl.constexpr, NEEDS_Q: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """b, q rho and (NEEDS_Q) rho a of a block of pairs, each [N, columns]; zero beyond C charges.

    ``base`` is height^2 + softening^2, and ``pivots`` is the r2 whose log kernel is m, both [N] float64; rows with a
    pivot of 0 are left out. Squared distances are direct differences, summed in float32 within STEP features and in
    float64 beyond.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    column = tl.program_id(1).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    in_rows = row < N
    in_columns = column < C
    pivot = tl.load(pivots + row, mask=in_rows, other=0.0)[:, None]
    r2 = tl.zeros([BLOCK_N, BLOCK_M], tl.float64) + tl.load(base + row, mask=in_rows, other=0.0)[:, None]
    a = tl.zeros([BLOCK_N, BLOCK_M], tl.float32) + tl.load(g_w + row, mask=in_rows, other=0.0)[:, None]
    for start in range(0, D, STEP):
        part = tl.zeros([BLOCK_N, BLOCK_M], tl.float32)
        for feature in range(start, tl.minimum(start + STEP, D)):
            own = tl.load(x + row * D + feature, mask=in_rows, other=0.0)
            upstream = tl.load(g_v + row * D + feature, mask=in_rows, other=0.0)
            other = tl.load(y + column * D + feature, mask=in_columns, other=0.0).to(tl.float32)
            difference = own[:, None] - other[None, :]
            part += difference * difference
            a += upstream[:, None] * difference
        r2 += part.to(tl.float64)
    # a kernel with a pole has no gradient on a charge; the others have their largest weight there
    counts = (pivot > 0.0) & in_columns[None, :] & ~on_charge(r2, KIND)
    if HAS_SELF:
        counts = counts & (column[None, :] + self_offset != row[:, None])
    scale = tl.where(pivot > 0.0, pivot, 1.0).to(tl.float32)
    excess = (r2 - pivot).to(tl.float32)
    if HAS_Q:
        rho = excess_weight_far(excess, scale, rate, second, KIND)
    else:
        rho = excess_weight(excess, scale, rate, second, KIND)
    rho = tl.where(counts, rho, 0.0)
    k_rho = 2.0 * slope(tl.where(counts, r2, 1.0).to(tl.float32), rate, second, KIND) * rho
    if HAS_Q:
        charge = tl.load(q + column, mask=in_columns, other=0.0)[None, :]
        k_rho = tl.where(charge == 0.0, 0.0, k_rho * charge)
        signed = tl.where(charge == 0.0, 0.0, rho * charge)
    else:
        signed = rho
    place = row[:, None] * columns + column[None, :]
    held = in_rows[:, None] & (column < columns)[None, :]
    tl.store(b + place, k_rho * a, mask=held)
    tl.store(q_rho + place, signed, mask=held)
    if NEEDS_Q:
        tl.store(rho_a + place, rho * a, mask=held)


@triton.jit(do_not_specialize=["N", "count", "per_split"])
def gather(
    own, other, g_v, b, q_rho, rho_a, grads, grad_sums, N, count, per_split, D, own_stride, other_stride,
    POINTS: tl.constexpr, NEEDS_SUM: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Reduce pair coefficients over their other index, ``per_split`` entries per program, to ``grads`` [S, N, D].

    With POINTS, ``own`` are points, ``other`` are charges, and grad_sums [S, N] are sum_j b. Without, ``own`` are
    charges, grads are the negative gradients, and grad_sums, if NEEDS_SUM, are sum_i rho a.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_rows = row < N
    in_columns = column < D
    both = in_rows[:, None] & in_columns[None, :]
    place = row[:, None] * D + column[None, :]
    mine = tl.load(own + place, mask=both, other=0.0).to(tl.float32)
    acc = tl.zeros([BLOCK_N, BLOCK_D], tl.float32)
    side = tl.zeros([BLOCK_N], tl.float32)
    if POINTS:
        upstream = tl.load(g_v + place, mask=both, other=0.0)
    split = tl.program_id(2).to(tl.int64)
    begin = split * per_split
    at = row * own_stride + begin * other_stride
    theirs = column.to(tl.int64) + begin * D
    for _ in range(begin, tl.minimum(begin + per_split, count)):
        factor = tl.load(b + at, mask=in_rows, other=0.0)
        weight = tl.load(q_rho + at, mask=in_rows, other=0.0)
        there = tl.load(other + theirs, mask=in_columns, other=0.0).to(tl.float32)
        acc += factor[:, None] * (mine - there[None, :])
        if POINTS:
            acc += weight[:, None] * upstream
            side += factor
        else:
            # own - other is y - x here, so the sign is reversed
            acc -= weight[:, None] * tl.load(g_v + theirs, mask=in_columns, other=0.0)[None, :]
            if NEEDS_SUM:
                side += tl.load(rho_a + at, mask=in_rows, other=0.0)
        at += other_stride
        theirs += D
    tl.store(grads + split * N * D + place, acc, mask=both)
    if NEEDS_SUM and tl.program_id(1) == 0:
        tl.store(grad_sums + split * N + row, side, mask=in_rows)
