"""PFGM++ (Xu et al. 2023): data are charges in D + d dimensions; d = 1 is PFGM, d to infinity is diffusion (EDM).

Data lie on the minus plate. At the noise level sigma a datum is seen from the radius r = sigma sqrt(d) in the d extra
dimensions, and the law of its own flux there is x = y + r g / |g'|, with g and g' Gaussian in D and in d dimensions
(eq. 5 there). The posterior over the data has weights (|x - y|^2 + r^2)^-((D + d) / 2). The network is EDM's denoiser
(Karras et al. 2022): its preconditioning, weight of the loss, log-normal sigma, schedule and Heun steps. The height
below the minus plate, L - z, is sigma, and the plus plate lies at the largest sigma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from ..checks import describe
from ..errors import InputError
from ..extras import extra
from ..field import riesz_sum
from ..lines import Lines, Support
from ..sections import PositiveFloat, PositiveInt, Section
from ..types import Geometry, Plates
from .learned import LearnedField
from .method import Method, MethodSettings, Problem, Travel
from .parametrisation import Parametrisation
from .posterior import gaussian_means
from .samplers import Held, Solver, carry, log_spaced, rho_spaced

with extra("train"):
    from pydantic import Field, field_validator

# EDM's numbers are for data of standard deviation one half
_DATA_WIDTH = 0.5


class PFGMPPSampleSettings(Section):
    """How samples follow the denoiser."""

    solver: Solver = Field(default="heun", description="heun, midpoint: 2 evaluations a step; the others: 1")
    steps: PositiveInt = Field(default=18, description="number of steps")
    spacing: Literal["rho", "log"] = Field(
        default="rho", description="noise levels equidistant in sigma^(1/7), or in log sigma"
    )


class PFGMPPSettings(MethodSettings):
    """Settings of :class:`PFGMPP`; noise levels are in units of twice the data's root mean square feature."""

    name: Literal["pfgm++"]
    d: PositiveFloat | Literal["inf"] = Field(
        default=128.0, description="extra dimensions: 1 is PFGM, inf is diffusion (EDM)"
    )
    charges: PositiveInt | None = Field(
        default=None,
        description="data whose posterior mean is the target (stable target); null: each point's own datum",
    )
    log_mean: float = Field(default=-1.2, description="mean of log sigma")
    log_width: PositiveFloat = Field(default=1.2, description="standard deviation of log sigma")
    sigma_max: PositiveFloat = Field(default=80.0, description="noise level at which samples start")
    sigma_min: PositiveFloat = Field(default=0.002, description="last noise level before 0")
    sample: PFGMPPSampleSettings = Field(
        default=PFGMPPSampleSettings(), description="how samples follow the denoiser"
    )

    @field_validator("d", mode="before")
    @classmethod
    def _a_number_or_inf(cls, d: object) -> object:
        number = isinstance(d, int | float) and not isinstance(d, bool) and 0 < d < math.inf
        if not number and d != "inf":
            raise InputError(f"method.d: expected a number above 0 or inf, got {describe(d)}")
        return d

    def lengths(self, s: float, scale: float) -> tuple[float, float]:
        """sigma_max and sigma_min, data units."""
        unit = scale / _DATA_WIDTH
        return self.sigma_max * unit, self.sigma_min * unit


@dataclass(frozen=True)
class NoisyPoints:
    """Perturbed data.

    Attributes:
        x: features, [N, D], data units.
        z: heights, float64 [N], data units: L - sigma.
        origin: the datum that each point was made from, [N, D].
        charges: data whose posterior mean is the target, [M, D]; None where that is ``origin``.
    """

    x: Tensor
    z: Tensor
    origin: Tensor
    charges: Tensor | None


