"""Flow matching (Lipman et al. 2023; Tong et al. 2024), with independent or optimal-transport pairs.

The paths, and the pairs within a batch, are those of torchcfm. Time runs from 0 at the plus data to 1 at the minus
data. Here it is the height, t = z / L with L = s, so that the networks, maps and pictures of this package serve.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from ..extras import extra
from ..lines import Lines, Support, follow_from, forward_map
from ..sections import PositiveInt, Section
from ..types import Geometry, Plates
from .learned import LearnedField
from .method import Method, MethodSettings, Problem, Travel
from .pairs import BatchTransportSettings, OnePairs, PairBank, WholeSetSettings, transport_pairs
from .parametrisation import Parametrisation
from .samplers import Held, carry

with extra("train"):
    from pydantic import Field


class FlowSampleSettings(Section):
    """How samples follow the velocity."""

    solver: Literal["euler", "heun", "midpoint", "rk4", "multistep"] = Field(
        default="euler", description="steps with 1, 2, 2, 4 or 1 evaluations"
    )
    steps: PositiveInt = Field(default=20, description="number of steps")


class FlowMatchingSettings(MethodSettings):
    """Settings of :class:`FlowMatching`."""

    name: Literal["flow_matching"]
    pairs: OnePairs = Field(
        default="independent",
        validate_default=True,
        description="pairs of plus and minus data: random ones, by optimal transport within a batch (OT-CFM), or of"
        " large sets",
    )
    sigma: float = Field(default=0.0, ge=0, description="width of the paths, data units")
    sample: FlowSampleSettings = Field(default=FlowSampleSettings(), description="how samples travel")


@dataclass(frozen=True)
class FlowPoints:
    """Points on paths between pairs.

    Attributes:
        x: features, [N, D], data units.
        z: heights, float32 [N], data units: L times the time.
        velocity: of the path that each point lies on, [N, D], data units per unit of time.
    """

    x: Tensor
    z: Tensor
    velocity: Tensor


class Velocity(Parametrisation):
    """The network's features are the velocity dx/dt; its scalar is not used.

    Args:
        geometry: the lengths of the problem.
    """

    groups = 1

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """The way of a sample, [N, D+1]: the velocity, and L of height per unit of time."""
        return torch.cat([features[:, 0], torch.full_like(scalar, self.geometry.L)[:, None]], 1)

    def target(self, points: FlowPoints) -> Tensor:
        """The velocities of the paths, [N, D]."""
        return points.velocity

    def loss(self, features: Tensor, scalar: Tensor, points: FlowPoints, target: Tensor) -> Tensor:
        """Mean squared error of a feature's velocity."""
        return (features[:, 0] - target).square().mean()


@dataclass(frozen=True)
class VelocityFlow:
    """dx/dz = v / L of a learned field."""

    field: LearnedField

    def held(self, x: Tensor, z: float) -> Held:
        """The velocity v, data units per unit of time."""
        return (self.field.direction(x, x.new_full((len(x),), z))[:, :-1],)

    def velocity(self, held: Held, x: Tensor, z: float) -> Tensor:
        """v / L."""
        return held[0] / self.field.L

    def advance(self, held: Held, x: Tensor, z: float, new_z: float) -> Tensor:
        """x + (z' - z) v / L."""
        return x + (new_z - z) / self.field.L * held[0]


class FlowMatching(Method):
    """Points on straight paths between pairs of data, and the mean velocity there.

    Args:
        settings: its settings.
        problem: what it is made for.

    Raises:
        MissingPackageError: torchcfm is not installed.
    """

    Settings = FlowMatchingSettings
    maps = ("flow",)
    settings: FlowMatchingSettings

    def __init__(self, settings: FlowMatchingSettings, problem: Problem) -> None:
        super().__init__(settings, problem)
        self.parametrisation = Velocity(problem.geometry)

    def points(self, plates: Plates, n: int, generator: Generator, step: int) -> FlowPoints:
        """``n`` points on paths between the plates' data, or between those of a bank of pairs."""
        with extra("flow"):
            from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

        matcher = ConditionalFlowMatcher(sigma=self.settings.sigma)
        plus, minus = self._pairs(plates, n, generator, step)
        t = torch.rand(n, generator=generator, device=plus.device)
        noise = torch.randn(plus.shape, generator=generator, device=plus.device)
        x = matcher.sample_xt(plus, minus, t, noise)
        return FlowPoints(x, t * plates.L, matcher.compute_conditional_flow(plus, minus, t, x))

    def charges(self, batch: int) -> int:
        """Rows of each plate that a step takes: as many as are paired in it."""
        if self.bank is not None:
            return 1  # it draws its own
        return getattr(self.settings.pairs, "rows", None) or batch

    @functools.cached_property
    def bank(self) -> PairBank | None:
        """Pairs of large sets; None where a step's own rows are paired."""
        chosen, problem = self.settings.pairs, self.problem
        if not isinstance(chosen, WholeSetSettings):
            return None
        return PairBank(
            problem.plus,
            problem.minus,
            coupling=chosen.coupling,
            rows=chosen.rows,
            refresh=chosen.refresh,
            seed=problem.seed,
        )

    def _pairs(self, plates: Plates, n: int, generator: Generator, step: int) -> tuple[Tensor, Tensor]:
        if self.bank is not None:
            return self.bank.draw(n, generator, step)
        if isinstance(self.settings.pairs, BatchTransportSettings):
            return transport_pairs(plates.plus, plates.minus, generator, n)
        return plates.plus, plates.minus

    def flow(self, field: LearnedField) -> VelocityFlow:
        """The mean velocity of the paths."""
        return VelocityFlow(field)

    def sample(self, field: LearnedField, x0: Tensor, support: Support, travel: Travel) -> Lines:
        """Follow the velocity by the settings' solver, in ``travel.steps`` steps."""
        self.refuse(travel, "max_steps", takes="steps")
        settings = self.settings.sample
        steps = settings.steps if travel.steps is None else travel.steps
        if settings.solver == "multistep":
            heights = [field.L * k / steps for k in range(steps + 1)]
            way = heights[::-1] if travel.reverse else heights
            return carry(self.flow(field), x0, way, "multistep", return_paths=travel.return_paths)
        follow = functools.partial(
            forward_map, x0=x0, steps=steps, method=settings.solver, return_paths=travel.return_paths
        )
        return follow_from(field, follow, reverse=travel.reverse)
