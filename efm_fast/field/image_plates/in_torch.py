"""Sums over images in plain torch: the float64 reference, the sum that runs everywhere, and the gradient.

Weights are relative to the pivot, the nearest image of the nearest charge. A pair whose squared distance over features
is ``nearest + excess`` has on plate k a coefficient, which depends on the heights only, times
(1 + excess / (nearest + h_k^2))^(-power / 2). The digits of this factor do not depend on how large the heights are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..backends.reference import blocks
from .request import ImageRequest, coefficients

_DIRECT_DIMENSION = 16
_NEAREST = 8  # charges of each point whose squared distance is computed again by direct difference
_BLOCK_PAIRS = 1 << 19
_GRADIENT_ENTRIES = 1 << 21  # pairs times plates that a block of the backward pass keeps
_DIFFERENCES = 1 << 21

Sums = tuple[Tensor, Tensor, Tensor, Tensor]


def direct_sum(request: ImageRequest) -> Sums:
    """m, w, u [N] and v [N, D], float64, by direct differences and logarithms of every image."""
    x, y = request.x.double(), request.y.double()
    charge = _charge(request, torch.float64)
    parts = []
    for rows in blocks(len(x), max(1, _DIFFERENCES // max(1, len(y) * (x.shape[1] + len(request.signs))))):
        difference = x[rows, None] - y[None]
        height = request.heights[rows, None]
        r2 = difference.square().sum(2)[:, :, None] + height.square()
        image = (charge[:, None] * request.signs).expand_as(r2)
        log = (-0.5 * request.power * torch.log(r2)).masked_fill(image == 0, -torch.inf)
        m = log.flatten(1).amax(1) if len(y) else log.new_full((len(log),), -torch.inf)
        pole = log == m[:, None, None]
        weight = image * torch.exp(torch.where(pole, 0.0, log - m[:, None, None]))
        w, u = weight.sum((1, 2)), (weight * height).sum((1, 2))
        parts.append((m, w, u, torch.einsum("nm,nmd->nd", weight.sum(2), difference)))
    return _joined(request, parts, torch.float64)


def image_sum(request: ImageRequest) -> Sums:
    """m [N] float64, w, u [N] and v [N, D] in the dtype of the points; one distance for each pair."""
    x, y = request.x, request.y
    if len(y) == 0:
        return _joined(request, [], x.dtype)
    centre = y.detach().mean(0)
    parts = []
    for rows in blocks(len(x), max(1, _BLOCK_PAIRS // len(y))):
        parts.append(_rows(request, rows, y - centre, centre))
    return _joined(request, parts, x.dtype)


def _rows(request: ImageRequest, rows: slice, y: Tensor, centre: Tensor) -> Sums:
    """The sums at a block of points, of charges ``y`` about ``centre``."""
    x = request.x[rows] - centre
    near, excess = _distances(request, x, y)
    part = ImageRequest(x, y, request.heights[rows], request.signs, request.weight, request.power)
    pivot, whole, first = coefficients(part, near)
    by_height = first * part.heights
    weights = [torch.zeros_like(excess) for _ in range(2)]
    for k in range(len(part.signs)):
        scale = torch.where(whole[:, k] > 0, whole[:, k], 1.0)
        relative = _power((excess / scale[:, None].to(x.dtype)).add_(1.0), part.power)
        for total, column in zip(weights, (first, by_height), strict=True):
            total.addcmul_(relative, column[:, k, None].to(x.dtype))
    if part.weight is not None:
        weights = [weight * part.weight for weight in weights]
    w, u = (weight.sum(1) for weight in weights)
    if bool((pivot == 0).any()):  # such points lie on charges, whose weight they get
        here = (excess == 0) * _charge(part, x.dtype)
        w = torch.where(pivot == 0, here.sum(1) * first.sum(1).to(x.dtype), w)
    v = w[:, None] * x - weights[0] @ y
    if x.shape[1] <= _DIRECT_DIMENSION:
        # a product would lose the small differences from near charges
        v = torch.stack([((x[:, d, None] - y[None, :, d]) * weights[0]).sum(1) for d in range(x.shape[1])], 1)
    m = -0.5 * part.power * torch.log(pivot)
    return m, w, u, v


def _distances(request: ImageRequest, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest squared distance over features, float64 [rows], and every pair's excess over it, [rows, M]."""
    if x.shape[1] <= _DIRECT_DIMENSION:
        r2 = torch.zeros(len(x), len(y), dtype=x.dtype, device=x.device)
        for d in range(x.shape[1]):
            difference = x[:, d, None] - y[None, :, d]
            r2.addcmul_(difference, difference)
        nearest = r2.amin(1)
        return nearest.double(), r2 - nearest[:, None]
    r2 = torch.addmm(y.square().sum(1), x, y.T, alpha=-2.0)
    index = r2.topk(min(_NEAREST, len(y)), dim=1, largest=False).indices
    nearest = x.new_zeros(len(x), dtype=torch.float64)
    exact = torch.empty(index.shape, dtype=torch.float64, device=x.device)
    for rows in blocks(len(x), max(1, _DIFFERENCES // (index.shape[1] * x.shape[1]))):
        exact[rows] = (x[rows, None].double() - y[index[rows]].double()).square().sum(2)
    nearest = exact.amin(1)
    shift = nearest - x.double().square().sum(1)
    excess = (r2 - shift[:, None].to(r2.dtype)).clamp_min_(0.0)
    return nearest, excess.scatter_(1, index, (exact - nearest[:, None]).to(excess.dtype))


def _power(ratio: Tensor, power: float) -> Tensor:
    """ratio^(-power / 2) for a ratio of at least 1; in place."""
    if power in (2.0, 3.0):
        root = ratio.rsqrt_()
        return root * root * root if power == 3.0 else root.square_()
    return ratio.log_().mul_(-0.5 * power).exp_()


def _charge(request: ImageRequest, dtype: torch.dtype) -> Tensor:
    weight = request.weight
    return request.y.new_ones(len(request.y), dtype=dtype) if weight is None else weight.to(dtype)


def _joined(request: ImageRequest, parts: Sequence[Sums], dtype: torch.dtype) -> Sums:
    """Blocks of rows joined to one. Rows on an image have only its weight; rows that are not finite are NaN."""
    n, d = request.x.shape
    if len(request.y) == 0 or n == 0:
        zeros = request.x.new_zeros(n, dtype=dtype)
        return zeros.double() - torch.inf, zeros, zeros.clone(), request.x.new_zeros(n, d, dtype=dtype)
    m, w, u, v = (torch.cat(column) for column in zip(*parts, strict=True))
    on = m == torch.inf
    return m, w, torch.where(on, 0.0, u), torch.where(on[:, None], 0.0, v)


def backward(
    m: Tensor,
    tensors: Sequence[Tensor | None],
    power: float,
    gradients: Sequence[Tensor],
    needs: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of w, u and v at fixed m with respect to x, y, heights, signs and weight; None for those not needed.

    Squared distances and weights are float64 for points of any dtype. Rows whose m is infinite have no gradient.

    Args:
        m: log scale, float64 [N].
        tensors: x, y, heights, signs and weight, the last perhaps None.
        power: exponent of the distance.
        gradients: upstream gradients of w [N], u [N] and v [N, D].
        needs: which gradients are needed.
    """
    leaves = [None if t is None else t.detach().double() for t in tensors]
    totals = [
        torch.zeros_like(leaf) if leaf is not None and need else None
        for leaf, need in zip(leaves, needs, strict=True)
    ]
    x, y, _, signs, _ = leaves
    assert x is not None
    assert y is not None
    assert signs is not None
    size = max(1, _GRADIENT_ENTRIES // max(1, len(y) * len(signs)))
    for rows in blocks(len(x), size):
        block = [leaf[rows] if leaf is not None and k in (0, 2) else leaf for k, leaf in enumerate(leaves)]
        wanted = [k for k, total in enumerate(totals) if total is not None]
        with torch.enable_grad():
            inputs = [
                None if leaf is None else leaf.requires_grad_(k in wanted)
                for k, leaf in enumerate(_own(block))
            ]
            loss = _weighed(inputs, m[rows], power, [g[rows].double() for g in gradients])
            found = torch.autograd.grad(loss, [inputs[k] for k in wanted], allow_unused=True)  # type: ignore[arg-type]
        for k, gradient in zip(wanted, found, strict=True):
            total = totals[k]
            if gradient is not None and total is not None:
                (total[rows] if k in (0, 2) else total).add_(gradient)
    return tuple(
        None if total is None or t is None else total.to(t.dtype)
        for total, t in zip(totals, tensors, strict=True)
    )


def _own(block: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [None if leaf is None else leaf.detach().clone() for leaf in block]


def _weighed(inputs: Sequence[Tensor | None], m: Tensor, power: float, gradients: Sequence[Tensor]) -> Tensor:
    """The sum of w, u and v times their upstream gradients, differentiable by autograd."""
    x, y, heights, signs, weight = inputs
    assert x is not None
    assert y is not None
    assert heights is not None
    assert signs is not None
    alive = torch.isfinite(m)
    centre = y.detach().mean(0)
    a, b = x - centre, y - centre
    r2 = (a.square().sum(1)[:, None] + b.square().sum(1) - 2.0 * a @ b.T).clamp_min(0.0)
    whole = torch.where(alive[:, None, None], r2[:, :, None] + heights[:, None].square(), 1.0)
    base = torch.where(alive, m, 0.0)[:, None, None]
    image = signs * torch.exp(-0.5 * power * torch.log(whole) - base)
    if weight is not None:
        image = image * weight[:, None]
    by_charge = image.sum(2)
    g_w, g_u, g_v = gradients
    displacement = by_charge.sum(1)[:, None] * a - by_charge @ b
    rows = by_charge.sum(1) * g_w + (image * heights[:, None]).sum((1, 2)) * g_u + (displacement * g_v).sum(1)
    return torch.where(alive, rows, 0.0).sum()
