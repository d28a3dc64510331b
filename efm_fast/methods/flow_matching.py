"""Flow matching (Lipman et al. 2023; Tong et al. 2024), with independent or optimal-transport pairs.

The pairs and their paths are those of torchcfm. Time runs from 0 at the plus data to 1 at the minus data. Here it is
the height, t = z / L with L = s, so that the networks, maps and pictures of this package serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from ..extras import extra
from ..lines import Lines, Support, forward_map, mirrored, reversed_field
from ..sections import PositiveInt, Section
from ..types import Field as FieldProtocol
from ..types import Geometry, Plates
from .learned import LearnedField
from .method import Method, MethodSettings, Problem, Travel
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
    pairs: Literal["independent", "optimal_transport"] = Field(
        default="independent",
        description="pairs of plus and minus data: random ones, or by optimal transport within a batch (OT-CFM)",
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
        """``n`` points on paths between the plates' data, which are n rows each."""
        with extra("flow"):
            from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

        matcher = ConditionalFlowMatcher(sigma=self.settings.sigma)
        plus, minus = plates.plus, plates.minus
        if self.settings.pairs == "optimal_transport":
            plus, minus = transport_pairs(plus, minus, generator)
        t = torch.rand(n, generator=generator, device=plus.device)
        noise = torch.randn(plus.shape, generator=generator, device=plus.device)
        x = matcher.sample_xt(plus, minus, t, noise)
        return FlowPoints(x, t * plates.L, matcher.compute_conditional_flow(plus, minus, t, x))

    def sample(self, field: LearnedField, x0: Tensor, support: Support, travel: Travel) -> Lines:
        """Follow the velocity by the settings' solver, in ``travel.steps`` steps."""
        self.refuse(travel, "max_steps", takes="steps")
        settings = self.settings.sample
        steps = settings.steps if travel.steps is None else travel.steps
        if settings.solver == "multistep":
            heights = [field.L * k / steps for k in range(steps + 1)]
            way = heights[::-1] if travel.reverse else heights
            return carry(VelocityFlow(field), x0, way, "multistep", return_paths=travel.return_paths)
        followed: FieldProtocol = reversed_field(field) if travel.reverse else field
        lines = forward_map(
            followed,
            x0,
            steps=steps,
            method=settings.solver,
            return_paths=travel.return_paths,
        )
        return mirrored(lines, field.L) if travel.reverse else lines


def transport_pairs(plus: Tensor, minus: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """As many pairs as rows, drawn from the optimal transport plan of squared distances, each [N, D].

    Args:
        plus: data on the plus plate, [N, D].
        minus: data on the minus plate, [N, D].
        generator: of the draws, on the data's device.
    """
    with extra("flow"):
        from torchcfm.optimal_transport import OTPlanSampler

    plan = torch.from_numpy(OTPlanSampler(method="exact").get_map(plus, minus)).to(plus.device)
    # torchcfm's own draws take numpy's global random state; all rows of a plan weigh the same
    row = torch.randint(len(plus), (len(plus),), generator=generator, device=plus.device)
    column = torch.multinomial(plan[row], 1, generator=generator)[:, 0]
    return plus[row], minus[column]
