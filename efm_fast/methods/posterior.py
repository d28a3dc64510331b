"""Gaussian posterior means at a width of each point's own, over charges and over all pairs of two sets."""

from __future__ import annotations

import torch
from torch import Tensor

_ENTRIES = 1 << 23  # log weights held at once


def gaussian_means(x: Tensor, charges: Tensor, sigma: Tensor) -> Tensor:
    """E[y | x] for x = y + sigma N(0, I), y one of ``charges``; [N, D], data units.

    :func:`efm_fast.gaussian_sum` has one width for all points; here each has its own.

    Args:
        x: points, [N, D].
        charges: [M, D].
        sigma: width at each point, [N], data units.
    """
    means = []
    for rows, width in zip(_blocks(x, len(charges)), _blocks(sigma, len(charges)), strict=True):
        r2 = torch.cdist(rows.double(), charges.double()).square()
        weight = torch.softmax(r2 / (-2.0 * width.double()[:, None] ** 2), 1)
        means.append(weight @ charges.double())
    return torch.cat(means).to(x.dtype)


def pair_means(
    x: Tensor, t: Tensor, sigma: Tensor, plus: Tensor, minus: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Posterior means of both ends over all N M pairs, for x = (1 - t) x+ + t x- + sigma N(0, I).

    The squared distance of a point from all axes factorises. With a_i = x - (1 - t) x+_i,

        |a_i - t x-_j|^2 = |a_i|^2 - 2 t (x . x-_j - (1 - t) G_ij) + t^2 |x-_j|^2,   G = X+ X-^T,

    so a point costs O((N + M) D + N M) once G is there. N M exponentials a point remain, and the row and column sums of
    their weights are all that is needed of them.

    Args:
        x: points, [K, D].
        t: place on the axis, [K], 0 at the plus plate and 1 at the minus plate.
        sigma: radius of the tube, [K], data units.
        plus: charges x+, [N, D].
        minus: charges x-, [M, D].

    Returns:
        Means of x+ and of x-, [K, D] each, and the log of the sum of all weights, float64 [K].
    """
    centre = torch.cat([plus, minus]).double().mean(0)
    a, b, at = plus.double() - centre, minus.double() - centre, x.double() - centre
    both = a @ b.T
    rows = zip(*(_blocks(part, len(a) * len(b)) for part in (at, t, sigma)), strict=True)
    parts = [_over_pairs(points, place, width, (a, b), both) for points, place, width in rows]
    first, second, logs = (torch.cat(part) for part in zip(*parts, strict=True))
    return (first + centre).to(x.dtype), (second + centre).to(x.dtype), logs


def _over_pairs(
    x: Tensor, t: Tensor, sigma: Tensor, ends: tuple[Tensor, Tensor], both: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Means of both ends at some points, and logs of sums: x+ block by block, so that the log weights stay few.

    Of a block's weights only their row and column sums are kept, in units of the largest weight so far.
    """
    a, b = ends
    share = t.double()[:, None]
    rest, width = 1.0 - share, -2.0 * sigma.double()[:, None, None] ** 2
    right = share**2 * b.square().sum(1) - 2.0 * share * (x @ b.T)
    own = x.square().sum(1, keepdim=True)
    top, total = x.new_full((len(x),), -torch.inf), x.new_zeros(len(x))
    first, columns = torch.zeros_like(x), torch.zeros_like(right)
    size = max(1, _ENTRIES // max(1, len(x) * len(b)))
    for block, products in zip(a.split(size), both.split(size), strict=True):
        left = own - 2.0 * rest * (x @ block.T) + rest**2 * block.square().sum(1)
        log = (2.0 * share * rest)[:, :, None] * products
        log = log.add_(left[:, :, None]).add_(right[:, None]).div_(width)
        largest = torch.maximum(top, log.amax((1, 2)))
        kept = torch.exp(top - largest)[:, None]
        weight = log.sub_(largest[:, None, None]).exp_()
        rows = weight.sum(2)
        first, columns = first * kept + rows @ block, columns * kept + weight.sum(1)
        total, top = total * kept[:, 0] + rows.sum(1), largest
    return first / total[:, None], columns @ b / total[:, None], top + torch.log(total)


def _blocks(values: Tensor, columns: int) -> tuple[Tensor, ...]:
    """``values`` in blocks of rows, each with at most so many log weights."""
    return values.split(max(1, _ENTRIES // max(1, columns)))
