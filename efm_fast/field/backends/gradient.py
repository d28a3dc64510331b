"""The backward pass of a field sum. It is a chunked sum over pairs too, with O((N + M) D) memory.

The log scale m is a pivot that carries no gradient: w and v are differentiated at fixed m. Whatever depends on
(m, w, v) only through e^m w and e^m v (log_weight, posterior_mean, merge, the capacitor field) then has its true
gradient. With d_ij = x_i - y_j, rho_ij = e^(l_ij - m_i), upstream gradients g_w and g_v, and k_ij = 2 dl/dr2
(-power / r2, or -1 / bandwidth^2),

    a_ij = g_w_i + g_v_i . d_ij                  b_ij = q_j rho_ij k_ij a_ij
    grad x_i =  sum_j b_ij d_ij + q_j rho_ij g_v_i        grad h_i = h_i sum_j b_ij
    grad y_j = -sum_i b_ij d_ij + q_j rho_ij g_v_i        grad q_j = sum_i rho_ij a_ij

Rows on a charge or without charges have an infinite m. Their w and v are constant there, so their gradients are 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..request import SumRequest
from . import reference

_DIRECT_DIMENSION = 16
_NEAREST = 8
_CHUNK_PAIRS = 1 << 21
_DIRECT_PAIRS = 1 << 18  # elementwise work is limited by memory, so a block should fit the cache
_CHUNK_CHARGES = 4096
_GATHER_ELEMENTS = 1 << 23
_NEGLIGIBLE = -60.0


@dataclass(frozen=True)
class Needs:
    """Which gradients are needed."""

    x: bool
    y: bool
    weight: bool
    height: bool


@dataclass(frozen=True)
class _Rows:
    """A block of points: features, upstream gradients, squared distance of the pivot, and the height's part of it."""

    x: Tensor
    g_w: Tensor
    g_v: Tensor
    pivot: Tensor  # float64, feature distance, height and softening together
    extra: Tensor  # float64, height and softening
    dead: Tensor  # bool, m is infinite


class _Gradients:
    """The sums that grow chunk by chunk."""

    def __init__(self, request: SumRequest, dtype: torch.dtype) -> None:
        n, d = request.x.shape
        self.x = torch.zeros(n, d, dtype=dtype, device=request.x.device)
        self.b = torch.zeros(n, dtype=dtype, device=request.x.device)
        self.y = torch.zeros(len(request.y), d, dtype=dtype, device=request.x.device)
        self.weight = torch.zeros(len(request.y), dtype=dtype, device=request.x.device)


