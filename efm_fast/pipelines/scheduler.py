"""A scheduler of diffusers whose steps are those of this package's maps."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..extras import extra
from ..lines.integrate.heights import Heights
from ..methods import Method
from ..methods.field_matching import FieldMatching, PlateMeansFlow
from ..methods.flow_matching import FlowMatching, VelocityFlow
from ..methods.interaction_field import InteractionField, Tube, TubeFlow, TubeMeans
from ..methods.parametrisation import PlateMeans
from ..methods.pfgm import PFGM
from ..methods.pfgmpp import PFGMPP, DenoiserFlow
from ..methods.samplers import EXPONENTIAL, DirectionFlow, Flow, Held, ahead, log_spaced, rho_spaced
from ..runs.run import Run
from .model import TIMES

with extra("images"):
    from diffusers import ConfigMixin, SchedulerMixin
    from diffusers.configuration_utils import register_to_config
    from diffusers.utils import BaseOutput

Prediction = Literal["velocity", "sample", "plate_means", "tube", "direction"]
PREDICTIONS = ("velocity", "sample", "plate_means", "tube", "direction")
SOLVERS = ("euler", "heun", "midpoint", *EXPONENTIAL)
SPACINGS = ("uniform", "log", "rho", "log_minus")
LANDINGS = ("none", "extra", "last")
_HEIGHTS = {"start": 0.0, "stop": 1.0, "spacing": "uniform", "landing": "none"}


@dataclass
class FieldMatchingSchedulerOutput(BaseOutput):
    """One step.

    Attributes:
        prev_sample: the samples after it, [N, C, H, W], data units; with "heun" and "midpoint", after its first half,
            where the network looks next.
    """

    prev_sample: Tensor


@dataclass(frozen=True)
class _Stage:
    """One evaluation of the network: where, and what its answer is used for.

    Attributes:
        z: height of the evaluation, data units.
        kind: "euler", "exponential", "multistep", or the "look" and the "go" of a step with two evaluations.
        new_z: height of the samples afterwards.
        rate: step of the schedule's own parameter times the derivative of the height, data units.
    """

    z: float
    kind: str
    new_z: float
    rate: float


class FieldMatchingScheduler(SchedulerMixin, ConfigMixin):
    """Steps from the plus plate to the minus plate; its times run from 0 to 1000, in proportion to the height.

    A model gives, for images [N, C, H, W] and a time, what ``prediction_type`` says: "velocity" dx/dt per unit of z / L
    (flow matching), "sample" the posterior mean of the data on the minus plate (PFGM, PFGM++, diffusion as EDM has it),
    "plate_means" the share of flux and both plate means in 2 C + 1 channels (field matching), "tube" two parts of C
    channels (interaction field), "direction" the field in C + 1 channels. Solvers are those of
    :mod:`efm_fast.methods.samplers`.

    Args:
        prediction_type: what the model gives.
        L: distance between the plates, data units; for "sample", the largest noise level.
        solver: "euler", "exponential" and "multistep" take one evaluation a step, "heun" and "midpoint" two.
        heights: start and stop as shares of L, 0 to 1; spacing "uniform", "log" by constant factors from both plates,
            "rho" equidistant in the root of order 7 of the distance from the minus plate, or "log_minus" by a constant
            factor of it; landing "none", or by an exponential step from stop to the plate, one more ("extra") or the
            "last" of the steps.
        steps: their number where :meth:`set_timesteps` is not told.
        tube: radius, data units, and end of the tubes of "tube".

    Raises:
        InputError: an unknown name, or lengths that contradict each other.
    """

    config_name = "scheduler_config.json"
    init_noise_sigma = 1.0
    timesteps: Tensor

    @register_to_config
    def __init__(
        self,
        prediction_type: str = "velocity",
        L: float = 1.0,
        solver: str = "euler",
        heights: dict[str, Any] | None = None,
        steps: int = 20,
        tube: dict[str, float] | None = None,
    ) -> None:
        checks.choice("prediction_type", prediction_type, PREDICTIONS)
        checks.choice("solver", solver, SOLVERS)
        self.L = checks.length("L", L)
        for key in heights or {}:
            checks.choice("heights", key, _HEIGHTS)
        self._heights = {**_HEIGHTS, **(heights or {})}
        checks.choice("heights.spacing", self._heights["spacing"], SPACINGS)
        checks.choice("heights.landing", self._heights["landing"], LANDINGS)
        start, stop = (checks.not_negative(f"heights.{key}", self._heights[key]) for key in ("start", "stop"))
        if not start < stop <= 1.0:
            raise InputError(f"heights: expected 0 <= start < stop <= 1, got {start} and {stop}")
        if (self._heights["landing"] != "none" or self._heights["spacing"] != "uniform") and stop == 1.0:
            raise InputError(
                "heights.stop: expected one below 1 with a landing, or spacing other than uniform"
            )
        if self._heights["spacing"] == "log" and start == 0.0:
            raise InputError("heights.start: expected one above 0 with spacing = log")
        self._flow = self._flow_of(prediction_type, tube)
        self.set_timesteps(steps)

    @classmethod
    def from_run(cls, run: Run, **changes: Any) -> FieldMatchingScheduler:
        """The scheduler whose steps are those of the run's own map: the forward map, where field matching has two.

        Args:
            run: a trained run.
            changes: arguments that replace the run's, such as solver="multistep".

        Raises:
            InputError: a method whose samples follow no velocity, or a solver of another kind, such as rk4.
        """
        checks.instance("run", run, Run, "a run, from efm_fast.train(...) or efm_fast.load(folder)")
        return cls(**{**settings_of(run.method), **changes})

    @property
    def order(self) -> int:
        """Evaluations of a step."""
        return 2 if self.config["solver"] in ("heun", "midpoint") else 1

    @property
    def step_index(self) -> int | None:
        """The evaluation that comes next, or None before the first."""
        return self._index

    def __len__(self) -> int:
        return int(TIMES)

    def set_timesteps(
        self, num_inference_steps: int | None = None, device: str | torch.device | None = None
    ) -> None:
        """Set the times of the evaluations, ``timesteps``, float64, rising.

        Args:
            num_inference_steps: steps; None for those of the config.
            device: where ``timesteps`` are to be.

        Raises:
            InputError: steps below 1.
        """
        steps = checks.count(
            "num_inference_steps",
            self.config["steps"] if num_inference_steps is None else num_inference_steps,
        )
        self.num_inference_steps = steps
        self._stages = self._plan(steps)
        times = [stage.z / self.L * TIMES for stage in self._stages]
        self.timesteps = torch.tensor(times, dtype=torch.float64, device=device)
        self._index: int | None = None
        self._before: Held | None = None
        self._base: Tensor | None = None
        self._slope: Tensor | None = None

    def scale_model_input(self, sample: Tensor, timestep: Tensor | float | None = None) -> Tensor:
        """``sample`` as it is: a model of this package scales its input itself."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor | float,
        sample: Tensor,
        generator: torch.Generator | None = None,
        return_dict: bool = True,
    ) -> FieldMatchingSchedulerOutput | tuple[Tensor]:
        """Carry ``sample`` on with what the model gave at ``timestep``.

        Args:
            model_output: [N, K, H, W], as ``prediction_type`` says.
            timestep: the one of ``timesteps`` that the model was asked at.
            sample: [N, C, H, W], data units.
            generator: not used; nothing here is random.
            return_dict: a record, else a tuple.

        Raises:
            InputError: a time out of turn, or a wrong number of channels.
        """
        stage = self._next(float(timestep))
        x = sample.flatten(1).float()
        held = self._parts(model_output.float(), sample.shape[1])
        after = self._advance(stage, held, x)
        out = after.unflatten(1, sample.shape[1:]).to(sample.dtype)
        return FieldMatchingSchedulerOutput(prev_sample=out) if return_dict else (out,)

    def _advance(self, stage: _Stage, held: Held, x: Tensor) -> Tensor:
        flow, before, self._before = self._flow, self._before, held
        if stage.kind in EXPONENTIAL:
            used = ahead(held, before) if stage.kind == "multistep" else held
            return flow.advance(used, x, stage.z, stage.new_z)
        slope = stage.rate * flow.velocity(held, x, stage.z)
        if stage.kind == "euler":
            return x + slope
        if stage.kind == "look":
            self._base, self._slope = x, slope
            return x + slope if self.config["solver"] == "heun" else x + 0.5 * slope
        assert self._base is not None
        assert self._slope is not None
        return self._base + (0.5 * (self._slope + slope) if self.config["solver"] == "heun" else slope)

    def _next(self, timestep: float) -> _Stage:
        if self._index is None:
            self._index = 0
        if self._index == len(self._stages):
            raise InputError("timestep: every step was taken; call set_timesteps to begin again")
        expected = float(self.timesteps[self._index])
        if not math.isclose(timestep, expected, rel_tol=1e-6, abs_tol=1e-6):
            raise InputError(f"timestep: expected {expected:g}, the next of timesteps, got {timestep:g}")
        self._index += 1
        return self._stages[self._index - 1]

    def _parts(self, output: Tensor, channels: int) -> Held:
        """What the flow holds, each part [N, D], of the model's channels."""
        kind = self.config["prediction_type"]
        wanted = {"plate_means": 2 * channels + 1, "tube": 2 * channels, "direction": channels + 1}.get(
            kind, channels
        )
        if output.ndim != 4 or output.shape[1] != wanted:
            raise InputError(
                f"model_output: expected {wanted} channels for prediction_type = {kind}, got {checks.describe(output)}"
            )
        if kind == "plate_means":
            plus, minus = output[:, 1 : 1 + channels], output[:, 1 + channels :]
            return output[:, 0].flatten(1)[:, :1], plus.flatten(1), minus.flatten(1)
        if kind == "direction":
            return (torch.cat([output[:, :-1].flatten(1), output[:, -1].flatten(1)[:, :1]], 1),)
        return tuple(part.flatten(1) for part in output.split(channels, 1))

    def _flow_of(self, prediction_type: str, tube: dict[str, float] | None) -> Flow:
        length: Any = SimpleNamespace(L=self.L)
        if prediction_type == "tube":
            if tube is None or tube.keys() != {"radius", "end"}:
                raise InputError(f"tube: expected radius and end, got {checks.describe(tube)}")
            return TubeFlow(length, TubeMeans(length, Tube(tube["radius"], self.L, tube["end"])))
        flows: dict[str, Any] = {
            "velocity": VelocityFlow,
            "sample": DenoiserFlow,
            "plate_means": PlateMeansFlow,
            "direction": DirectionFlow,
        }
        return flows[prediction_type](length)

    def _plan(self, steps: int) -> list[_Stage]:
        """Every evaluation of a way of so many steps."""
        landing, solver = self._heights["landing"], self.config["solver"]
        start, stop = self._heights["start"] * self.L, self._heights["stop"] * self.L
        spaced = max(steps - 1, 1) if landing == "last" else steps
        schedule, times = self._schedule(start, stop, spaced)
        if landing == "last":
            times = times[:steps]
        stages = []
        for t, new_t in itertools.pairwise(times):
            z, new_z, dt = schedule.z(t), schedule.z(new_t), new_t - t
            rate = dt * schedule.dz_dt(t)
            if self.order == 1:
                stages.append(_Stage(z, solver, new_z, rate))
                continue
            middle = new_t if solver == "heun" else t + 0.5 * dt
            stages.append(_Stage(z, "look", schedule.z(middle), rate))
            stages.append(_Stage(schedule.z(middle), "go", new_z, dt * schedule.dz_dt(middle)))
        if landing != "none":
            stages.append(_Stage(schedule.z(times[-1]), "exponential", self.L, 0.0))
        return stages

    def _schedule(self, start: float, stop: float, steps: int) -> tuple[Heights, list[float]]:
        """A schedule, and the values of its own parameter at every height."""
        L, spacing = self.L, self._heights["spacing"]
        if spacing in ("rho", "log_minus"):
            below = (L - start, L - stop, steps)
            distances = rho_spaced(*below, 7.0) if spacing == "rho" else log_spaced(*below)
            return Heights("uniform", L, start, stop, steps), [L - h for h in distances]
        schedule = Heights(spacing, L, start, stop, steps)
        return schedule, [schedule.first + k * schedule.dt for k in range(steps + 1)]


