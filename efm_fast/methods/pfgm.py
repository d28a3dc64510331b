"""PFGM (Xu et al. 2022, Poisson Flow Generative Models): data are charges on one plate, seen from afar.

Data lie on the minus plate. They are perturbed far out (algorithm 2), and the network learns the normalised empirical
field of a large batch (algorithm 1). Samples start where field lines cross z_max if the charges are seen from afar.
They follow the lines down to z_min by an ODE in log z (section 3.3); at small z the height's part of the field is
computed from the learned lateral part (appendix B.2.3). Heights in this file are distances from the data's plate; the
plates of the run lie z_max apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from ..extras import extra
from ..field import riesz_sum
from ..lines import Lines, LineStatus, Support
from ..sections import PositiveFloat, PositiveInt, Section
from ..types import Geometry, Plates
from .learned import LearnedField
from .method import Method, MethodSettings, Problem, Travel
from .parametrisation import Parametrisation
from .pfgmpp import DenoiserFlow
from .samplers import Held, carry, log_spaced

with extra("train"):
    from pydantic import Field
    from scipy.integrate import solve_ivp

# The paper's numbers are for images in [-1, 1], whose features have a root mean square of about a half; lengths are in
# units of twice that of the data at hand. Both are given for D = 3072 and scale with sqrt(D).
_FARTHEST = 3000.0 / math.sqrt(3072)
_GAMMA = 5.0 / math.sqrt(3072)


class PFGMSampleSettings(Section):
    """How samples follow the field."""

    solver: Literal["rk45", "euler", "exponential", "multistep"] = Field(
        default="rk45",
        description="rk45: the paper's adaptive solver; the others: fixed steps in log z, with 1 evaluation each",
    )
    steps: PositiveInt = Field(default=100, description="number of fixed steps")
    tolerance: PositiveFloat = Field(default=1e-4, description="rk45: relative and absolute tolerance")
    substitute_below: PositiveFloat = Field(
        default=1.0, description="height under which the field's height part comes from its lateral part"
    )


class PFGMSettings(MethodSettings):
    """Settings of :class:`PFGM`; lengths are in units of twice the data's root mean square feature."""

    name: Literal["pfgm"]
    charges: PositiveInt = Field(default=1024, description="charges per step, whose field is the target")
    sigma: PositiveFloat = Field(default=0.01, description="smallest perturbation")
    tau: PositiveFloat = Field(default=0.03, description="growth of the perturbation per power")
    largest_power: PositiveFloat = Field(default=291.0, description="largest power of 1 + tau")
    z_max: PositiveFloat = Field(default=40.0, description="height at which samples start")
    z_min: PositiveFloat = Field(default=1e-3, description="height at which samples end")
    sample: PFGMSampleSettings = Field(
        default=PFGMSampleSettings(), description="how samples follow the field"
    )

    def lengths(self, s: float, scale: float) -> tuple[float, float]:
        """z_max and z_min, data units."""
        return self.z_max * 2.0 * scale, self.z_min * 2.0 * scale


@dataclass(frozen=True)
class PFGMPoints:
    """Points around data.

    Attributes:
        x: features, [N, D], data units.
        z: heights between the plates of the run, float64 [N], data units.
        charges: the data whose field is learned, [M, D].
    """

    x: Tensor
    z: Tensor
    charges: Tensor