def log_sum_backward(
    request: SumRequest, m: Tensor, g_w: Tensor, g_v: Tensor, needs: Needs
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients with respect to x [N, D], y [M, D], weight [M] and height [N]; zeros [0] for those not needed.

    Args:
        request: the sum.
        m: its log scale, float64 [N].
        g_w: upstream gradient of w, [N].
        g_v: upstream gradient of v, [N, D].
        needs: which gradients are needed.
    """
    dtype = torch.float64 if request.precision == "exact" else g_v.dtype
    request = replace(request, x=request.x.to(dtype))
    g_w, g_v = g_w.to(dtype), g_v.to(dtype)
    out = _Gradients(request, dtype)
    if len(request.x) and len(request.y):
        direct = request.x.shape[1] <= _DIRECT_DIMENSION
        chunk, pairs = (_direct_chunk, _DIRECT_PAIRS) if direct else (_gemm_chunk, _CHUNK_PAIRS)
        extra, pivot = reference.extra_r2(request), _pivot(request, m)
        dead = torch.isinf(m)
        width = min(_CHUNK_CHARGES, len(request.y))
        for rows in reference.blocks(len(request.x), max(1, pairs // width)):
            points = _Rows(request.x[rows], g_w[rows], g_v[rows], pivot[rows], extra[rows], dead[rows])
            for columns in reference.blocks(len(request.y), width):
                chunk(request, points, rows, columns, needs, out)
    height = request.height.to(dtype) * out.b if needs.height and request.height is not None else None
    wanted = (
        out.x if needs.x else None,
        out.y if needs.y else None,
        out.weight if needs.weight else None,
        height,
    )
    x, y, weight, height = (g_v.new_zeros(0) if gradient is None else gradient for gradient in wanted)
    return x, y, weight, height


def _pivot(request: SumRequest, m: Tensor) -> Tensor:
    """The squared distance whose log kernel is ``m``, 1 where m is infinite; float64 [N]."""
    return torch.where(torch.isinf(m), 1.0, request.kernel.reach(torch.where(torch.isinf(m), 0.0, m)))


def _pairs(
    request: SumRequest, points: _Rows, r2: Tensor, charge: Tensor, present: Tensor, a: Tensor, needs: Needs
) -> tuple[Tensor, Tensor, Tensor]:
    """rho, q rho and b of a block of pairs with feature distances ``r2``; zero where not ``present``."""
    excess = r2 - (points.pivot - points.extra)[:, None].to(r2.dtype)
    if not needs.weight:
        # only a charge of weight zero can be nearer than the pivot, and only its own gradient depends on it
        excess = excess.clamp_min(0.0)
    pivot = points.pivot[:, None].to(r2.dtype)
    logit = request.kernel.relative_log(excess, pivot)
    slope = request.kernel.slope(pivot + excess)
    # subnormal weights make exp and GEMM ten times slower
    rho = torch.exp(logit.masked_fill(~present | (logit < _NEGLIGIBLE), -torch.inf))
    weight = charge * rho
    return rho, weight, torch.where(weight != 0, weight * slope * a, 0.0).mul_(2.0)


def _presence(request: SumRequest, points: _Rows, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
    """Weight of each pair, and whether the pair counts. For gradients of weights it counts even at weight zero."""
    charge = reference.pair_weight(request, rows, columns, points.x.dtype)
    one = reference.pair_weight(replace(request, weight=None), rows, columns, points.x.dtype)
    return charge, (one != 0) & ~points.dead[:, None]


def _direct_chunk(
    request: SumRequest, points: _Rows, rows: slice, columns: slice, needs: Needs, out: _Gradients
) -> None:
    x, y = points.x, request.y[columns].to(points.x.dtype)
    charge, present = _presence(request, points, rows, columns)
    r2 = x.new_zeros(len(x), len(y))
    a = points.g_w[:, None].expand_as(r2).clone()
    for k in range(x.shape[1]):
        difference = x[:, k, None] - y[None, :, k]
        r2.addcmul_(difference, difference)
        a.addcmul_(points.g_v[:, k, None], difference)
    rho, weight, b = _pairs(request, points, r2, charge, present, a, needs)
    out.b[rows] += b.sum(1)
    out.x[rows] += weight.sum(1)[:, None] * points.g_v
    if needs.y:
        out.y[columns] -= weight.T @ points.g_v
    for k in range(x.shape[1]):
        moment = b * (x[:, k, None] - y[None, :, k])
        out.x[rows, k] += moment.sum(1)
        if needs.y:
            out.y[columns, k] -= moment.sum(0)
    if needs.weight:
        out.weight[columns] += (rho * a).sum(0)


def _gemm_chunk(
    request: SumRequest, points: _Rows, rows: slice, columns: slice, needs: Needs, out: _Gradients
) -> None:
    y = request.y[columns].to(points.x.dtype)
    charge, present = _presence(request, points, rows, columns)
    centre = y.mean(0)
    x_centred, y_centred = points.x - centre, y - centre
    r2 = torch.addmm((y_centred * y_centred).sum(1), x_centred, y_centred.T, alpha=-2.0)
    r2 = (r2 + (x_centred * x_centred).sum(1, keepdim=True)).clamp_min_(0.0)
    if request.precision != "fast":
        hidden = ~present if needs.weight else ~present | (charge == 0)
        index = r2.masked_fill(hidden, torch.inf).topk(min(_NEAREST, len(y)), dim=1, largest=False).indices
        near = charge.expand_as(present).gather(1, index), present.gather(1, index)
        _near_pairs(request, points, rows, columns, index, near, needs, out)
        present = present.scatter(1, index, False)
    offset = points.g_w + (points.g_v * x_centred).sum(1)
    a = offset[:, None] - points.g_v @ y_centred.T
    rho, weight, b = _pairs(request, points, r2, charge, present, a, needs)
    b_sum = b.sum(1)
    out.b[rows] += b_sum
    out.x[rows] += b_sum[:, None] * x_centred - b @ y_centred + weight.sum(1)[:, None] * points.g_v
    if needs.y:
        out.y[columns] += b.sum(0)[:, None] * y_centred - b.T @ x_centred - weight.T @ points.g_v
    if needs.weight:
        out.weight[columns] += (rho * a).sum(0)


def _near_pairs(
    request: SumRequest,
    points: _Rows,
    rows: slice,
    columns: slice,
    index: Tensor,
    near: tuple[Tensor, Tensor],
    needs: Needs,
    out: _Gradients,
) -> None:
    """Add the pairs of each point with charges ``index`` [rows, k] by direct difference, squares in float64.

    ``near`` holds the weights of those pairs and whether they count, as :func:`_presence` returns them.
    """
    charge, present = near
    y, dtype = request.y[columns], points.x.dtype
    for part in reference.blocks(len(index), max(1, _GATHER_ELEMENTS // (index.shape[1] * y.shape[1]))):
        block = _Rows(*(value[part] for value in vars(points).values()))
        difference = block.x[:, None, :] - y[index[part]].to(dtype)
        r2 = torch.linalg.vector_norm(difference, dim=2, dtype=torch.float64) ** 2
        a = block.g_w[:, None] + torch.einsum("nkd,nd->nk", difference, block.g_v)
        rho, weight, b = (
            value.to(dtype)
            for value in _pairs(request, block, r2, charge[part], present[part], a.double(), needs)
        )
        here = slice(rows.start + part.start, rows.start + part.stop)
        out.b[here] += b.sum(1)
        moment = b[:, :, None] * difference + weight[:, :, None] * block.g_v[:, None, :]
        out.x[here] += moment.sum(1)
        if needs.y:
            _add_rows(out.y[columns], index[part], -moment)
        if needs.weight:
            _add_rows(out.weight[columns], index[part], rho * a)


def _add_rows(total: Tensor, index: Tensor, values: Tensor) -> None:
    """``total[index] += values`` in a fixed order, so that results repeat bit for bit."""
    index, values = index.flatten(), values.flatten(0, 1)
    if total.device.type == "cpu":
        total.index_add_(0, index, values)
    else:
        total.index_put_((index,), values, accumulate=True)  # it sorts; index_add_ uses atomics