def settings_of(method: Method) -> dict[str, Any]:
    """The arguments of a scheduler that steps as ``method`` does.

    Raises:
        InputError: a method whose samples follow no velocity.
    """
    L, settings = method.problem.geometry.L, method.settings
    if isinstance(method, FieldMatching):
        return _of_field_matching(method)
    if isinstance(method, FlowMatching):
        sample = method.settings.sample
        return {"prediction_type": "velocity", "L": L, "solver": sample.solver, "steps": sample.steps}
    if isinstance(method, InteractionField):
        sampling = {"L": L, "solver": method.settings.sample.solver, "steps": method.settings.sample.steps}
        if not isinstance(method.parametrisation, TubeMeans):
            return {"prediction_type": "direction", **sampling}
        tube = {"radius": method.tube.radius, "end": method.tube.end}
        return {"prediction_type": "tube", "tube": tube, **sampling}
    if isinstance(method, PFGMPP):
        own = method.settings.sample
        spacing = "rho" if own.spacing == "rho" else "log_minus"
        stop = 1.0 - method.problem.geometry.nearest / L
        heights = {"start": 0.0, "stop": stop, "spacing": spacing, "landing": "last"}
        return {
            "prediction_type": "sample",
            "L": L,
            "solver": own.solver,
            "steps": own.steps,
            "heights": heights,
        }
    if isinstance(method, PFGM):
        return _of_pfgm(method)
    raise InputError(f"run: {settings.name} has no scheduler; write one, or use efm_fast.sample")


