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
    both, a2, b2 = a @ b.T, a.square().sum(1), b.square().sum(1)
    means = []
    size = len(a) * len(b)
    for rows, place, width in zip(*(_blocks(part, size) for part in (at, t, sigma)), strict=True):
        share = place.double()[:, None]
        rest = 1.0 - share
        own = rows.square().sum(1, keepdim=True)
        left = own - 2.0 * rest * (rows @ a.T) + rest**2 * a2
        right = share**2 * b2 - 2.0 * share * (rows @ b.T)
        r2 = left[:, :, None] + right[:, None, :] + (2.0 * share * rest)[:, :, None] * both
        log = r2.flatten(1) / (-2.0 * width.double()[:, None] ** 2)
        total = torch.logsumexp(log, 1)
        weight = torch.exp(log - total[:, None]).unflatten(1, (len(a), len(b)))
        means.append((weight.sum(2) @ a + centre, weight.sum(1) @ b + centre, total))
    first, second, logs = (torch.cat(part) for part in zip(*means, strict=True))
    return first.to(x.dtype), second.to(x.dtype), logs


def _blocks(values: Tensor, columns: int) -> tuple[Tensor, ...]:
    """``values`` in blocks of rows, each with at most so many log weights."""
    return values.split(max(1, _ENTRIES // max(1, columns)))
