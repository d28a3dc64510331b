"""Inter-plate points: where the field is learned, and what the target there needs.

A strategy draws points from charges; it is the part of the method that the paper leaves open. Strategies are
small frozen records with one method, so a user's own is as good as these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..types import Plates


@dataclass(frozen=True)
class InterplatePoints:
    """Points at which the field is to be learned.

    Attributes:
        x: features, [N, D], data units.
        z: heights, float64 [N], data units; z outside [0, L] lies behind a plate.
        plates: the charges whose field is the target.
        generated: True if every point was generated from one of ``plates``' charges by the law of that charge's
            own flux. Then the posterior over charges has weights |x~ - y~|^-n, and targets made of it are
            unbiased; otherwise a minibatch target is only an estimate.
    """

    x: Tensor
    z: Tensor
    plates: Plates
    generated: bool


class InterplateStrategy(Protocol):
    """Draws ``n`` points between (and around) the plates."""

    def __call__(self, plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
        """``n`` points for these charges.

        Args:
            plates: this step's charges.
            n: number of points.
            generator: the only source of randomness, on the charges' device; a function of (seed, step), so
                that a resumed run draws the same points.
            step: optimiser step, for strategies that keep something over steps.
        """
        ...


def _pick(charges: Tensor, n: int, generator: torch.Generator) -> Tensor:
    index = torch.randint(len(charges), (n,), generator=generator, device=charges.device)
    return charges[index]


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)


@dataclass(frozen=True)
class FluxPoints:
    """Points where field lines go, by the law of flux; the unbiased default.

    Choose a plate and a height h log-uniform, on either side of it: that is z. Choose the generating plate with
    probability in proportion to 1 / h_s, h_s = |z - z_s|, and one of its charges y. The flux of a charge through
    the plane at distance h is spread as a multivariate Cauchy distribution of scale h, so

        x = y + h g / |g_0|,    g ~ N(0, I_D), g_0 ~ N(0, 1).

    With the plate chosen by 1 / h_s the posterior of the generating charge is |x~ - y~|^-n, Coulomb's own weight.

    Attributes:
        nearest: smallest height above or behind a plate, data units.
        behind: largest height behind a plate, data units; 0 keeps all points between the plates.
    """

    nearest: float
    behind: float = 0.0

    def __post_init__(self) -> None:
        checks.positive("nearest", self.nearest)
        if self.behind and self.behind <= self.nearest:
            raise InputError(f"behind: expected 0 or more than nearest = {self.nearest}, got {self.behind}")

    def heights(self, L: float, n: int, generator: torch.Generator) -> Tensor:
        """z of ``n`` points, float64: log-uniform in the distance from a plate, on either side."""
        if self.nearest >= L / 2:
            raise InputError(f"nearest: expected less than L / 2 = {L / 2}, got {self.nearest}")
        inside = math.log(L - self.nearest) - math.log(self.nearest)
        outside = math.log(self.behind) - math.log(self.nearest) if self.behind else 0.0
        position = _uniform(n, generator) * (inside + outside)
        is_inside = position < inside
        height = self.nearest * torch.exp(torch.where(is_inside, position, position - inside))
        above_plus = torch.where(is_inside, height, -height)
        at_plus = _uniform(n, generator) < 0.5
        return torch.where(at_plus, above_plus, L - above_plus)

    def __call__(self, plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
        """Draw ``n`` flux points from the charges of ``plates``."""
        z = self.heights(plates.L, n, generator)
        h_plus, h_minus = z.abs(), (z - plates.L).abs()
        from_plus = _uniform(n, generator) * (h_plus + h_minus) < h_minus
        charge = torch.where(
            from_plus[:, None], _pick(plates.plus, n, generator), _pick(plates.minus, n, generator)
        )
        gauss = torch.randn(
            n, charge.shape[1] + 1, generator=generator, device=charge.device, dtype=torch.float64
        )
        spread = torch.where(from_plus, h_plus, h_minus) / gauss[:, 0].abs().clamp_min(1e-12)
        x = charge.double() + spread[:, None] * gauss[:, 1:]
        return InterplatePoints(x.to(charge.dtype), z, plates, generated=True)


@dataclass(frozen=True)
class LinearPoints:
    """The paper's points (EFM, algorithm 1): between a random pair of charges, plus noise.

    z is uniform in (0, L) and x = (1 - z/L) x+ + (z/L) x- + noise * N(0, I).

    Attributes:
        noise: standard deviation of the Gaussian noise on x, data units.
    """

    noise: float = 0.0

    def __call__(self, plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
        """Draw ``n`` points on segments between random pairs of charges."""
        t = _uniform(n, generator)
        plus, minus = _pick(plates.plus, n, generator), _pick(plates.minus, n, generator)
        x = plus + t.to(plus.dtype)[:, None] * (minus - plus)
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return InterplatePoints(x, t * plates.L, plates, generated=False)


@dataclass(frozen=True)
class CoupledPoints:
    """Between a charge and one of the other plate that the field couples it with; for images.

    A flux point of height h lies sqrt(D) h away from its charge, out in the noise. The forward map starts at a clean
    image, rises above it, and then crosses to the image that pulls it, close to the axis. So

        x = (1 - t) x+ + t x- + noise u g,    t, u uniform in (0, 1), g ~ N(0, I_D),

    where one of x+, x- is any charge of its plate (of either plate for half of the points) and the other is drawn from
    its Coulomb posterior: with weights (|x+ - x-|^2 + L^2)^(-(D+1)/2). The height does not depend on t: for a third of
    the points it is uniform in (0, L), for a third each log-uniform in the distance from either plate.

    Attributes:
        nearest: smallest height above a plate, data units.
        noise: largest standard deviation of the noise on x, data units.
    """

    nearest: float
    noise: float = 0.1

    def __post_init__(self) -> None:
        checks.positive("nearest", self.nearest)

    def heights(self, L: float, n: int, generator: torch.Generator) -> Tensor:
        """z of ``n`` points, float64."""
        if self.nearest >= L:
            raise InputError(f"nearest: expected less than L = {L}, got {self.nearest}")
        kind, place = 3 * _uniform(n, generator), _uniform(n, generator)
        above = self.nearest * torch.exp(place * math.log(L / self.nearest))
        return torch.where(kind < 1, place * L, torch.where(kind < 2, above, L - above))

    def __call__(self, plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
        """Draw ``n`` points between coupled charges of ``plates``."""
        half = n // 2
        plus, minus = _pick(plates.plus, half, generator), _pick(plates.minus, n - half, generator)
        across = coulomb_partners(plus, plates.minus, plates.L, generator)
        back = coulomb_partners(minus, plates.plus, plates.L, generator)
        plus, minus = torch.cat([plus, back]), torch.cat([across, minus])
        t, size = (_uniform(n, generator).to(plus.dtype)[:, None] for _ in range(2))
        gauss = torch.randn(plus.shape, generator=generator, device=plus.device, dtype=plus.dtype)
        x = plus + t * (minus - plus) + self.noise * size * gauss
        return InterplatePoints(x, self.heights(plates.L, n, generator), plates, generated=False)


def coulomb_partners(x: Tensor, charges: Tensor, L: float, generator: torch.Generator) -> Tensor:
    """One charge of the plate at distance ``L`` for each x, drawn from its Coulomb posterior.

    The weights are (|x - y|^2 + L^2)^(-(D+1)/2); the largest of their logs plus Gumbel noise is such a draw.

    Args:
        x: [N, D].
        charges: [M, D].
        L: distance between x and the plate, data units.
        generator: of the draws, on the charges' device.

    Returns:
        Rows of ``charges``, [N, D].
    """
    power = x.shape[1] + 1
    weight = -0.5 * power * torch.log(torch.cdist(x, charges).square() + L * L)
    uniform = torch.rand(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-12, 1 - 1e-7)))
    return charges[(weight + gumbel).argmax(1)]


@dataclass(frozen=True)
class BoxPoints:
    """Uniform in a box around both plates' charges.

    Attributes:
        margin: how far the box reaches beyond the charges in every feature, and behind the plates; data units.
    """

    margin: float = 0.0

    def __call__(self, plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
        """Draw ``n`` points uniformly in the box."""
        charges = torch.cat([plates.plus, plates.minus])
        low, high = charges.amin(0) - self.margin, charges.amax(0) + self.margin
        unit = torch.rand(
            n, charges.shape[1], generator=generator, device=charges.device, dtype=charges.dtype
        )
        z = _uniform(n, generator) * (plates.L + 2 * self.margin) - self.margin
        return InterplatePoints(low + unit * (high - low), z, plates, generated=False)
