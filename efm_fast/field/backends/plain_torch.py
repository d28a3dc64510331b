"""The backend that runs everywhere: plain torch over chunks of charges, with O((N + M) D) memory.

Up to D = 16 every pair is a direct difference. Above, a GEMM over centred data gives |y|^2 - 2 x.y. This is r2 less
|x|^2 and the height's square, which all charges of a point share and which stay in float64: the kernel's power would
multiply their rounding in float32 by (D + 1) / 2. The nearest charges of every chunk are computed again by direct
difference. Logits are relative to the nearest charge and computed by log1p, so that small differences keep their
digits.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ... import checks
from ..logsum import CentredSum, LogSum
from ..request import SumRequest, centre_of
from . import reference

_DIRECT_DIMENSION = 16
_NEAREST = 8  # charges per chunk and point that are computed again
_CHUNK_PAIRS = 1 << 22
_CHUNK_CHARGES = 8192
_GATHER_ELEMENTS = 1 << 24
# Logits below it are dropped (exp is below 2^-86), because subnormal weights make exp and GEMM ten times slower.
_NEGLIGIBLE = -60.0


def why_not(request: SumRequest) -> str | None:
    """Plain torch serves every device and dtype."""
    return None


def centred_sum(request: SumRequest) -> CentredSum:
    """The sum of ``request``: m and w float64 [N], displacements [N, D] in the dtype of the points."""
    n, d = request.x.shape
    dtype = request.x.dtype
    if request.precision == "exact":
        return CentredSum.of(reference.log_sum(request))
    total = CentredSum.of(LogSum.empty(n, d, dtype=dtype, device=request.x.device))
    if n == 0 or len(request.y) == 0:
        return total
    extra = reference.extra_r2(request)
    chunk = _direct_chunk
    if d > _DIRECT_DIMENSION:
        chunk = _gemm_chunk
        centre = centre_of(request.y) if request.centre is None else request.centre
        request = replace(request, centre=centre.to(dtype))
        total = replace(total, along=torch.zeros_like(total.w), centre=centre)
    width = max(256, min(_CHUNK_CHARGES, _CHUNK_PAIRS // n))
    for columns in reference.blocks(len(request.y), width):
        total = total.merge(_by_rows(chunk, request, extra, columns, width))
    return _spoilt(total, request, extra)


def _spoilt(total: CentredSum, request: SumRequest, extra: Tensor) -> CentredSum:
    """``total`` with NaN in every row whose point or charges are not finite; clamps and masks would hide them."""
    bad = ~(torch.isfinite(request.x).all(1) & torch.isfinite(extra))
    for part in (request.y, request.weight):
        if part is not None and part.is_floating_point():
            bad = bad | ~checks.is_finite(part).all()
    m, w = (torch.where(bad, torch.nan, part) for part in (total.m, total.w))
    along = None if total.along is None else torch.where(bad, torch.nan, total.along)
    return CentredSum(m, w, along, torch.where(bad[:, None], torch.nan, total.rest), total.centre)


def _by_rows(chunk, request: SumRequest, extra: Tensor, columns: slice, width: int) -> CentredSum:  # type: ignore[no-untyped-def]
    """Apply ``chunk`` to blocks of points, so that a block has at most _CHUNK_PAIRS pairs."""
    rows = list(reference.blocks(len(request.x), max(1, _CHUNK_PAIRS // width)))
    return CentredSum.rows([chunk(request, extra, block, columns) for block in rows])


def _relative_weight(request: SumRequest, excess: Tensor, pivot: Tensor) -> Tensor:
    """e^(l - l_pivot) of ``excess`` = r2 - r2_pivot >= 0 and the pivot's r2 [rows], which may be 0."""
    logit = request.kernel.relative_log(excess, pivot[:, None])
    return torch.exp(logit.masked_fill(logit < _NEGLIGIBLE, -torch.inf))


def _direct_chunk(request: SumRequest, extra: Tensor, rows: slice, columns: slice) -> CentredSum:
    x, y = request.x[rows], request.y[columns].to(request.x.dtype)
    charge = reference.pair_weight(request, rows, columns, x.dtype)
    r2 = torch.zeros(len(x), len(y), dtype=x.dtype, device=x.device)
    for k in range(x.shape[1]):
        difference = x[:, k, None] - y[None, :, k]
        r2.addcmul_(difference, difference)
    masked = torch.where(charge != 0, r2, torch.inf)
    nearest = masked.amin(1)
    pivot = nearest.double() + extra[rows]
    weight = charge * _relative_weight(request, masked - nearest[:, None], pivot)
    v = [((x[:, k, None] - y[None, :, k]) * weight).sum(1) for k in range(x.shape[1])]
    return _pivoted(request, pivot, weight.sum(1, dtype=torch.float64), None, torch.stack(v, 1))


