"""The capacitor chain: plates of both data sets in turn, without end, and the field between two neighbours.

The lines between the plates z = 0 and L never pass a plate and never turn back
(:mod:`efm_fast.field.image_plates.chain`), so the forward map alone carries P to Q. The flux of a charge through the
plane at the height h above its plate is spread by the law of the place where a Brownian motion from there leaves the
slab through that plate. Points drawn by it, the plate chosen by 1 - h / L, are where the lines pass: their density is
that of the flux, and the posterior of the charge that a point came from has weights u_j, the height part of the
charge's field.

Two sums over a charge's copies, w_j = sum_k r_k^-n and u_j = sum_k h_k r_k^-n, give with the plates' means m+ and m-
under weights w, their sums W and U, and the plus plate's share of flux b = U+ / (U+ + U-),

    dx/dz = b a+ (x - m+) / z - (1 - b) a- (x - m-) / (L - z),     a+ = z W+ / U+,     a- = (L - z) W- / U-.

a is 1 for a single capacitor. All of it is a mean over the posterior, so that a step's charges give unbiased targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..errors import InputError
from ..extras import extra
from ..field.image_plates import chain_sum, chain_weights
from ..lines import Lines, Support
from ..sections import Length, PositiveInt, Section, length_in_data_units
from ..types import Geometry, Plates
from .interplate import FluxPoints
from .learned import LearnedField
from .method import Method, MethodSettings, Problem, Travel
from .parametrisation import Parametrisation, PlateMeans
from .samplers import Held, Solver, carry

with extra("train"):
    from pydantic import Field

_LARGEST_LOG = 12.0  # of a in a target: beyond it lines run along the plates
_STEEPEST_LOG = (
    4.0  # of a over that above a charge, for samples: beyond it few lines pass and errors grow fast
)
_FAR = 12.0  # in units of L: the flux beyond is below 1e-15
_NODES = 8  # of the quadrature in an exponential step
_TOLERANCE = 1e-4  # of the sums that make a target


class ChainSampleSettings(Section):
    """How samples follow the field."""

    solver: Solver = Field(default="midpoint", description="heun, midpoint: 2 evaluations a step; others: 1")
    steps: PositiveInt = Field(
        default=40, description="number of steps, the last of which jumps to the plate"
    )


class CapacitorChainSettings(MethodSettings):
    """Settings of :class:`CapacitorChain`."""

    name: Literal["capacitor_chain"]
    L: Length = Field(default="1 s", description="distance between neighbouring plates")
    nearest: Length = Field(
        default="0.003 s", description="smallest distance from a plate, of points and samples"
    )
    charges: PositiveInt = Field(
        default=512, description="charges per plate and step, whose field is the target"
    )
    sample: ChainSampleSettings = Field(
        default=ChainSampleSettings(), description="how samples follow the field"
    )

    def lengths(self, s: float, scale: float) -> tuple[float, float]:
        """L and ``nearest``, data units."""
        return length_in_data_units(self.L, s), length_in_data_units(self.nearest, s)


@dataclass(frozen=True)
class ChainPoints:
    """Points by the law of flux.

    Attributes:
        x: features, [N, D], data units.
        z: heights, float64 [N], data units.
        plates: the charges whose field is the target.
    """

    x: Tensor
    z: Tensor
    plates: Plates


@dataclass(frozen=True)
class ChainPosterior:
    """What makes the field at points, of finite charges or learned.

    Attributes:
        share: the plus plate's share of flux, b, [N].
        steepness: a+ and a-, [N, 2], at least 1.
        means: m+ and m-, [N, D] each, data units.
    """

    share: Tensor
    steepness: Tensor
    means: tuple[Tensor, Tensor]

    def rates(self) -> tuple[Tensor, Tensor]:
        """b a+ and (1 - b) a-, [N, 1] each."""
        plus, minus = self.share * self.steepness[:, 0], (1.0 - self.share) * self.steepness[:, 1]
        return plus[:, None], minus[:, None]


def chain_posterior(x: Tensor, z: Tensor, plates: Plates, *, tolerance: float = _TOLERANCE) -> ChainPosterior:
    """The posterior over finite charges of both plates at points x [N, D] and heights z [N] between them."""
    logs, steepness, means = [], [], []
    for charges, height in ((plates.plus, z.double()), (plates.minus, z.double() - plates.L)):
        total = chain_sum(x, height, charges, plates.L, tolerance=tolerance)
        w, up = total.w.double(), total.u.double() * torch.sign(height)
        up = torch.maximum(up, math.exp(-_LARGEST_LOG) * height.abs() * w)
        logs.append(total.m + torch.log(up) - math.log(len(charges)))
        steepness.append(height.abs() * w / up)
        means.append(total.posterior_mean(x))
    share = torch.sigmoid(logs[0] - logs[1])
    return ChainPosterior(share.to(x.dtype), torch.stack(steepness, 1).to(x.dtype), (means[0], means[1]))


@dataclass(frozen=True)
class ChainFluxPoints:
    """Points where the lines of the chain pass, by the law of flux.

    A point of a single plate's law, a multivariate Cauchy distribution, is kept with the probability that a Brownian
    motion which leaves the half space above the plate there has not left the slab before. Over both plates just half of
    the points are kept, whatever the height.

    Attributes:
        nearest: smallest distance from a plate, data units.
    """

    nearest: float

    def __call__(self, plates: Plates, n: int, generator: Generator) -> ChainPoints:
        """``n`` points of the charges of ``plates``."""
        z = FluxPoints(nearest=self.nearest).heights(plates.L, n, generator)
        x = plates.plus.new_empty(n, plates.plus.shape[1])
        left = torch.arange(n, device=x.device)
        while len(left):
            place, kept = self._proposed(plates, z[left], generator)
            x[left[kept]] = place[kept].to(x.dtype)
            left = left[~kept]
        return ChainPoints(x, z, plates)

    def _proposed(self, plates: Plates, z: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """A place over a charge for each height, float64 [K, D], and whether it is kept."""
        n, d = len(z), plates.plus.shape[1]

        def uniform() -> Tensor:
            return torch.rand(n, generator=generator, dtype=torch.float64, device=z.device)

        from_plus = uniform() < 0.5
        charge = [
            plate[torch.randint(len(plate), (n,), generator=generator, device=z.device)]
            for plate in (plates.plus, plates.minus)
        ]
        height = torch.where(from_plus, z, plates.L - z)
        gauss = torch.randn(n, d + 1, generator=generator, dtype=torch.float64, device=z.device)
        away = (height / gauss[:, 0].abs().clamp_min(1e-12))[:, None] * gauss[:, 1:]
        r2 = away.square().sum(1)
        single = torch.log(height) - 0.5 * (d + 1) * torch.log(r2 + height.square())
        inside = r2 < (_FAR * plates.L) ** 2
        passing = chain_weights(torch.where(inside, r2, 1.0), height, plates.L, d + 1)[1]
        kept = inside & (torch.log(uniform()) < passing - single)
        return torch.where(from_plus[:, None], charge[0], charge[1]).double() + away, kept


class ChainMeans(PlateMeans):
    """The network gives both plates' means, the share of flux and how steep the field of each plate is.

    Means and share are learned as those of :class:`PlateMeans`; the logs of a+ and a-, each the mean of a group of
    features, beside those of one charge at the data's edge.
    """

    groups = 4
    posterior = Parametrisation.posterior  # type: ignore[assignment]  # that of one capacitor makes another field

    def read(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> ChainPosterior:
        """Everything that the field is made of; means bounded to the data's range."""
        known = self._known(x, z)
        steepness = self._followed((features[:, 2:].mean(2) + known).clamp(0.0, _LARGEST_LOG), z)
        plus, minus = (self._bounded(m) for m in self.means(features[:, :2], x, z))
        return ChainPosterior(torch.sigmoid(self._flux_logit(scalar, x, z, known)), steepness, (plus, minus))

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """dx/dz and 1, [N, D+1]."""
        found = self.read(features, scalar, x, z)
        slope = velocity((*found.rates(), *found.means), x, z.to(x.dtype)[:, None], self.geometry.L)
        return torch.cat([slope, torch.ones_like(slope[:, :1])], 1)

    def arrival(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor, plate: str) -> Tensor:
        """The plate's mean, [N, D]."""
        return super().arrival(features[:, :2], scalar, x, z, plate)

    def target(self, points: ChainPoints) -> ChainPosterior:  # type: ignore[override]
        """The posterior over the step's charges."""
        return chain_posterior(points.x, points.z, points.plates)

    def loss(  # type: ignore[override]
        self, features: Tensor, scalar: Tensor, points: ChainPoints, target: ChainPosterior
    ) -> Tensor:
        """Squared errors of the means, cross-entropy of the share and that of a Poisson law of a.

        Each term is weighted so that its minimiser at points of the law of flux is the whole distributions' own,
        whatever the number of charges in a step.
        """
        x, z = points.x, points.z
        known = self._known(x, z)
        flux = torch.stack([target.share, 1.0 - target.share], 1)
        relative = flux * target.steepness * torch.exp(-known)
        means = torch.stack(self.means(features[:, :2], x, z), 1)
        error = (means - torch.stack(target.means, 1)).square().mean(2)
        guess = features[:, 2:].mean(2).clamp(-_LARGEST_LOG, _LARGEST_LOG)
        steepness = flux * torch.exp(guess) - relative * guess
        split = F.binary_cross_entropy_with_logits(self._flux_logit(scalar, x, z, known), target.share)
        return (relative * self._weight(x, z) * error + steepness).sum(1).mean() + split

    def _followed(self, logs: Tensor, z: Tensor) -> Tensor:
        """a+ and a- that samples follow, [N, 2]: the logs [N, 2] with a common bound on both.

        Near a plate the other plate's a grows as L over the distance from the former even right above a charge, so
        the bound is relative to that. One factor for both plates keeps the direction of their common pull.
        """
        least = self._of_one_charge(torch.zeros_like(z, dtype=torch.float64), z)
        excess = (logs - least.to(logs.dtype) - _STEEPEST_LOG).amax(1, keepdim=True).clamp_min(0.0)
        return torch.exp(logs - excess)

    def _known(self, x: Tensor, z: Tensor) -> Tensor:
        """Logs of a+ and a- of one charge as far away as the nearest that there may be, [N, 2]."""
        away = torch.linalg.vector_norm(x.detach() - self._centre(x), dim=1, dtype=torch.float64)
        r2 = (away - self.geometry.radius).clamp(0.0, _FAR * self.geometry.L).square()
        return self._of_one_charge(r2, z).to(x.dtype)

    def _of_one_charge(self, r2: Tensor, z: Tensor) -> Tensor:
        """Logs of a+ and a- of one charge at the squared distance r2 [N] over features, float64 [N, 2]."""
        L, n = self.geometry.L, math.prod(self.geometry.shape) + 1
        logs = []
        for height in (z.double(), L - z.double()):
            height = height.clamp_min(1e-9 * L)
            w, up = chain_weights(r2, height, L, n)
            logs.append(torch.log(height) + w - up)
        return torch.stack(logs, 1).clamp(0.0, _LARGEST_LOG)

    def _flux_logit(self, scalar: Tensor, x: Tensor, z: Tensor, known: Tensor) -> Tensor:
        """log(b / (1 - b)), [N]: the heights times two blobs' weights over a, and what the network adds."""
        heights = torch.log(z.clamp_min(1e-9) / (self.geometry.L - z).clamp_min(1e-9)).to(scalar.dtype)
        return self.logit(scalar, x, z) + heights - known[:, 0] + known[:, 1]


