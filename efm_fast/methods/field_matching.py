"""Electrostatic field matching (EFM, ICML 2025): the field between two charged plates, and its lines."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor

from ..errors import InputError
from ..extras import extra
from ..lines import ExactField, Lines, Support, follow_from, forward_map, full_map
from ..lines.integrate.heights import Heights
from ..sections import Choice, Length, PositiveFloat, PositiveInt, Section, length_in_data_units
from ..types import Plates, PosteriorField
from .descent import START, DescentPoints, flux_starts
from .interplate import (
    BoxPoints,
    CoupledPoints,
    FluxPoints,
    InterplatePoints,
    InterplateStrategy,
    LinearPoints,
)
from .learned import LearnedField
from .line_bank import LineBank
from .method import Method, MethodSettings, Problem, Travel
from .parametrisation import DirectField, Parametrisation, PlateMeans, PreconditionedMeans
from .samplers import EXPONENTIAL, DirectionFlow, Flow, Held, Solver, carry, rho_spaced
from .targets import Normalization

with extra("train"):
    from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

_NEAREST = Field(
    default="0.001 s",
    description="smallest distance from a plate: of flux points, and of heights that the network tells apart",
)
_CHARGES = Field(default=1024, description="charges per plate and step, whose field is the target")


class PointsSettings(Section):
    """Where the field is learned."""

    strategy: str
    nearest: Length = _NEAREST


class FluxSettings(PointsSettings):
    """Points that field lines pass, by the law of flux."""

    strategy: Literal["flux"]
    charges: PositiveInt = _CHARGES
    behind: Length | None = Field(default=None, description="largest distance behind a plate; null: none")


class LinearSettings(PointsSettings):
    """Points between random pairs of charges, as the paper has them."""

    strategy: Literal["linear"]
    charges: PositiveInt = _CHARGES
    noise: float = Field(default=0.0, ge=0, description="standard deviation of the noise on x")


class CoupledSettings(PointsSettings):
    """Points between charges that the field couples, at any height; for images."""

    strategy: Literal["coupled"]
    charges: PositiveInt = Field(
        default=4096, description="charges per plate and step, whose field is the target"
    )
    noise: float = Field(
        default=0.1, ge=0, description="largest standard deviation of the noise on x, data units"
    )


class DescentSettings(PointsSettings):
    """Flux points near the minus plate, of log-normal height; for generation."""

    strategy: Literal["descent"]
    charges: PositiveInt = _CHARGES
    log_mean: float = Field(default=-0.9, description="mean of log(height / rms of a centred feature)")
    log_width: PositiveFloat = Field(default=1.2, description="standard deviation of it")


class BoxSettings(PointsSettings):
    """Points uniform in a box around the charges."""

    strategy: Literal["box"]
    charges: PositiveInt = _CHARGES
    margin: float = Field(default=0.0, ge=0, description="reach beyond the charges, data units")


class LinesSettings(PointsSettings):
    """Points on exact lines of a bank of charges, whose field is the target."""

    strategy: Literal["lines"]
    bank: PositiveInt = Field(default=2048, description="charges per plate whose lines fill the bank")
    refresh: PositiveInt = Field(default=1000, description="steps between fresh banks")


class CustomSettings(PointsSettings):
    """Points of the strategy that was passed to ``train``."""

    strategy: Literal["custom"]
    charges: PositiveInt = _CHARGES


_STRATEGIES: dict[str, type[PointsSettings]] = {
    "flux": FluxSettings,
    "linear": LinearSettings,
    "coupled": CoupledSettings,
    "descent": DescentSettings,
    "box": BoxSettings,
    "lines": LinesSettings,
    "custom": CustomSettings,
}


class FieldSampleSettings(Section):
    """How samples follow the field; ``sample`` can be asked for either map of any run."""

    map: Literal["full", "forward"] = Field(
        default="full", description="full stochastic map, or forward only"
    )
    start: Literal["plate", "flux"] = Field(
        default="plate",
        description="forward: from the plus plate, or for generation by the law of flux, L / 4 from the minus plate",
    )
    margin: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="forward: share of L left out at each plate; with plate means the last step jumps to the plate",
    )
    landing: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="forward: share of L left out at the minus plate, if not margin",
    )
    forward_steps: PositiveInt = Field(default=40, description="forward: number of steps")
    solver: Solver = Field(
        default="midpoint",
        description="forward: heun and midpoint take 2 evaluations a step, the others 1; exponential and multistep"
        " hold plate means and share",
    )
    spacing: Literal["log", "uniform", "rho"] = Field(
        default="log",
        description="forward: heights by constant factors from both plates, of equal distance, or equidistant in the"
        " root of order 7 of the distance from the minus plate (exponential and multistep)",
    )
    step: PositiveFloat = Field(default=0.35, description="full: step over the distance to the charges")
    max_steps: PositiveInt = Field(default=200, description="full: lines that take more steps end unfinished")

    def heights(self, L: float, start: float, stop: float, steps: int) -> list[float]:
        """``steps`` + 1 heights from ``start`` to ``stop``, and the plate at L."""
        if self.spacing == "rho":
            return [*(L - h for h in rho_spaced(L - start, L - stop, steps, 7.0)), L]
        schedule = Heights(self.spacing, L, start, stop, steps)
        return [*(schedule.z(schedule.first + k * schedule.dt) for k in range(steps)), stop, L]

    @model_validator(mode="after")
    def _refuse_rho_for_other_solvers(self) -> FieldSampleSettings:
        if self.spacing == "rho" and self.solver not in EXPONENTIAL:
            raise InputError(
                f"method.sample.spacing: rho takes solver = exponential or multistep, got solver = {self.solver}"
            )
        return self


class FieldMatchingSettings(MethodSettings):
    """Settings of :class:`FieldMatching`."""

    name: Literal["field_matching"]
    L: Length = Field(default="1 s", description="distance between the plates")
    parametrisation: Literal["plate_means", "preconditioned", "direct"] = Field(
        default="plate_means",
        description="what the network's output means; preconditioned: plate means as EDM has them, for generation",
    )
    normalization: Normalization = Field(
        default="superposition",
        description="per_plate: the authors' published form, for parity (direct field, points other than flux)",
    )
    points: Annotated[
        SerializeAsAny[PointsSettings], BeforeValidator(Choice("strategy", "flux", _STRATEGIES))
    ] = Field(default="flux", validate_default=True, description="where the field is learned")
    sample: FieldSampleSettings = Field(
        default=FieldSampleSettings(), description="how samples follow the field"
    )

    @model_validator(mode="after")
    def _refuse_what_has_no_effect(self) -> FieldMatchingSettings:
        if self.parametrisation == "direct" and self.sample.solver in EXPONENTIAL:
            raise InputError(
                f"method.sample.solver: {self.sample.solver} takes method.parametrisation = plate_means, got direct"
            )
        if self.normalization == "superposition":
            return self
        for key, value, used in (
            ("parametrisation", self.parametrisation, self.parametrisation == "direct"),
            ("points.strategy", self.points.strategy, self.points.strategy != "flux"),
        ):
            if not used:
                raise InputError(
                    f"method.normalization: per_plate has no effect with method.{key} = {value}; leave it out"
                )
        return self

    def lengths(self, s: float, scale: float) -> tuple[float, float]:
        """L and ``points.nearest``, data units."""
        return length_in_data_units(self.L, s), length_in_data_units(self.points.nearest, s)


@dataclass(frozen=True)
class PlateMeansFlow:
    """dx/dz = kappa (x - m+) / z - (1 - kappa) (x - m-) / (L - z) of a field; kappa is the share of flux."""

    field: PosteriorField

    def held(self, x: Tensor, z: float) -> Held:
        """kappa, m+ and m-."""
        posterior = self.field.posterior(x, x.new_full((len(x),), z, dtype=torch.float64))
        assert posterior is not None
        above = posterior.share_plus * z
        below = (1.0 - posterior.share_plus) * (self.field.L - z)
        return (above / (above + below))[:, None], posterior.mean_plus, posterior.mean_minus

    def velocity(self, held: Held, x: Tensor, z: float) -> Tensor:
        """dx/dz."""
        kappa, plus, minus = held
        return kappa * (x - plus) / z - (1.0 - kappa) * (x - minus) / (self.field.L - z)

    def advance(self, held: Held, x: Tensor, z: float, new_z: float) -> Tensor:
        """The way from the segment between the means grows as z^kappa (L - z)^(1 - kappa), which is 0 on a plate."""
        (kappa, plus, minus), L = held, self.field.L
        between = torch.lerp(plus, minus, z / L)
        if not 0.0 < new_z < L:
            return plus if new_z <= 0.0 else minus
        kappa = kappa.clamp(0.0, 1.0)  # extrapolated shares may leave the interval
        growth = torch.exp(kappa * math.log(new_z / z) + (1.0 - kappa) * math.log((L - new_z) / (L - z)))
        return torch.lerp(plus, minus, new_z / L) + growth * (x - between)


class FieldMatching(Method):
    """Inter-plate points by a strategy, the field of both plates' charges there, and a map along its lines.

    Args:
        settings: its settings.
        problem: what it is made for.
        strategy: inter-plate points of one's own, for ``points.strategy = custom``.
    """

    Settings = FieldMatchingSettings
    maps = ("full", "forward")
    settings: FieldMatchingSettings

    def __init__(
        self, settings: FieldMatchingSettings, problem: Problem, strategy: InterplateStrategy | None = None
    ) -> None:
        super().__init__(settings, problem)
        self._own_strategy = strategy
        self.parametrisation: Parametrisation = DirectField(problem.geometry, settings.normalization)
        if settings.parametrisation != "direct":
            means = {"plate_means": PlateMeans, "preconditioned": PreconditionedMeans}
            self.parametrisation = means[settings.parametrisation](problem.geometry)

    @property
    def map(self) -> str:
        """The map that its settings choose."""
        return self.settings.sample.map

    def charges(self, batch: int) -> int:
        """The charges of a step's target; a bank of lines has its own, and takes as many as there are points."""
        return getattr(self.settings.points, "charges", batch)

    @functools.cached_property
    def strategy(self) -> InterplateStrategy:
        """Where the field is learned, lengths resolved in data units.

        Raises:
            InputError: lengths that contradict each other, or a strategy of one's own that was not given.
        """
        points, geometry = self.settings.points, self.problem.geometry
        if self._own_strategy is not None:
            return self._own_strategy
        if isinstance(points, FluxSettings):
            behind = 0.0 if points.behind is None else length_in_data_units(points.behind, geometry.s)
            return FluxPoints(nearest=geometry.nearest, behind=behind)
        if isinstance(points, LinearSettings):
            return LinearPoints(points.noise)
        if isinstance(points, CoupledSettings):
            return CoupledPoints(nearest=geometry.nearest, noise=points.noise)
        if isinstance(points, DescentSettings):
            return DescentPoints(geometry.nearest, geometry.scale, points.log_mean, points.log_width)
        if isinstance(points, BoxSettings):
            return BoxPoints(points.margin)
        if isinstance(points, LinesSettings):
            problem = self.problem
            return LineBank(
                problem.plus,
                problem.minus,
                geometry.L,
                charges=points.bank,
                refresh=points.refresh,
                seed=problem.seed,
                clearance=0.1 * geometry.scale,
            )
        raise InputError(
            "method.points.strategy: custom is a strategy of your own: pass it to train as strategy=..."
        )

    def points(self, plates: Plates, n: int, generator: Generator, step: int) -> InterplatePoints:
        """``n`` points of the strategy.

        Raises:
            InputError: a strategy of one's own gave something else.
        """
        points = self.strategy(plates, n, generator, step)
        expected = f"x {[n, plates.plus.shape[1]]} and z {[n]}"
        got = f"an object of type {type(points).__name__}"
        if isinstance(points, InterplatePoints):
            got = f"x {list(points.x.shape)} and z {list(points.z.shape)}"
        if got != expected:
            raise InputError(f"strategy: expected InterplatePoints of {expected}, got {got}")
        return points

    def sample(self, field: LearnedField, x0: Tensor, support: Support, travel: Travel) -> Lines:
        """Follow the field's lines by the full or the forward map, see :func:`efm_fast.sample`."""
        if (travel.map or self.map) == "forward":
            return self._forward(field, x0, support, travel)
        self.refuse(travel, "steps", takes="max_steps")
        settings = self.settings.sample
        follow = functools.partial(
            full_map,
            x0=x0,
            support=support.exchanged() if travel.reverse else support,
            step=settings.step,
            max_steps=settings.max_steps if travel.max_steps is None else travel.max_steps,
            seed=travel.seed,
            return_paths=travel.return_paths,
        )
        return follow_from(field, follow, reverse=travel.reverse)

    def flow(self, field: PosteriorField) -> Flow:
        """The slope of the lines between the plates, which the forward map follows."""
        direct = isinstance(self.parametrisation, DirectField)
        return DirectionFlow(field) if direct else PlateMeansFlow(field)

    def _forward(self, field: LearnedField, x0: Tensor, support: Support, travel: Travel) -> Lines:
        self.refuse(travel, "max_steps", takes="steps")
        settings, L = self.settings.sample, field.L
        landing = settings.margin if settings.landing is None else settings.landing
        start, stop = settings.margin * L, L - landing * L
        if settings.start == "flux":
            if travel.reverse:
                raise InputError(
                    "reverse: method.sample.start = flux starts by chance, which has no way back"
                )
            start, x0 = L - START * L, flux_starts(x0, L, support, travel.seed)
        steps = settings.forward_steps if travel.steps is None else travel.steps
        if settings.solver in EXPONENTIAL:
            spaced = settings.heights(L, start, stop, steps)
            way = [L - z for z in spaced] if travel.reverse else spaced
            return carry(
                self.flow(field), x0, way, settings.solver, lands=True, return_paths=travel.return_paths
            )
        follow = functools.partial(
            forward_map,
            x0=x0,
            steps=steps,
            method=settings.solver,  # type: ignore[arg-type]  # the others are exponential
            spacing="log" if settings.spacing == "log" else "uniform",
            start=start,
            stop=stop,
            return_paths=travel.return_paths,
        )
        return follow_from(field, follow, reverse=travel.reverse)

    def exact(self, plates: Plates) -> ExactField:
        """The field of the plates' charges."""
        return ExactField(plates)
