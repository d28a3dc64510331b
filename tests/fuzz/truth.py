"""The sums written out in float64 with every pair in memory, by no code of the package."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: What is this much smaller than the rest need not be right by itself: times a tolerance, weights may be left out.
NEGLIGIBLE = 1e-4


@dataclass(frozen=True)
class Pairs:
    """All pairs of a sum, float64: everything that an error is measured by.

    Attributes:
        difference: x_i - y_j, [N, M, D].
        square: |x_i - y_j|^2 with height and softening, [N, M]; +inf for pairs that do not count.
        log_scale: m, [N].
        weight: q_j e^(l_ij - m_i), [N, M].
        steepness: by how much the log scale moves where the nearest squared distance moves by its own size, [N].
    """

    difference: Tensor
    square: Tensor
    log_scale: Tensor
    weight: Tensor
    steepness: Tensor

    @property
    def w(self) -> Tensor:
        """Scaled sum of weights, [N]."""
        return self.weight.sum(1)

    @property
    def v(self) -> Tensor:
        """Scaled sum of displacements, [N, D]."""
        return torch.einsum("nm,nmd->nd", self.weight, self.difference)

    @property
    def size_w(self) -> Tensor:
        """Sum of the absolute terms of w, [N]."""
        return self.weight.abs().sum(1)

    @property
    def size_v(self) -> Tensor:
        """Sum of the absolute terms of v, [N]; where only one charge at no distance counts, a share of the others'."""
        length = self.difference.norm(dim=2)
        return (self.weight.abs() * length).sum(1) + NEGLIGIBLE * self.size_w * length.mean(1)


def pairs(
    x: Tensor,
    y: Tensor,
    kernel: str,
    scale: float,
    *,
    weight: Tensor | None = None,
    height: Tensor | None = None,
    softening: float = 0.0,
    first_self: int | None = None,
) -> Pairs:
    """The pairs of a sum; ``scale`` is the kernel's power or bandwidth."""
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    q = torch.ones(m).double() if weight is None else weight.double()
    shared = torch.full((n,), softening**2, dtype=torch.float64)
    if height is not None:
        shared = shared + height.double() ** 2
    difference = x[:, None] - y[None]
    counts = (q != 0).expand(n, m)
    if first_self is not None:
        counts = counts & (torch.arange(n)[:, None] != torch.arange(m)[None] + first_self)
    lateral = torch.where(counts, difference.square().sum(2), torch.inf)
    if m == 0:
        nothing = torch.full((n,), -torch.inf, dtype=torch.float64)
        return Pairs(difference, lateral, nothing, lateral, nothing)
    nearest = lateral.amin(1)
    excess = torch.where(counts, lateral - nearest[:, None], torch.inf)
    pivot = nearest + shared
    if kernel == "gaussian":
        logit, log_scale, steepness = (
            excess / (-2 * scale**2),
            pivot / (-2 * scale**2),
            nearest / (2 * scale**2),
        )
    else:
        # the nearest charges weigh 1, also where their distance is 0
        ratio = torch.where(excess == 0, 0.0, excess / pivot[:, None])
        logit, log_scale = -0.5 * scale * torch.log1p(ratio), -0.5 * scale * torch.log(pivot)
        steepness = 0.5 * scale * torch.where(nearest == 0, 0.0, nearest / pivot)
    seen = torch.where(counts & torch.isfinite(pivot)[:, None], torch.exp(logit), 0.0)
    return Pairs(difference, lateral + shared[:, None], log_scale, q * seen, steepness)
