"""Exact field lines from positive to negative charges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..field import capacitor_field
from ..field.request import Precision, working_dtype
from ..types import Plates
from . import seeds
from .engine import extension
from .engine.choice import Engine, Problem, choose, takes_whole_lines
from .geometry.discs import DiscGeometry
from .geometry.nearest import nearest_charges
from .geometry.support import Support
from .integrate.embedded import EVALUATIONS, dormand_prince, next_step
from .integrate.steps import TABLEAUS, StepRule, TraceMethod, arc_step, runge_kutta, unit
from .record import Lines, LineStatus

#: Lines beyond this many capacitor sizes (per n / 3) are mirrored: the dipole is the field to about 1e-3 there.
_FAR = 20.0


def trace_lines(
    x: Tensor,
    z: Tensor,
    plus: Tensor,
    minus: Tensor,
    L: float,
    *,
    method: TraceMethod | None = None,
    step: float = 0.4,
    tolerance: float | None = None,
    max_steps: int = 2000,
    backend: str = "auto",
    precision: Precision = "default",
    engine: Engine | None = None,
    return_paths: bool = False,
    every: int = 1,
) -> Lines:
    """Follow the exact field of a capacitor's charges from the given points to the negative charges.

    Start on small spheres around the positive charges (:func:`launch`) for lines from charge to charge. Lines
    from Q to P are those of the swapped plates: ``trace_lines(x, L - z, minus, plus, L)``.

    A line ends on a negative charge once that charge owns it: every other charge is ten times as far, or its
    field 1e-8 times as strong. Lines beyond twenty capacitor sizes follow the dipole's line to its mirror
    image. Every line has its own steps and stops for itself; what it does depends on its batch no more than a
    row of ``capacitor_field`` does.

    Args:
        x: features of the starts, [N, D], data units; lines have its dtype, and are followed in float64 among
            charges that float32 would round.
        z: heights of the starts, [N], data units.
        plus: positive charges on z = 0, [M, D].
        minus: negative charges on z = L, [M', D].
        L: distance between the plates, data units.
        method: "rk4" up to D = 16 and "dopri5" above by default; also "euler", "heun", "midpoint". Euler's
            steps of 0.2 fail the flux test at D = 2, RK4's lose the dipole invariant at D = 64.
        step: change of the distance to the nearest charge per step, over that distance, for all methods but
            dopri5.
        tolerance: local error over the distance to the nearest charge, for dopri5; 1e-4 / sqrt(D + 1) by default.
        max_steps: lines that take more (dopri5: including rejected ones) end as STEP_LIMIT.
        backend: of the sums over charges, see :func:`efm_fast.riesz_sum`. With "auto" and "cpp" the extension
            integrates whole lines in one call where it can: up to D = 64 on the CPU and 16 on a CUDA device. A line
            is then bitwise the same alone and in any batch. Otherwise torch steps all lines at once.
        precision: of the sums, see :func:`efm_fast.riesz_sum`.
        engine: deprecated. "extension" stands for whole lines by the extension or an error, "torch" for steps by
            torch around the sums of ``backend``; use ``backend="cpp"`` and ``backend="torch"``.
        return_paths: also return the points of the lines, [T, N, D+1].
        every: of these, every so many steps (rejected attempts are none) and the end.

    Returns:
        Lines; ``charge`` is the index into ``minus`` of the charge a line ended on, and its end that charge's
        place. A start that is not finite, or exactly on a charge, is FAILED.

    Raises:
        InputError: an argument has the wrong type, shape or range.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    checks.tensor("x", x, ndim=2)
    checks.tensor("z", z, ndim=1, rows=len(x))
    for name, charges in (("plus", plus), ("minus", minus)):
        checks.tensor(name, charges, ndim=2, columns=x.shape[1])
    for name, other in (("z", z), ("plus", plus), ("minus", minus)):
        checks.same_device(name, other, x.device)
    L = checks.length("L", L)
    max_steps, every = checks.count("max_steps", max_steps), checks.count("every", every)
    n = x.shape[1] + 1
    rule = StepRule(
        ("rk4" if n <= 17 else "dopri5") if method is None else method,
        checks.positive("step", step),
        1e-4 / math.sqrt(n) if tolerance is None else checks.positive("tolerance", tolerance),
    )
    checks.choice("method", rule.method, get_args(TraceMethod))
    choice = choose(backend, engine)

    returned = x.dtype if x.is_floating_point() else torch.float32
    x = x.to(working_dtype(x, plus, minus))
    discs, capture = _discs(plus, minus, L), max(0.1, 1e-8 ** (1.0 / (n - 1)))
    problem = Problem(x, z, Plates(plus, minus, L), precision)
    keep = every if return_paths else 0
    if takes_whole_lines(problem, choice):
        return extension.trace(problem, rule, discs, capture, max_steps, keep).to(returned)

    def direction(points: Tensor) -> Tensor:
        field = capacitor_field(
            points[:, :-1], points[:, -1], plus, minus, L, backend=backend, precision=precision
        )
        return unit(field.direction.to(points.dtype))

    trace = _Trace(problem, rule, discs, capture, direction)
    return trace.run(max_steps, keep).to(returned)


def _discs(plus: Tensor, minus: Tensor, L: float) -> DiscGeometry:
    support = Support.of(plus, minus)
    far = _FAR * ((plus.shape[1] + 1) / 3) * (L + support.plus_radius + support.minus_radius)
    return DiscGeometry(support, L, layer=0.0, aspect=1.0, far=far)


class _Trace:
    """Lines under way; every tensor has one row per line, and a method moves the rows it is given."""

    def __init__(
        self,
        problem: Problem,
        rule: StepRule,
        discs: DiscGeometry,
        capture: float,
        direction: Callable[[Tensor], Tensor],
    ) -> None:
        self.points = points = torch.cat([problem.x, problem.z[:, None].to(problem.x.dtype)], dim=1)
        self.plus, self.minus, self.L = problem.plates.plus, problem.plates.minus, problem.plates.L
        self.rule, self.discs, self.capture, self.field = rule, discs, capture, direction
        started = torch.isfinite(points).all(dim=1)
        self.status = torch.where(started, int(LineStatus.RUNNING), int(LineStatus.FAILED))
        self.evaluations = torch.zeros_like(self.status)
        self.charge = torch.full_like(self.status, -1)
        self.length = points.new_zeros(len(points))
        self.ds = points.new_full((len(points),), torch.inf)
        self.first = torch.zeros_like(points)
        if rule.method == "dopri5":
            self._evaluate_first(started.nonzero()[:, 0])

    def run(self, max_steps: int, every: int) -> Lines:
        """Take steps until every line has ended; ``every``: how often paths are kept, 0 for never."""
        paths = [self.points.clone()] if every else []
        for step in range(max_steps + 1):
            rows = (self.status == LineStatus.RUNNING).nonzero()[:, 0]
            if len(rows) == 0:
                break
            self.advance(rows)
            if every and (step + 1) % every == 0:
                paths.append(self.points.clone())
        if every > 1:
            paths.append(self.points.clone())
        self.status[self.status == LineStatus.RUNNING] = int(LineStatus.STEP_LIMIT)
        failed = (self.status == LineStatus.FAILED)[:, None]
        return Lines(
            end=torch.where(failed, math.nan, self.points[:, :-1]),
            end_z=self.points[:, -1],
            status=self.status,
            charge=self.charge,
            evaluations=self.evaluations,
            length=self.length,
            paths=torch.stack(paths) if every else None,
        )

    def advance(self, rows: Tensor) -> None:
        """Land the lines that a charge owns; one step, or one attempt at it, of the others."""
        points = self.points[rows]
        own, index = nearest_charges(points, self.minus, self.L, 2)
        positive, positive_index = nearest_charges(points, self.plus, 0.0, 1)
        owned = own[:, 0] <= self.capture * torch.minimum(own[:, 1], positive[:, 0])
        self._land(rows[owned], own[owned, 0], index[owned, 0])
        if owned.all():
            return
        to_minus = own[:, 0] < positive[:, 0]
        nearest = torch.where(to_minus[:, None], self.minus[index[:, 0]], self.plus[positive_index[:, 0]])
        plate = torch.where(to_minus, self.L, 0.0)
        offset = points - torch.cat([nearest, plate[:, None].to(nearest.dtype)], dim=1).to(points.dtype)
        self._step(rows[~owned], offset[~owned])

    def _land(self, rows: Tensor, distance: Tensor, charge: Tensor) -> None:
        in_front = self.points[rows, -1] < self.L
        self.status[rows] = torch.where(in_front, int(LineStatus.FRONT), int(LineStatus.BEHIND))
        self.charge[rows] = charge
        self.length[rows] += distance
        self.points[rows, :-1] = self.minus[charge].to(self.points.dtype)
        self.points[rows, -1] = self.L

    def _step(self, rows: Tensor, offset: Tensor) -> None:
        """Step lines that are at ``offset`` from their nearest charge, [N, D+1]."""
        points, distance, method = self.points[rows], offset.norm(dim=1), self.rule.method
        if method == "dopri5":
            new, ds = self._embedded_step(rows, points, distance)
        else:
            first = self.field(points)
            ds = arc_step(self.rule.step, distance, (offset * first).sum(dim=1) / distance)
            new = runge_kutta(lambda p, _: self.field(p), points, ds[:, None], method, first)
            self.evaluations[rows] += len(TABLEAUS[method][0])
            self.first[rows] = first
        self.length[rows] += ds
        self._settle(rows, new)

    def _embedded_step(self, rows: Tensor, points: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """New points and the arc length to them; the old points and zero where the attempt was rejected."""
        ds = torch.minimum(self.ds[rows], distance)
        new, last, error = dormand_prince(self.field, points, self.first[rows], ds)
        allowed = self.rule.tolerance * distance
        accepted = error <= allowed
        self.ds[rows] = next_step(ds, error, allowed)
        self.evaluations[rows] += EVALUATIONS
        self.first[rows] = torch.where(accepted[:, None], last, self.first[rows])
        return torch.where(accepted[:, None], new, points), torch.where(accepted, ds, 0.0)

    def _settle(self, rows: Tensor, new: Tensor) -> None:
        """Take lines to their new points, those beyond the far radius to their mirror image."""
        x, z, mirrored = self.discs.mirror(new[:, :-1], new[:, -1])
        self.points[rows] = torch.cat([x, z[:, None]], dim=1)
        lost = ~torch.isfinite(new).all(dim=1) | (self.first[rows] == 0).all(dim=1)
        self.status[rows] = torch.where(lost, int(LineStatus.FAILED), self.status[rows])
        if self.rule.method == "dopri5":
            self._evaluate_first(rows[mirrored])

    def _evaluate_first(self, rows: Tensor) -> None:
        """The direction with which an embedded step begins."""
        if len(rows):
            self.first[rows] = self.field(self.points[rows])
            self.evaluations[rows] += 1


def launch(charges: Tensor, index: Tensor, *, seed: int = 0, share: float = 0.1) -> tuple[Tensor, Tensor]:
    """Starts of lines on small spheres around positive charges, uniform in direction.

    A charge's own field near it is uniform over directions, so each start carries the same flux.

    Args:
        charges: positive charges on z = 0, [M, D].
        index: the charge that each line starts from, int64 [N]; its place in this list is its sample number.
        seed: of the directions.
        share: radius of a sphere over the distance to the nearest other charge.

    Returns:
        x [N, D] and z [N], data units. A lone charge has a sphere of radius ``share``.

    Raises:
        InputError: wrong shapes, or a charge that coincides with another.
    """
    checks.tensor("charges", charges, ndim=2)
    checks.tensor("index", index, ndim=1)
    charges = charges if charges.is_floating_point() else charges.float()
    chosen = charges[index]
    near, _ = nearest_charges(torch.cat([chosen, torch.zeros_like(chosen[:, :1])], dim=1), charges, 0.0, 2)
    gap = torch.where(near[:, 1].isinf(), 1.0, near[:, 1])
    if (gap == 0).any():
        raise InputError("charges: expected distinct places, got two charges at one")
    where = torch.arange(len(index), device=index.device)
    u = seeds.sphere(seed, where, 0, charges.shape[1] + 1).to(chosen.dtype) * (share * gap)[:, None]
    return chosen + u[:, :-1], u[:, -1]