class NormalisedField(Parametrisation):
    """The network's output is -sqrt(D) E / (|E| + gamma): D features, and the height's part as its scalar.

    Args:
        geometry: the lengths of the problem.
    """

    groups = 1

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    def direction(self, features: Tensor, scalar: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """The way to the data, [N, D+1]; a height above the data shrinks where z grows."""
        return torch.cat([features[:, 0], -scalar[:, None]], 1)

    def target(self, points: PFGMPoints) -> Tensor:
        """The normalised field of the charges, [N, D+1], its last part along the height above the data."""
        d, unit = points.x.shape[1], 2.0 * self.geometry.scale
        height = self.geometry.L - points.z
        total = riesz_sum(points.x, points.charges, power=d + 1.0, height=height)
        field = torch.cat([total.v / total.w[:, None], height.to(points.x.dtype)[:, None]], 1) / unit
        return -math.sqrt(d) * field / (field.norm(dim=1, keepdim=True) + _GAMMA * math.sqrt(d))

    def loss(self, features: Tensor, scalar: Tensor, points: PFGMPoints, target: Tensor) -> Tensor:
        """Mean squared error of a component."""
        return (torch.cat([features[:, 0], scalar[:, None]], 1) - target).square().mean()


@dataclass(frozen=True)
class DataMeanFlow(DenoiserFlow):
    """dx/dh = (x - m) / h, with the posterior mean m computed from the normalised field."""

    pfgm: PFGM

    def held(self, x: Tensor, z: float) -> Held:
        """The posterior mean of the data."""
        return (x - self.pfgm.rate(self.field, x, (self.field.L - z) / self.pfgm.unit),)


class PFGM(Method):
    """Points around data of one plate, the normalised field there, and lines from afar down to the data.

    Args:
        settings: its settings.
        problem: what it is made for.
    """

    Settings = PFGMSettings
    maps = ("lines",)
    has_prior = True
    shared = ("charges",)
    settings: PFGMSettings

    def __init__(self, settings: PFGMSettings, problem: Problem) -> None:
        super().__init__(settings, problem)
        self.parametrisation = NormalisedField(problem.geometry)
        self.unit = 2.0 * problem.geometry.scale

    def charges(self, batch: int) -> int:
        """The charges of a step's target, of which the first are perturbed."""
        return max(self.settings.charges, batch)

    def points(self, plates: Plates, n: int, generator: Generator, step: int) -> PFGMPoints:
        """``n`` of the minus plate's data, each perturbed sideways and in height (algorithm 2)."""
        x = plates.minus[:n]

        def gauss(columns: int) -> Tensor:
            return torch.randn(n, columns, generator=generator, dtype=torch.float64, device=x.device)

        noise = self.settings.sigma * gauss(x.shape[1] + 1)
        power = torch.rand(n, generator=generator, dtype=torch.float64, device=x.device)
        growth = (1.0 + self.settings.tau) ** (self.settings.largest_power * power)
        lateral = self.unit * growth * noise[:, :-1].norm(dim=1)
        height = self.unit * growth * noise[:, -1].abs()
        away = torch.nn.functional.normalize(gauss(x.shape[1]))
        return PFGMPoints((x + lateral[:, None] * away).to(x.dtype), plates.L - height, plates.minus)

    def start(self, n: int, generator: Generator) -> Tensor:
        """Where lines from afar cross z_max: the sphere's uniform distribution, projected and cut; [n, D]."""
        centre = torch.tensor(self.problem.geometry.centre)
        d = len(centre)
        gauss = torch.randn(n, d + 1, generator=generator, dtype=torch.float64)
        offset = self.settings.z_max * gauss[:, 1:] / gauss[:, :1].abs()
        size = offset.norm(dim=1, keepdim=True)
        return centre + self.unit * (offset * (_FARTHEST * math.sqrt(d) / size).clamp_max(1.0)).float()

    def flow(self, field: LearnedField) -> DataMeanFlow:
        """The way to the posterior mean of the data."""
        return DataMeanFlow(field, self)

    def sample(self, field: LearnedField, x0: Tensor, support: Support, travel: Travel) -> Lines:
        """Follow the lines down to the data, or from data up to z_max.

        ``travel.steps`` asks for as many fixed steps: of Euler, where the settings' solver is the adaptive one.
        """
        self.refuse(travel, "max_steps", takes="steps")
        settings, L = self.settings.sample, self.problem.geometry.L
        steps = settings.steps if travel.steps is None and settings.solver != "rk45" else travel.steps
        first, last = (self.settings.z_max, self.settings.z_min)[:: -1 if travel.reverse else 1]
        if settings.solver == "exponential" or settings.solver == "multistep":
            heights = log_spaced(first, last, steps or settings.steps)
            way = [L - self.unit * height for height in heights]
            lines = carry(self.flow(field), x0, way, settings.solver, return_paths=travel.return_paths)
            return replace(lines, end_z=lines.end_z.new_full((len(x0),), 0.0 if travel.reverse else L))
        start, stop = math.log(first), math.log(last)
        alive = torch.isfinite(x0).all(1)
        begin = x0[alive]
        if steps is None:
            times, points, count = self._adaptive(field, begin, start, stop)
        else:
            times, points, count = self._euler(field, begin, start, stop, steps)
        return self._lines(x0, alive, times, points, count, travel)

    @torch.no_grad()
    def rate(self, field: LearnedField, x: Tensor, height: float) -> Tensor:
        """dx / d log z, [N, D], data units, at x [N, D] and a height in units of ``unit``."""
        features, scalar = field(x, x.new_full((len(x),), field.L - height * self.unit, dtype=torch.float64))
        lateral, vertical = features[:, 0], scalar
        root = math.sqrt(x.shape[1])
        if height < self.settings.sample.substitute_below:
            gamma = _GAMMA * root
            share = (lateral.norm(dim=1) / root).clamp_max(1.0 - 1e-6)
            size = gamma * share / (1.0 - share)
            vertical = -root * height / (torch.hypot(size, torch.full_like(size, height)) + gamma)
        return height * self.unit * lateral / vertical.clamp_max(-1e-5)[:, None]

    def _euler(
        self, field: LearnedField, x: Tensor, start: float, stop: float, steps: int
    ) -> tuple[list[float], list[Tensor], int]:
        """Times in log z and the points there, and the evaluations of each line."""
        dt = (stop - start) / steps
        times, points = [start], [x]
        for k in range(steps):
            x = x + dt * self.rate(field, x, math.exp(start + k * dt))
            times.append(start + (k + 1) * dt)
            points.append(x)
        return times, points, steps

    def _adaptive(
        self, field: LearnedField, x: Tensor, start: float, stop: float
    ) -> tuple[list[float], list[Tensor], int]:
        """The same by the paper's Runge-Kutta pair, whose steps are those of the whole batch."""
        if len(x) == 0:
            return [start, stop], [x, x], 0

        def slope(t: float, flat: object) -> object:
            at = torch.as_tensor(flat).to(x.device, torch.float32).view(x.shape)
            return self.rate(field, at, math.exp(t)).flatten().cpu().numpy()

        tolerance = self.settings.sample.tolerance
        solved = solve_ivp(
            slope, (start, stop), x.flatten().cpu().numpy(), method="RK45", rtol=tolerance, atol=tolerance
        )
        points = torch.from_numpy(solved.y.T).to(x).view(-1, *x.shape)
        return solved.t.tolist(), list(points), int(solved.nfev)

    def _lines(
        self,
        x0: Tensor,
        alive: Tensor,
        times: list[float],
        points: list[Tensor],
        count: int,
        travel: Travel,
    ) -> Lines:
        """The lines of ``alive`` rows as a record of all rows; the others have failed."""
        L = self.problem.geometry.L
        heights = [L - self.unit * math.exp(t) for t in times]
        paths = x0.new_full((len(points), len(x0), x0.shape[1] + 1), math.nan)
        for k, (x, z) in enumerate(zip(points, heights, strict=True)):
            paths[k, alive] = torch.cat([x, x.new_full((len(x), 1), z)], 1)
        end = paths[-1, :, :-1]
        finite = torch.isfinite(end).all(1)
        return Lines(
            end=torch.where(finite[:, None], end, math.nan),
            end_z=x0.new_full((len(x0),), 0.0 if travel.reverse else L),
            status=torch.where(finite, int(LineStatus.FRONT), int(LineStatus.FAILED)),
            charge=None,
            evaluations=torch.where(alive, count, 0),
            length=paths.diff(dim=0).norm(dim=2).sum(0),
            paths=paths if travel.return_paths else None,
        )
