"""The forward map: it follows lines from one plate to the other, height by height (EFM, Algorithm 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..field.request import working_dtype
from ..types import Field, PosteriorField
from .engine import extension
from .engine.choice import Engine, LineProblem, choose, fuses_steps, takes_whole_lines
from .exact import ExactField
from .integrate.heights import Heights, Spacing, heights
from .integrate.slope_step import means_step, slope_step
from .integrate.steps import TABLEAUS, Method, runge_kutta, slope
from .record import Lines, LineStatus


def forward_map(
    field: Field,
    x0: Tensor,
    *,
    steps: int,
    method: Method = "euler",
    spacing: Spacing = "uniform",
    start: float | None = None,
    stop: float | None = None,
    backend: str = "auto",
    engine: Engine | None = None,
    return_paths: bool = False,
    every: int = 1,
) -> Lines:
    """Carry samples of P from the plus plate to the minus plate along the field, never behind a plate.

    With the defaults this is the paper's Algorithm 2: x += f_x / f_z dz with fixed dz from z = 0 to z = L. With
    ``spacing="log"`` the distances of the heights from the nearer plate grow by a constant factor; a few midpoint steps
    are then enough. If the last height is short of the plate and the field has ``field.arrival``, which predicts where
    lines arrive, the last step is a jump to that place and costs one more evaluation. Otherwise lines end at ``stop``.

    This map is wrong for lines that turn back or go behind the far plate. :func:`full_map` follows those lines too, and
    it is proven to carry P to Q.

    Args:
        field: exact or learned field.
        x0: starts, [N, D], data units.
        steps: number of steps between the plates.
        method: "euler" (1 evaluation per step), "heun", "midpoint" (2) or "rk4" (4).
        spacing: "uniform" or "log" heights.
        start: first height, where lines start at x0; data units, 0 by default and 0.01 L for "log".
        stop: last height, data units; L by default and 0.99 L for "log". In high dimension lines arrive with a slope of
            about sqrt(D + 1), so let them stop short of the plate.
        backend: backend of the sums of an :class:`ExactField`; "auto" means that of the field. With "auto" and "cpp"
            the extension follows whole lines of an exact field in one call if it can (see :func:`trace_lines`), and
            takes the step between two calls of a learned field. "torch" does not use the extension. If gradients are
            needed, torch takes the steps with every backend.
        engine: deprecated, see :func:`trace_lines`.
        return_paths: also return the points of the lines, [T, N, D+1].
        every: a path keeps every ``every``-th height and the last.

    Returns:
        Lines with ``charge`` None. Every finite line is FRONT, at height L, or at ``stop`` if it did not jump.

    Raises:
        InputError: x0 is not [N, D], steps is below 1, the method or spacing is unknown, or heights are wrong.
    """
    checks.tensor("x0", x0, ndim=2)
    checks.choice("method", method, TABLEAUS)
    schedule = heights(spacing, checks.length("field.L", field.L), steps, start, stop)
    every = checks.count("every", every)
    if backend == "auto" and isinstance(field, ExactField):
        backend = field.backend
    choice = choose(backend, engine)
    x = x0 if x0.is_floating_point() else x0.float()
    returned = x.dtype
    steepest = 10.0 * math.sqrt(x.shape[1] + 1)
    keep = every if return_paths else 0
    if isinstance(field, ExactField):
        field, x = replace(field, backend=choice.backend), x.to(_exact_dtype(field, x))
        problem = LineProblem(x, x.new_full((len(x),), schedule.start), field.plates, field.precision)
        if takes_whole_lines(problem, choice):
            lines = extension.forward(problem, schedule, method, steepest, keep)
            return _landed(field, lines, schedule).to(returned)
        fused = not choice.torch_alone
    else:
        fused = fuses_steps(choice)
    lines = _all_at_once(field, x, schedule, method, steepest, keep, fused=fused)
    return _landed(field, lines, schedule).to(returned)


def _exact_dtype(field: ExactField, x: Tensor) -> torch.dtype:
    """Return the dtype in which lines from ``x`` are followed; check that charges are on the device of ``x``."""
    for name, charges in (("plus", field.plates.plus), ("minus", field.plates.minus)):
        checks.tensor(f"field.plates.{name}", charges, ndim=2, columns=x.shape[1])
        checks.same_device(f"field.plates.{name}", charges, x.device, "x0")
        if len(charges) == 0:
            raise InputError(f"field.plates.{name}: expected at least one charge, got none")
    return working_dtype(x, field.plates.plus, field.plates.minus)


def _all_at_once(
    field: Field, x: Tensor, schedule: Heights, method: Method, steepest: float, every: int, *, fused: bool
) -> Lines:
    """Follow all lines together from height to height; ``fused`` says whether the extension may take the steps."""

    def rate(at: Tensor, share: float) -> Tensor:
        t = now + share * schedule.dt
        z = at.new_full((len(at),), schedule.z(t))
        return slope(field.direction(at, z).to(at.dtype), steepest) * schedule.dz_dt(t)

    def advance(x: Tensor) -> Tensor:
        if method in ("heun", "rk4"):
            return runge_kutta(rate, x, schedule.dt, method)
        step = _Advance(field, schedule, now, steepest, fused)
        if method == "euler":
            return step(x, x, 0.0, 1.0)
        return step(x, step(x, x, 0.0, 0.5), 0.5, 1.0)

    now, z, length = schedule.first, schedule.start, x.new_zeros(len(x))
    paths = [_point(x, z)] if every else []
    for k in range(schedule.steps):
        now = schedule.first + k * schedule.dt
        new = advance(x)
        last = k == schedule.steps - 1
        new_z = schedule.stop if last else schedule.z(now + schedule.dt)
        length = length + _hop(x, z, new, new_z)
        x, z = new, new_z
        if every and (last or (k + 1) % every == 0):
            paths.append(_point(x, z))
    finite = torch.isfinite(x).all(dim=1)
    evaluations = schedule.steps * len(TABLEAUS[method][0])
    return Lines(
        end=torch.where(finite[:, None], x, math.nan),
        end_z=x.new_full((len(x),), z),
        status=torch.where(finite, int(LineStatus.FRONT), int(LineStatus.FAILED)),
        charge=None,
        evaluations=torch.full((len(x),), evaluations, dtype=torch.int64, device=x.device),
        length=length,
        paths=torch.stack(paths) if every else None,
    )


@dataclass(frozen=True)
class _Advance:
    """One step from time ``now`` of the schedule: one call of the field and one pass over the samples."""

    field: Field
    schedule: Heights
    now: float
    steepest: float
    fused: bool

    def __call__(self, base: Tensor, at: Tensor, when: float, part: float) -> Tensor:
        """Move ``base`` by the fraction ``part`` of the step, along the slope at ``at`` and the fraction ``when``."""
        t = self.now + when * self.schedule.dt
        z, scale = self.schedule.z(t), part * self.schedule.dt * self.schedule.dz_dt(t)
        height = at.new_full((len(at),), z)
        if isinstance(self.field, PosteriorField):
            posterior = self.field.posterior(at, height)
            if posterior is not None:
                return means_step(
                    base, at, z, posterior, self.schedule.L, scale, self.steepest, fused=self.fused
                )
        return slope_step(base, self.field.direction(at, height), scale, self.steepest, fused=self.fused)


def _landed(field: Field, lines: Lines, schedule: Heights) -> Lines:
    """Add the jump to the plate, if the schedule stops short of it and the field predicts where lines arrive."""
    end = _landing(field, lines.end, schedule)
    if end is None:
        return lines
    finite = torch.isfinite(end).all(dim=1)
    paths = lines.paths
    return Lines(
        end=torch.where(finite[:, None], end, math.nan),
        end_z=torch.full_like(lines.end_z, schedule.L),
        status=torch.where(finite, lines.status, int(LineStatus.FAILED)),
        charge=None,
        evaluations=lines.evaluations + 1,
        length=lines.length + _hop(lines.end, schedule.stop, end, schedule.L),
        paths=None if paths is None else torch.cat([paths, _point(end, schedule.L)[None]]),
    )


def _landing(field: Field, x: Tensor, schedule: Heights) -> Tensor | None:
    if schedule.stop >= schedule.L:
        return None
    end = field.arrival(x, x.new_full((len(x),), schedule.stop), "minus")
    return None if end is None else end.to(x.dtype)


def _point(x: Tensor, z: float) -> Tensor:
    return torch.cat([x, x.new_full((len(x), 1), z)], dim=1)


def _hop(x: Tensor, z: float, new_x: Tensor, new_z: float) -> Tensor:
    return ((new_x - x).square().sum(dim=1) + (new_z - z) ** 2).sqrt()
