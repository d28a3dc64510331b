"""The twin that runs everywhere: plain torch, chunks of charges, O((N + M) D) memory.

Up to D = 16 every pair is a direct difference. Above, squared distances come from a GEMM over centred data
and the nearest charges of every chunk are rescored by direct difference: the kernel's power multiplies the
relative error of r2 by about (D + 1) / 2, and the cancellation in |x|^2 + |y|^2 - 2 x.y is what limits float32.
Logits are taken relative to the nearest charge, through log1p, so that they have no step of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import RieszSum
from . import reference
from .request import SumRequest

_DIRECT_DIMENSION = 16
_NEAREST = 8  # rescored charges per chunk and point
_CHUNK_PAIRS = 1 << 22
_CHUNK_CHARGES = 8192
_GATHER_ELEMENTS = 1 << 24
_NEGLIGIBLE = -60.0  # exp of less is under 2^-86: dropped, for subnormal weights slow exp and GEMM tenfold


def why_not(request: SumRequest) -> str | None:
    """Plain torch serves every device and dtype."""
    return None


def riesz_sum(request: SumRequest) -> RieszSum:
    """The sum of ``request`` in the dtype of its points: m float64 [N], w [N], v [N, D]."""
    n, d = request.x.shape
    if request.precision == "exact":
        exact = reference.riesz_sum(request)
        return RieszSum(exact.m, exact.w.to(request.x.dtype), exact.v.to(request.x.dtype))
    total = RieszSum.empty(n, d, dtype=request.x.dtype, device=request.x.device)
    if n == 0:
        return total
    extra = reference.extra_r2(request)
    direct = d <= _DIRECT_DIMENSION
    width = max(256, min(_CHUNK_CHARGES, _CHUNK_PAIRS // n))
    for columns in reference.blocks(len(request.y), width):
        chunk = _direct_chunk if direct else _gemm_chunk
        total = total.merge(_by_rows(chunk, request, extra, columns, width))
    return total


def _by_rows(chunk, request: SumRequest, extra: Tensor, columns: slice, width: int) -> RieszSum:  # type: ignore[no-untyped-def]
    """Apply ``chunk`` to blocks of points, so that a block of pairs never outgrows _CHUNK_PAIRS."""
    rows = list(reference.blocks(len(request.x), max(1, _CHUNK_PAIRS // width)))
    parts = [chunk(request, extra, block, columns) for block in rows]
    if len(parts) == 1:
        return parts[0]
    return RieszSum(*(torch.cat([getattr(p, name) for p in parts]) for name in ("m", "w", "v")))


def _relative_logit(request: SumRequest, excess: Tensor, pivot: Tensor) -> Tensor:
    """l - l_pivot from ``excess`` = r2 - r2_pivot and the pivot's r2 [rows], where r2_pivot may be 0."""
    if request.kernel == "gaussian":
        return excess / (-2.0 * request.bandwidth**2)
    ratio = torch.where(excess == 0, 0.0, excess / pivot[:, None].to(excess.dtype))
    return -0.5 * request.power * torch.log1p(ratio.clamp_min(0.0))


def _exponentiate(logit: Tensor) -> Tensor:
    return torch.exp(logit.masked_fill(logit < _NEGLIGIBLE, -torch.inf))


def _direct_chunk(request: SumRequest, extra: Tensor, rows: slice, columns: slice) -> RieszSum:
    x, y = request.x[rows], request.y[columns].to(request.x.dtype)
    charge = reference.pair_weight(request, rows, columns, x.dtype)
    r2 = torch.zeros(len(x), len(y), dtype=x.dtype, device=x.device)
    for k in range(x.shape[1]):
        difference = x[:, k, None] - y[None, :, k]
        r2.addcmul_(difference, difference)
    masked = torch.where(charge != 0, r2, torch.inf)
    nearest = masked.amin(1)
    pivot = nearest.double() + extra[rows]
    weight = charge * _exponentiate(_relative_logit(request, masked - nearest[:, None], pivot))
    v = [((x[:, k, None] - y[None, :, k]) * weight).sum(1) for k in range(x.shape[1])]
    return _pivoted(request, pivot, weight.sum(1), torch.stack(v, 1))


def _pivoted(request: SumRequest, pivot: Tensor, w: Tensor, v: Tensor) -> RieszSum:
    """Name the log scale of sums taken relative to r2 = ``pivot``, which is +inf where no charge counts."""
    m = reference.log_kernel(request, pivot)
    counted = torch.isfinite(pivot)
    w = torch.where(counted | pivot.isnan(), w, 0.0)
    v = torch.where((counted | pivot.isnan())[:, None], v, 0.0)
    return RieszSum(m, w, v)


def _gemm_chunk(request: SumRequest, extra: Tensor, rows: slice, columns: slice) -> RieszSum:
    x, y = request.x[rows], request.y[columns].to(request.x.dtype)
    charge = reference.pair_weight(request, rows, columns, x.dtype)
    centre = y.mean(0)
    x_centred, y_centred = x - centre, y - centre
    r2 = torch.addmm((y_centred * y_centred).sum(1), x_centred, y_centred.T, alpha=-2.0)
    r2 = (r2 + (x_centred * x_centred).sum(1, keepdim=True)).clamp_min_(0.0)
    r2 = r2.masked_fill_((charge == 0).expand_as(r2), torch.inf)

    if request.precision == "fast":
        nearest = r2.amin(1).double()
        near_w, near_v = torch.zeros_like(x[:, 0]), torch.zeros_like(x)
    else:
        index = r2.topk(min(_NEAREST, len(y)), dim=1, largest=False, sorted=False).indices
        r2.scatter_(1, index, torch.inf)
        near_charge = charge.expand_as(r2).gather(1, index)
        nearest, near_w, near_v = _rescore(request, extra[rows], x, y, index, near_charge)

    pivot = nearest + extra[rows]
    excess = (r2 - nearest[:, None].to(r2.dtype)).nan_to_num_(nan=torch.inf, posinf=torch.inf)
    weight = charge * _exponentiate(_relative_logit(request, excess, pivot))
    w = weight.sum(1)
    v = w[:, None] * x_centred - weight @ y_centred
    return _pivoted(request, pivot, w + near_w, v + near_v)


def _rescore(
    request: SumRequest, extra: Tensor, x: Tensor, y: Tensor, index: Tensor, charge: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest squared distance, and the sums over charges ``index`` [N, k] by direct difference.

    float32 differences of the stored values, squared and added in float64: the two charges nearest to a tie
    are told apart at any D.
    """
    n, k = index.shape
    parts = []
    for rows in reference.blocks(n, max(1, _GATHER_ELEMENTS // (k * x.shape[1]))):
        difference = x[rows, None, :] - y[index[rows]]
        square = torch.linalg.vector_norm(difference, dim=2, dtype=torch.float64) ** 2
        square = torch.where(charge[rows] != 0, square, torch.inf)
        nearest = square.amin(1)
        excess = torch.where(square == nearest[:, None], 0.0, square - nearest[:, None])
        logit = _relative_logit(request, excess, nearest + extra[rows])
        weight = charge[rows] * _exponentiate(logit).to(x.dtype)
        parts.append((nearest, weight.sum(1), torch.einsum("nk,nkd->nd", weight, difference)))
    nearest, w, v = (torch.cat(column) for column in zip(*parts, strict=True))
    return nearest, w, v