def perturbation(rows: Tensor, sigma: Tensor, d: float, generator: Generator) -> Tensor:
    """What the law of flux adds to ``rows`` at the noise levels sigma [N]: sigma sqrt(d) g / |g'|; [N, D], float64."""
    noise = torch.randn(rows.shape, generator=generator, dtype=torch.float64, device=rows.device)
    if math.isinf(d):
        return sigma[:, None] * noise
    half = torch.full((len(rows),), d / 2, dtype=torch.float64, device=rows.device)
    chi2 = 2.0 * torch._standard_gamma(half, generator=generator)
    return (sigma * (d / chi2.clamp_min(1e-30)).sqrt())[:, None] * noise


def posterior_mean(x: Tensor, charges: Tensor, sigma: Tensor, d: float) -> Tensor:
    """Mean of the charges under weights (|x - y|^2 + d sigma^2)^-((D + d) / 2), Gaussian for infinite d; [N, D]."""
    if math.isinf(d):
        return gaussian_means(x, charges, sigma)
    height = sigma.double() * math.sqrt(d)
    return riesz_sum(x, charges, power=x.shape[1] + d, height=height).posterior_mean(x)


class Denoiser(Parametrisation):
    """EDM's preconditioning: D(x) = c + c_skip (x - c) + c_out F, with c the data's centre.

    c_skip = w^2 / (sigma^2 + w^2), c_out = sigma w / sqrt(sigma^2 + w^2) and c_in = 1 / sqrt(sigma^2 + w^2), with w the
    data's width and sigma the distance from the minus plate. The backbone's features of the height stand for c_noise.

    Args:
        geometry: the lengths of the problem.
        d: extra dimensions, or infinity.
    """

    groups = 1

    def __init__(self, geometry: Geometry, d: float) -> None:
        self.geometry, self.d = geometry, d
        self.margin = 0.05 * (geometry.high - geometry.low)

    def inputs(self, x: Tensor, z: Tensor) -> Tensor:
        """x with the width of the data at every noise level."""
        centre, sigma = self._centre(x), self.sigma(z).to(x.dtype)
        return centre + (x - centre) * (self.geometry.scale / self._both(sigma))[:, None]

    def sigma(self, z: Tensor) -> Tensor:
        """Noise level at heights z [N], in the dtype of z."""
        return self.geometry.L - z

    def denoised(self, features: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """The posterior mean of the data, [N, D]."""
        centre, sigma, width = self._centre(x), self.sigma(z).to(x.dtype), self.geometry.scale
        skip, gain = width**2 / self._both(sigma) ** 2, sigma * width / self._both(sigma)
        return centre + skip[:, None] * (x - centre) + gain[:, None] * features[:, 0]

    def bounded(self, features: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """The same, bounded to the data's range as a mean of data is."""
        low, high = self.geometry.low - self.margin, self.geometry.high + self.margin
        return self.denoised(features, x, z).clamp(low, high)

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """The way to the data, [N, D+1]: the velocity (m - x) / sigma times sigma."""
        return torch.cat([self.bounded(features, x, z) - x, self.sigma(z).to(x.dtype)[:, None]], 1)

    def arrival(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        """The posterior mean; None for the plus plate, where no data are."""
        return self.bounded(features, x, z) if plate == "minus" else None

    def target(self, points: NoisyPoints) -> Tensor:
        """The posterior mean over the charges, or the datum itself; [N, D]."""
        if points.charges is None:
            return points.origin
        return posterior_mean(points.x, points.charges, self.sigma(points.z), self.d)

    def loss(self, features: Tensor, scalar: Tensor, points: NoisyPoints, target: Tensor) -> Tensor:
        """Squared error of a feature over c_out^2."""
        sigma, width = self.sigma(points.z).to(target.dtype), self.geometry.scale
        weight = (self._both(sigma) / (sigma * width)) ** 2
        error = (self.denoised(features, points.x, points.z) - target).square().mean(1)
        return (weight * error).mean()

    def _both(self, sigma: Tensor) -> Tensor:
        return (sigma**2 + self.geometry.scale**2).sqrt()

    def _centre(self, x: Tensor) -> Tensor:
        return torch.tensor(self.geometry.centre, dtype=x.dtype, device=x.device)


@dataclass(frozen=True)
class DenoiserFlow:
    """dx/dsigma = (x - m) / sigma, of a learned field or one with ``arrival`` and ``L``; PFGM's has h for sigma."""

    field: LearnedField

    def held(self, x: Tensor, z: float) -> Held:
        """The posterior mean m."""
        mean = self.field.arrival(x, x.new_full((len(x),), z, dtype=torch.float64), "minus")
        assert mean is not None
        return (mean,)

    def velocity(self, held: Held, x: Tensor, z: float) -> Tensor:
        """(m - x) / sigma, for z falls as sigma grows."""
        return (held[0] - x) / (self.field.L - z)

    def advance(self, held: Held, x: Tensor, z: float, new_z: float) -> Tensor:
        """m + (sigma' / sigma) (x - m)."""
        L = self.field.L
        return held[0] + (L - new_z) / (L - z) * (x - held[0])


class PFGMPP(Method):
    """Data perturbed by the law of flux in d extra dimensions, their posterior mean, and lines down to the data.

    Args:
        settings: its settings.
        problem: what it is made for.
    """

    Settings = PFGMPPSettings
    maps = ("lines",)
    has_prior = True
    settings: PFGMPPSettings

    def __init__(self, settings: PFGMPPSettings, problem: Problem) -> None:
        super().__init__(settings, problem)
        self.d = math.inf if settings.d == "inf" else settings.d
        self.parametrisation = Denoiser(problem.geometry, self.d)
        self.unit = problem.geometry.scale / _DATA_WIDTH

    def charges(self, batch: int) -> int:
        """The data of a step, of which the first are perturbed."""
        return max(self.settings.charges or 1, batch)

    def points(self, plates: Plates, n: int, generator: Generator, step: int) -> NoisyPoints:
        """``n`` of the minus plate's data, perturbed at log-normal noise levels."""
        origin, settings = plates.minus[:n], self.settings
        level = torch.randn(n, generator=generator, dtype=torch.float64, device=origin.device)
        sigma = self.unit * torch.exp(settings.log_mean + settings.log_width * level)
        x = (origin + perturbation(origin, sigma, self.d, generator)).to(origin.dtype)
        charges = None if settings.charges is None else plates.minus
        return NoisyPoints(x, plates.L - sigma, origin, charges)

    def start(self, n: int, generator: Generator) -> Tensor:
        """The law of flux of charges at the data's centre, at sigma_max; [n, D]."""
        centre = torch.tensor(self.problem.geometry.centre)
        sigma = torch.full((n,), self.problem.geometry.L, dtype=torch.float64)
        return (centre + perturbation(centre.expand(n, -1), sigma, self.d, generator)).float()

    def flow(self, field: LearnedField) -> DenoiserFlow:
        """The way to the posterior mean of the data."""
        return DenoiserFlow(field)

    def sample(self, field: LearnedField, x0: Tensor, support: Support, travel: Travel) -> Lines:
        """Follow the posterior mean down to the data, or from data up to sigma_max."""
        self.refuse(travel, "max_steps", takes="steps")
        settings = self.settings.sample
        steps = settings.steps if travel.steps is None else travel.steps
        L, nearest = field.L, field.geometry.nearest
        if settings.spacing == "rho":
            levels = rho_spaced(L, nearest, max(steps - 1, 1), 7.0)
        else:
            levels = log_spaced(L, nearest, max(steps - 1, 1))
        levels = [*levels[:steps], 0.0]
        if travel.reverse:  # from data, which lie at the smallest noise level that was learned
            levels = levels[-2::-1] if steps > 1 else [nearest, L]
        return carry(
            self.flow(field),
            x0,
            [L - sigma for sigma in levels],
            settings.solver,
            lands=not travel.reverse,
            return_paths=travel.return_paths,
        )
