"""Interaction field matching (Manukhov et al., ICLR 2026): a string of flux between the two charges of every pair.

The consistent form: the flux of a pair fills a tube around its axis, of Gaussian profile and radius s(z), which is 0 on
both plates. A point of it is x = m(z) + s(z) e with m(z) = (1 - z/L) x+ + (z/L) x- and e Gaussian. Every line keeps its
e, so the velocity is (x- - x+) / L + s'(z) e and the superposition of all tubes carries P to Q exactly. No line turns
back or goes behind a plate.

The published form, kept for parity, is the sum of the pairs' fields as the authors' code has them. Its radial part
is |(L, x- - x+)| / L times as large, each pair's flux is its inverse as large, and 1e-2 is added to the profile's
normalisation, which underflows in many dimensions.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor

from ..errors import InputError
from ..extras import extra
from ..lines import Lines, Support, follow_from, forward_map
from ..sections import Choice, Length, PositiveInt, Section, length_in_data_units
from ..types import Geometry, Plates
from .flow_matching import transport_pairs
from .learned import LearnedField
from .method import Method, MethodSettings, Problem, Travel
from .parametrisation import Parametrisation
from .posterior import pair_means
from .samplers import EXPONENTIAL, DirectionFlow, Flow, Held, Solver, carry

with extra("train"):
    from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator


class TubeSettings(Section):
    """The radius s(z) of a pair's tube."""

    form: str
    radius: Length = Field(default="0.1 s", description="largest radius of a tube")


class SineSettings(TubeSettings):
    """s = radius sin(pi z / L)."""

    form: Literal["sine"]


class PiecewiseSettings(TubeSettings):
    """A quarter of a sine at either end, and the radius itself between them, as published."""

    form: Literal["piecewise"]
    end: float = Field(default=0.25, gt=0, le=0.5, description="share of L that either end takes")


class InteractionSampleSettings(Section):
    """How samples follow the field."""

    solver: Solver = Field(default="multistep", description="heun, midpoint: 2 evaluations a step; others: 1")
    steps: PositiveInt = Field(default=20, description="number of steps")


class InteractionFieldSettings(MethodSettings):
    """Settings of :class:`InteractionField`."""

    name: Literal["interaction_field"]
    L: Length = Field(default="1 s", description="distance between the plates")
    form: Literal["consistent", "published"] = Field(
        default="consistent",
        description="published: the authors' sum of fields, for parity (no exponential steps)",
    )
    pairs: Literal["independent", "optimal_transport", "all"] = Field(
        default="independent",
        description="pairs: random, by optimal transport within a batch, or random with all pairs in the target",
    )
    charges: PositiveInt = Field(
        default=128,
        description="pairs = all, or published form: rows of each plate whose pairs make the target",
    )
    tube: Annotated[
        SerializeAsAny[TubeSettings],
        BeforeValidator(Choice("form", "sine", {"sine": SineSettings, "piecewise": PiecewiseSettings})),
    ] = Field(default="sine", validate_default=True, description="the radius of a pair's tube")
    sample: InteractionSampleSettings = Field(
        default=InteractionSampleSettings(), description="how samples follow the field"
    )

    @model_validator(mode="after")
    def _refuse_what_the_published_form_has_not(self) -> InteractionFieldSettings:
        if self.form == "published" and self.pairs == "all":
            raise InputError(
                "method.pairs: the published form takes independent or optimal_transport, got all"
            )
        if self.form == "published" and self.sample.solver in EXPONENTIAL:
            raise InputError(
                "method.sample.solver: the published form takes euler, heun or midpoint, "
                f"got {self.sample.solver}"
            )
        return self

    def lengths(self, s: float, scale: float) -> tuple[float, float]:
        """L and a hundredth of it, data units."""
        L = length_in_data_units(self.L, s)
        return L, 0.01 * L