def _of_field_matching(method: FieldMatching) -> dict[str, Any]:
    """The forward map.

    Raises:
        InputError: starts by chance, which a scheduler does not draw.
    """
    if method.settings.sample.start == "flux":
        raise InputError("run: method.sample.start = flux draws starts by chance; efm_fast.sample serves it")
    sample, L = method.settings.sample, method.problem.geometry.L
    landing = sample.margin if sample.landing is None else sample.landing
    has_means = isinstance(method.parametrisation, PlateMeans)
    return {
        "prediction_type": "plate_means" if has_means else "direction",
        "L": L,
        "solver": sample.solver,
        "steps": sample.forward_steps,
        "heights": {
            "start": sample.margin,
            "stop": 1.0 - landing,
            "spacing": sample.spacing,
            "landing": "extra" if has_means else "none",
        },
    }


def _of_pfgm(method: PFGM) -> dict[str, Any]:
    """Fixed steps, also where the settings have the adaptive solver."""
    L, sample = method.problem.geometry.L, method.settings.sample
    stop = 1.0 - method.unit * method.settings.z_min / L
    return {
        "prediction_type": "sample",
        "L": L,
        "solver": sample.solver if sample.solver in EXPONENTIAL else "multistep",
        "steps": sample.steps,
        "heights": {"start": 0.0, "stop": stop, "spacing": "log_minus", "landing": "none"},
    }