def velocity(held: Held, x: Tensor, z: Tensor | float, L: float) -> Tensor:
    """dx/dz of b a+, (1 - b) a-, m+ and m-, [N, D]."""
    plus_rate, minus_rate, plus, minus = held
    return plus_rate * (x - plus) / z - minus_rate * (x - minus) / (L - z)


@dataclass(frozen=True)
class ChainFlow:
    """The lines' equation as a learned field has it."""

    field: LearnedField
    parametrisation: ChainMeans

    def held(self, x: Tensor, z: float) -> Held:
        """b a+, (1 - b) a-, m+ and m-."""
        at = x.new_full((len(x),), z, dtype=torch.float64)
        features, scalar = self.field(x, at)
        found = self.parametrisation.read(features.float(), scalar.float(), x, at)
        return (*found.rates(), *found.means)

    def velocity(self, held: Held, x: Tensor, z: float) -> Tensor:
        """dx/dz."""
        return velocity(held, x, z, self.field.L)

    def advance(self, held: Held, x: Tensor, z: float, new_z: float) -> Tensor:
        """The linear equation's solution, the means' part by Gauss and Legendre's rule in the logs of the heights."""
        L = self.field.L
        plus_rate, minus_rate, plus, minus = held
        if not 0.0 < new_z < L:
            return plus if new_z <= 0.0 else minus
        plus_rate, minus_rate = plus_rate.clamp_min(0.0), minus_rate.clamp_min(0.0)  # also extrapolated

        def growth(start: Tensor) -> Tensor:
            """z^(b a+) (L - z)^((1 - b) a-) at the end over that at ``start``."""
            return torch.exp(
                plus_rate * torch.log(new_z / start) + minus_rate * torch.log((L - new_z) / (L - start))
            )

        node, weight = _legendre()
        first, last = (math.log(height / (L - height)) for height in (z, new_z))
        at = L * torch.sigmoid(0.5 * (first + last) + 0.5 * (last - first) * node.to(x.device)).to(x.dtype)
        # dz = z (L - z) / L dlogit z
        spread = 0.5 * (last - first) * weight.to(x) * growth(at) / L
        from_plus = (spread * plus_rate * (L - at)).sum(1, keepdim=True)
        from_minus = (spread * minus_rate * at).sum(1, keepdim=True)
        return growth(x.new_tensor([[z]])) * x - from_plus * plus + from_minus * minus