def _pivoted(request: SumRequest, pivot: Tensor, w: Tensor, along: Tensor | None, rest: Tensor) -> CentredSum:
    """The sum with log scale whose parts are relative to the kernel at r2 = ``pivot``; +inf where no charge counts."""
    m = request.kernel.log_kernel(pivot)
    counted = torch.isfinite(pivot) | pivot.isnan()
    return CentredSum(
        m,
        torch.where(counted, w, 0.0),
        None if along is None else torch.where(counted, along, 0.0),
        torch.where(counted[:, None], rest, 0.0),
        None if along is None else request.centre,
    )


def _gemm_chunk(request: SumRequest, extra: Tensor, rows: slice, columns: slice) -> CentredSum:
    x, y = request.x[rows], request.y[columns].to(request.x.dtype)
    charge = reference.pair_weight(request, rows, columns, x.dtype)
    centre = request.centre
    assert centre is not None
    apart = x.double() - centre.double()
    x2 = (apart * apart).sum(1)
    x_centred, y_centred = apart.to(x.dtype), y - centre
    relative = torch.addmm(
        (y_centred * y_centred).sum(1), x_centred, y_centred.T, alpha=-2.0
    )  # r2 - |x - c|^2
    relative = relative.masked_fill_((charge == 0).expand_as(relative), torch.inf)

    if request.precision == "fast":
        nearest = (relative.amin(1) + x2).clamp_min(0.0)
        near_w, near_along = torch.zeros_like(x2), torch.zeros_like(x2)
        near_rest = torch.zeros_like(x)
    else:
        index = relative.topk(min(_NEAREST, len(y)), dim=1, largest=False, sorted=False).indices
        relative.scatter_(1, index, torch.inf)
        near_charge = charge.expand_as(relative).gather(1, index)
        nearest, near_w, near_along, near_rest = _rescore(
            request, extra[rows], x, x2, centre, y, index, near_charge
        )

    pivot = nearest + extra[rows]
    shift = (nearest - x2).to(relative.dtype)
    excess = (relative - shift[:, None]).nan_to_num_(nan=torch.inf, posinf=torch.inf).clamp_min_(0.0)
    weight = charge * _relative_weight(request, excess, pivot)
    w = weight.sum(1, dtype=torch.float64)
    return _pivoted(request, pivot, w + near_w, w + near_along, near_rest - weight @ y_centred)


def _rescore(
    request: SumRequest,
    extra: Tensor,
    x: Tensor,
    x2: Tensor,
    centre: Tensor,
    y: Tensor,
    index: Tensor,
    charge: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nearest squared distance, and w, along and rest of the charges ``index`` [N, k] by direct difference.

    Differences, squares and sums are float64. So two charges at nearly the same distance are told apart at any D, and
    far from all charges the difference of two plates' log scales keeps its digits. ``x2`` is |x - centre|^2.
    """
    n, k = index.shape
    parts = []
    for rows in reference.blocks(n, max(1, _GATHER_ELEMENTS // (k * x.shape[1]))):
        near = y[index[rows]]
        square = (x[rows, None, :].double() - near.double()).square_().sum(2)
        square = torch.where(charge[rows] != 0, square, torch.inf)
        nearest = square.amin(1)
        excess = torch.where(square == nearest[:, None], 0.0, square - nearest[:, None])
        weight = charge[rows] * _relative_weight(request, excess, nearest + extra[rows])
        # differences from a near charge are small and summed as x - y; those from far charges are summed as
        # centre - y, because they share the large part x - centre
        far = 4.0 * nearest > x2[rows]
        origin = torch.where(far[:, None], centre, x[rows])
        rest = torch.einsum("nk,nkd->nd", weight.to(x.dtype), origin[:, None, :] - near)
        w = weight.sum(1)
        parts.append((nearest, w, torch.where(far, w, 0.0), rest))
    nearest, w, along, rest = (torch.cat(column) for column in zip(*parts, strict=True))
    return nearest, w, along, rest
