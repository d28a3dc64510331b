"""Generation: lines come down to the minus plate from far below it, where the law of flux says how they start.

From a height h much larger than the data a plate looks like a point charge, whose flux crosses the plane there as
x = y + h g / |g_0|, with g ~ N(0, I_D) and g_0 ~ N(0, 1). A line of one charge keeps its g_0, and so its noise per
feature over its height, 1 / |g_0|. Starts come from the half of the flux that is nearest to the axis: these lines
arrive from the front, and their noise is bounded. In many dimensions the end of a line hardly depends on its angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from .. import checks
from ..errors import InputError
from ..extras import extra
from ..lines import Support, seeds
from ..types import Plates
from .interplate import InterplatePoints

#: Where lines start, as a share of L from the minus plate: the other plate hardly bends them from there on.
START = 0.25
#: Least |g_0| of points to learn at: .67 of lines that start, .61 where they arrive, and some room.
_LEAST = 0.5


@dataclass(frozen=True)
class DescentPoints:
    """Flux points near the minus plate, of log-normal height, where lines from :func:`flux_starts` come by.

    As in EDM (Karras et al. 2022, table 1) most points have about as much noise as the data have width. A point of
    height h below the minus plate has noise of h / |g_0| per feature; the bound on |g_0| cuts the same share from the
    flux of each charge.

    Attributes:
        nearest: smallest height from the minus plate, data units; the largest is L / 2.
        scale: root mean square of one centred feature, data units.
        log_mean: mean of log(height / scale).
        log_width: standard deviation of it.
    """

    nearest: float
    scale: float
    log_mean: float = -0.9
    log_width: float = 1.2

    def __post_init__(self) -> None:
        checks.positive("nearest", self.nearest)
        checks.positive("scale", self.scale)

    def heights(self, L: float, n: int, generator: Generator) -> Tensor:
        """z of ``n`` points, float64."""
        if self.nearest >= L / 2:
            raise InputError(f"nearest: expected less than L / 2 = {L / 2}, got {self.nearest}")
        level = torch.randn(n, generator=generator, device=generator.device, dtype=torch.float64)
        height = self.scale * torch.exp(self.log_mean + self.log_width * level)
        return L - height.clamp(self.nearest, L / 2)

    def __call__(self, plates: Plates, n: int, generator: Generator, step: int = 0) -> InterplatePoints:
        """Draw ``n`` points from the charges of ``plates``."""
        z = self.heights(plates.L, n, generator)
        options: dict[str, Any] = {
            "generator": generator,
            "device": generator.device,
            "dtype": torch.float64,
        }
        # the plate of a point's charge has probability in proportion to 1 / distance, as FluxPoints has it
        from_plus = torch.rand(n, **options) * plates.L < plates.L - z
        plus, minus = (
            rows[torch.randint(len(rows), (n,), generator=generator, device=rows.device)]
            for rows in (plates.plus, plates.minus)
        )
        charge = torch.where(from_plus[:, None], plus, minus)
        height = torch.where(from_plus, z, plates.L - z)
        noise = torch.randn(charge.shape, **options)
        spread = height / _gaussian_above(torch.rand(n, **options), _LEAST)
        x = charge.double() + spread[:, None] * noise
        return InterplatePoints(x.to(charge.dtype), z, plates, generated=True)


def flux_starts(x0: Tensor, L: float, support: Support, seed: int) -> Tensor:
    """Where lines start below the minus plate, by the law of flux of charges spread as ``x0`` is; [N, D].

    Args:
        x0: plus data, [N, D], data units; only how they lie around their plate's centre counts.
        L: distance between the plates, data units; the starts' height is that of :data:`START`.
        support: discs that hold the charges.
        seed: of the draws; those of row k depend on (seed, k) alone.
    """
    with extra("train"):
        from scipy.special import betaincinv
    index = torch.arange(len(x0), device=x0.device)
    d = x0.shape[1]
    # the law of 1 / (1 + (|x - y| / height)^2) is Beta(1/2, D/2); near the axis it is above the median
    share = 1.0 - 0.5 * seeds.uniform(seed, index, 0)
    closeness = torch.as_tensor(betaincinv(0.5, d / 2, share.cpu().numpy()), device=x0.device)
    distance = START * L * (1.0 / closeness - 1.0).sqrt()
    charge = x0.double() - support.plus_center + support.minus_center
    return (charge + distance[:, None] * seeds.sphere(seed, index, 1, d)).to(x0.dtype)


def _gaussian_above(uniform: Tensor, least: float) -> Tensor:
    """A standard Gaussian under the condition that it is above ``least``, from uniform numbers in (0, 1)."""
    below = torch.special.ndtr(torch.tensor(least, dtype=torch.float64, device=uniform.device))
    return torch.special.ndtri(below + (1.0 - below) * uniform.clamp(1e-12, 1.0 - 1e-12))