@dataclass(frozen=True)
class Tube:
    """The radius s(z) of a pair's tube, zero on both plates.

    Attributes:
        radius: the largest, data units.
        L: distance between the plates, data units.
        end: share of L over which the radius grows and falls; 0.5 is a sine over the whole of L.
    """

    radius: float
    L: float
    end: float = 0.5

    def at(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """s and ds/dz at heights z, in their dtype."""
        wave = math.pi / (2.0 * self.end * self.L)
        phase = wave * torch.minimum(z, self.L - z).clamp(0.0, self.end * self.L)
        slope = self.radius * wave * torch.cos(phase) * torch.sign(self.L / 2 - z)
        inside = torch.minimum(z, self.L - z) < self.end * self.L
        return self.radius * torch.sin(phase), torch.where(inside | (self.end == 0.5), slope, 0.0)


@dataclass(frozen=True)
class TubePoints:
    """Points in the tubes of pairs.

    Attributes:
        x: features, [N, D], data units.
        z: heights, float64 [N], data units.
        shift: x- - x+ of the pair that each point belongs to, or its posterior mean, [N, D], data units.
        offset: e, or its posterior mean, [N, D], dimensionless.
        pairs: the rows (x+, x-) whose published fields are the target, [M, D] each; None in the consistent form.
    """

    x: Tensor
    z: Tensor
    shift: Tensor
    offset: Tensor
    pairs: tuple[Tensor, Tensor] | None = None


class TubeMeans(Parametrisation):
    """The network's output is the mean of x- - x+ and of e, of which plate means and velocity are made.

    m+ = x - s e - (z/L) delta and m- = x - s e + (1 - z/L) delta: on its plate a mean is x whatever the network says.

    Args:
        geometry: the lengths of the problem.
        tube: the radius.
    """

    groups = 2

    def __init__(self, geometry: Geometry, tube: Tube) -> None:
        self.geometry, self.tube = geometry, tube

    def parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """delta, data units, and e, each [N, D]."""
        return self.geometry.scale * features[:, 0], features[:, 1]

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """The way of a sample, [N, D+1]: L dx/dz, and L."""
        shift, offset = self.parts(features)
        slope = self.tube.at(z)[1].to(x.dtype)
        return torch.cat(
            [
                shift + self.geometry.L * slope[:, None] * offset,
                torch.full_like(shift[:, :1], self.geometry.L),
            ],
            1,
        )

    def target(self, points: TubePoints) -> tuple[Tensor, Tensor]:
        """delta and e of the pairs, or their means; [N, D] each."""
        return points.shift, points.offset

    def loss(
        self, features: Tensor, scalar: Tensor, points: TubePoints, target: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Squared errors of a feature of delta and of e, each as large as it weighs in the velocity."""
        shift, offset = self.parts(features)
        wave = math.pi * self.tube.radius / (2.0 * self.tube.end)
        error = (shift - target[0]).square().mean() + wave**2 * (offset - target[1]).square().mean()
        return error / self.geometry.scale**2


class PublishedField(Parametrisation):
    """The network's output is the direction of the published sum of fields; [N, D+1].

    Args:
        geometry: the lengths of the problem.
        tube: the radius.
    """

    groups = 1

    def __init__(self, geometry: Geometry, tube: Tube) -> None:
        self.geometry, self.tube = geometry, tube

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """The raw output as a field."""
        return torch.cat([features[:, 0], scalar[:, None]], 1)

    def target(self, points: TubePoints) -> Tensor:
        """The unit vector of the field of the batch's pairs; zero where their weights underflow."""
        assert points.pairs is not None
        field = published_field(points.x, points.z, *points.pairs, self.tube)
        return torch.nn.functional.normalize(field, dim=1).to(points.x.dtype)

    def loss(self, features: Tensor, scalar: Tensor, points: TubePoints, target: Tensor) -> Tensor:
        """Mean squared error of the vector."""
        return (self.direction(features, scalar, points.x, points.z) - target).square().sum(1).mean()


def published_field(x: Tensor, z: Tensor, plus: Tensor, minus: Tensor, tube: Tube) -> Tensor:
    """The sum of the published fields of pairs (plus_j, minus_j), float64 [N, D+1], z last.

    With d = (x- - x+, L), rho the way from the axis at the height z, r = |rho| and tan a = r s' / s, a pair gives

        (cos a d / |d| + sin a (rho / r, 0)) exp(-r^2 / (2 s^2)) / (cos a (s / radius)^D + 0.01)

    Args:
        x: points, [N, D], data units.
        z: their heights, [N], between the plates.
        plus: [M, D].
        minus: [M, D].
        tube: the radius.
    """
    height = z.double()[:, None]
    radius, slope = (part[:, :, None] for part in tube.at(height))
    shift = (minus - plus).double()
    rho = x.double()[:, None] - plus.double() - (height / tube.L)[:, :, None] * shift
    axis = torch.nn.functional.pad(shift, (0, 1), value=tube.L)
    axis = axis / axis.norm(dim=1, keepdim=True)
    r = rho.norm(dim=2, keepdim=True)
    cos = torch.rsqrt(1.0 + (r * slope / radius) ** 2)
    across = torch.nn.functional.pad(cos * slope / radius * rho, (0, 1))
    profile = torch.exp(-0.5 * (r / radius) ** 2) / (cos * (radius / tube.radius) ** x.shape[1] + 1e-2)
    return ((cos * axis + across) * profile).sum(1)


@dataclass(frozen=True)
class TubeFlow:
    """dx/dz = delta / L + s'(z) e of a learned field."""

    field: LearnedField
    parametrisation: TubeMeans

    def held(self, x: Tensor, z: float) -> Held:
        """delta and e."""
        features, _ = self.field(x, x.new_full((len(x),), z, dtype=torch.float64))
        return self.parametrisation.parts(features.float())

    def velocity(self, held: Held, x: Tensor, z: float) -> Tensor:
        """delta / L + s'(z) e."""
        tube = self.parametrisation.tube
        return held[0] / tube.L + float(tube.at(torch.tensor(z, dtype=torch.float64))[1]) * held[1]

    def advance(self, held: Held, x: Tensor, z: float, new_z: float) -> Tensor:
        """x + (z' - z) delta / L + (s(z') - s(z)) e."""
        tube = self.parametrisation.tube
        radius = tube.at(torch.tensor([z, new_z], dtype=torch.float64))[0]
        return x + (new_z - z) / tube.L * held[0] + float(radius[1] - radius[0]) * held[1]


class InteractionField(Method):
    """Points in the tubes of pairs, what the pairs are on average there, and lines from plate to plate.

    Args:
        settings: its settings.
        problem: what it is made for.
    """

    Settings = InteractionFieldSettings
    maps = ("forward",)
    settings: InteractionFieldSettings

    def __init__(self, settings: InteractionFieldSettings, problem: Problem) -> None:
        super().__init__(settings, problem)
        geometry, tube = problem.geometry, settings.tube
        radius = length_in_data_units(tube.radius, geometry.s)
        self.tube = Tube(radius, geometry.L, tube.end if isinstance(tube, PiecewiseSettings) else 0.5)
        self.parametrisation: TubeMeans | PublishedField = (
            TubeMeans(geometry, self.tube)
            if settings.form == "consistent"
            else PublishedField(geometry, self.tube)
        )

    def points(self, plates: Plates, n: int, generator: Generator, step: int) -> TubePoints:
        """``n`` points in the tubes of pairs of the plates' first rows, at uniform heights."""
        settings = self.settings
        plus, minus = plates.plus, plates.minus
        if settings.pairs == "optimal_transport":
            plus, minus = transport_pairs(plus, minus, generator)
        rows = min(settings.charges, len(plus)) if self._sums else n
        pick = [torch.arange(n, device=plus.device) % rows] * 2
        if settings.pairs == "all":
            pick = [torch.randint(rows, (n,), generator=generator, device=plus.device) for _ in pick]
        first, second = plus[pick[0]], minus[pick[1]]
        share = torch.rand(n, generator=generator, dtype=torch.float64, device=plus.device)
        z = share * plates.L
        radius = self.tube.at(z)[0]
        offset = torch.randn(first.shape, generator=generator, device=plus.device, dtype=first.dtype)
        t, s = share.to(first.dtype)[:, None], radius.to(first.dtype)[:, None]
        x = first + t * (second - first) + s * offset
        if settings.form == "published":
            return TubePoints(x, z, second - first, offset, (plus[:rows], minus[:rows]))
        if settings.pairs == "all":
            width = radius.clamp_min(1e-9 * self.tube.radius)
            ends = pair_means(x, share, width, plus[:rows], minus[:rows])
            first, second = ends[:2]
            offset = (x - first - t * (second - first)) / width.to(x.dtype)[:, None]
        return TubePoints(x, z, second - first, offset)

    @property
    def _sums(self) -> bool:
        return self.settings.pairs == "all" or self.settings.form == "published"

    def charges(self, batch: int) -> int:
        """The rows of a step."""
        return max(batch, self.settings.charges) if self._sums else batch

    def flow(self, field: LearnedField) -> Flow:
        """The mean way along the tubes."""
        if isinstance(self.parametrisation, TubeMeans):
            return TubeFlow(field, self.parametrisation)
        return DirectionFlow(field)

    def sample(self, field: LearnedField, x0: Tensor, support: Support, travel: Travel) -> Lines:
        """Follow the field from plate to plate in steps of equal height."""
        self.refuse(travel, "max_steps", takes="steps")
        settings, L = self.settings.sample, field.L
        steps = settings.steps if travel.steps is None else travel.steps
        if isinstance(self.parametrisation, TubeMeans):
            heights = [L * k / steps for k in range(steps + 1)]
            return carry(
                self.flow(field),
                x0,
                heights[::-1] if travel.reverse else heights,
                settings.solver,
                return_paths=travel.return_paths,
            )
        follow = functools.partial(
            forward_map,
            x0=x0,
            steps=steps,
            method=settings.solver,  # type: ignore[arg-type]  # the others are refused with the settings
            return_paths=travel.return_paths,
        )
        return follow_from(field, follow, reverse=travel.reverse)