def _legendre() -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1], float64 [8]."""
    import numpy as np

    return tuple(torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(_NODES))  # type: ignore[return-value]


class CapacitorChain(Method):
    """Points of the chain's flux, its plates' means there, and lines from one plate to the next.

    Args:
        settings: its settings.
        problem: what it is made for.

    Raises:
        InputError: ``nearest`` is not below half of L.
    """

    Settings = CapacitorChainSettings
    maps = ("forward",)
    settings: CapacitorChainSettings
    parametrisation: ChainMeans

    def __init__(self, settings: CapacitorChainSettings, problem: Problem) -> None:
        super().__init__(settings, problem)
        geometry: Geometry = problem.geometry
        if geometry.nearest >= geometry.L / 2:
            raise InputError(
                f"method.nearest: expected less than L / 2 = {geometry.L / 2}, got {geometry.nearest}"
            )
        self.parametrisation = ChainMeans(geometry)
        self.law = ChainFluxPoints(geometry.nearest)

    def charges(self, batch: int) -> int:
        """The charges of a step's target."""
        return self.settings.charges

    def points(self, plates: Plates, n: int, generator: Generator, step: int) -> ChainPoints:
        """``n`` points by the law of flux."""
        return self.law(plates, n, generator)

    def sample(self, field: LearnedField, x0: Tensor, support: Support, travel: Travel) -> Lines:
        """Follow the lines between the plates; heights at equal ratios from both, then a jump to the plate."""
        self.refuse(travel, "max_steps", takes="steps")
        settings, geometry = self.settings.sample, self.problem.geometry
        steps = settings.steps if travel.steps is None else travel.steps
        end = math.log(geometry.L / geometry.nearest - 1.0)
        heights = [
            geometry.L / (1.0 + math.exp(end * (1.0 - 2.0 * k / max(1, steps - 1)))) for k in range(steps)
        ]
        heights.append(geometry.L)
        return carry(
            ChainFlow(field, self.parametrisation),
            x0,
            [geometry.L - z for z in heights] if travel.reverse else heights,
            settings.solver,
            lands=True,
            return_paths=travel.return_paths,
        )
