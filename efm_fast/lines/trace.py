"""Exact field lines from positive to negative charges."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from .. import checks
from ..field.request import Precision, working_dtype
from ..types import Plates
from . import seeds
from .engine import extension
from .engine.charge_walk import ChargeWalk
from .engine.choice import Engine, EngineChoice, LineProblem, choose, takes_whole_lines
from .engine.summed_walk import SummedWalk
from .geometry.discs import DiscGeometry
from .geometry.nearest import nearest_charges
from .geometry.places import Places
from .geometry.support import Support
from .integrate.embedded import PAIRS
from .integrate.steps import StepRule, TraceMethod
from .record import Lines

#: Lines beyond this many capacitor sizes times n / 3 are mirrored: there the field is that of a dipole to about 1e-3.
_FAR = 20.0
#: Up to this number of features torch searches for the nearest charges of lines; above, the sums give their distances.
_SEARCHED = 64
#: The same on a CUDA device, where searches wait for the host, and the extension follows lines up to this number.
_SEARCHED_CUDA = 16


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

    For lines from charge to charge, start on small spheres around the positive charges (:func:`launch`). For lines from
    Q to P, exchange the plates: ``trace_lines(x, L - z, minus, plus, L)``.

    A line ends on a negative charge as soon as every charge elsewhere is ten times as far, or its field 1e-8 times as
    strong; above D = 64, and above 16 on a CUDA device with an embedded pair, as soon as the weight of all charges
    elsewhere is 1e-4 of that charge's. Lines beyond twenty capacitor sizes move to the mirror image where the dipole's
    line comes back. Every line has its own steps and its own end. It has the same bits alone and in every batch; above
    D = 64 on the CPU this holds only if the processor multiplies bfloat16, because other matrix products round
    differently for another number of rows.

    Args:
        x: features of the starts, [N, D], data units. Lines have its dtype; they are followed in float64 if float32
            would round the charges.
        z: heights of the starts, [N], data units.
        plus: positive charges on z = 0, [M, D].
        minus: negative charges on z = L, [M', D].
        L: distance between the plates, data units.
        method: by default "rk4" up to D = 16, "dopri5" up to 64, and "bs23" above; also "euler", "heun", "midpoint".
            Euler's method with steps of 0.2 fails the flux test at D = 2, and RK4 loses the dipole invariant at D = 64.
            Above D = 64 an evaluation is expensive, and "bs23" finds the charge on which a line ends in fewer
            evaluations than "dopri5", but the line's length less exactly; with ``return_paths`` the default is "dopri5"
            there.
        step: change of the distance to the nearest charge per step, divided by that distance, for methods without an
            error estimate.
        tolerance: local error divided by the distance to the nearest charge; 1e-4 / sqrt(D + 1) for "dopri5" and
            2e-2 / sqrt(D + 1) for "bs23" by default.
        max_steps: lines that take more steps, including rejected ones, end as STEP_LIMIT.
        backend: backend of the sums over charges, see :func:`efm_fast.riesz_sum`. With "auto" and "cpp" the extension
            follows whole lines in one call if it can: up to D = 64 on the CPU and 16 on a CUDA device. A line then has
            the same bits alone and in every batch. Otherwise torch steps all lines together.
        precision: precision of the sums, see :func:`efm_fast.riesz_sum`.
        engine: deprecated. "extension" means whole lines by the extension or an error, "torch" means steps by torch
            with the sums of ``backend``; use ``backend="cpp"`` and ``backend="torch"``.
        return_paths: also return the points of the lines, [T, N, D+1].
        every: a path keeps every ``every``-th accepted step and the end.

    Returns:
        Lines; ``charge`` is the index into ``minus`` of the charge a line ended on, the first one where several
        coincide, and its end that charge's place. A start that is not finite, or exactly on a charge, is FAILED.

    Raises:
        InputError: an argument has the wrong type, shape or range.
        BackendUnavailableError: ``backend`` was named and cannot serve.
    """
    _check_places(x, z, plus, minus)
    L = checks.length("L", L)
    max_steps, every = checks.count("max_steps", max_steps), checks.count("every", every)
    if method is None:
        method = _default_method(x.shape[1], return_paths)
    rule, choice = _rule(method, step, tolerance, x.shape[1]), choose(backend, engine)
    at = x.to(working_dtype(x, plus, minus))
    problem = LineProblem(at, z, Plates(plus, minus, L), precision, rule.method)
    lines = _follow(problem, rule, choice, max_steps, every if return_paths else 0)
    return lines.to(x.dtype if x.is_floating_point() else torch.float32)


def _check_places(x: Tensor, z: Tensor, plus: Tensor, minus: Tensor) -> None:
    checks.tensor("x", x, ndim=2)
    checks.tensor("z", z, ndim=1, rows=len(x))
    for name, charges in (("plus", plus), ("minus", minus)):
        checks.tensor(name, charges, ndim=2, columns=x.shape[1])
    for name, other in (("z", z), ("plus", plus), ("minus", minus)):
        checks.same_device(name, other, x.device)


def _default_method(d: int, paths: bool) -> TraceMethod:
    if d <= 16:
        return "rk4"
    return "dopri5" if d <= _SEARCHED or paths else "bs23"


def _rule(method: TraceMethod, step: float, tolerance: float | None, d: int) -> StepRule:
    """The rule of steps, with the default tolerance for ``d`` features."""
    checks.choice("method", method, get_args(TraceMethod))
    step = checks.positive("step", step)
    if tolerance is not None:
        return StepRule(method, step, checks.positive("tolerance", tolerance))
    return StepRule(method, step, (2e-2 if method == "bs23" else 1e-4) / math.sqrt(d + 1))


def _follow(problem: LineProblem, rule: StepRule, choice: EngineChoice, max_steps: int, every: int) -> Lines:
    """Follow the lines by the chosen engine. Paths keep every ``every``-th step; 0 keeps none."""
    d, plates = problem.x.shape[1], problem.plates
    support = Support.of(plates.plus, plates.minus)
    far = _FAR * ((d + 1) / 3) * (plates.L + support.plus_radius + support.minus_radius)
    discs = DiscGeometry(support, plates.L, layer=0.0, aspect=1.0, far=far)
    capture = max(0.1, 1e-8 ** (1.0 / d))
    if takes_whole_lines(problem, choice):
        return extension.trace(problem, rule, discs, capture, max_steps, every)
    if rule.method in PAIRS and d > (_SEARCHED_CUDA if problem.x.is_cuda else _SEARCHED):
        return SummedWalk(problem, rule, discs, choice.backend).run(max_steps, every)
    return ChargeWalk(problem, rule, discs, capture, choice.backend).run(max_steps, every)


def launch(charges: Tensor, index: Tensor, *, seed: int = 0, share: float = 0.1) -> tuple[Tensor, Tensor]:
    """Starts of lines on small spheres around positive charges, uniform in direction.

    Near a charge its own field is the same in all directions, so each start carries the same flux.

    Args:
        charges: positive charges on z = 0, [M, D].
        index: the charge that each line starts from, int64 [N]; its place in this list is its sample number.
        seed: of the directions.
        share: radius of a sphere over the distance to the nearest charge elsewhere.

    Returns:
        x [N, D] and z [N], data units. A lone charge, or charges at one place, have a sphere of radius ``share``.

    Raises:
        InputError: an argument has the wrong type or shape.
    """
    checks.tensor("charges", charges, ndim=2)
    checks.tensor("index", index, ndim=1)
    charges = charges if charges.is_floating_point() else charges.float()
    chosen = charges[index]
    places = Places.of(charges).at
    near, _ = nearest_charges(torch.cat([chosen, torch.zeros_like(chosen[:, :1])], dim=1), places, 0.0, 2)
    gap = torch.where(near[:, 1].isinf(), 1.0, near[:, 1])
    where = torch.arange(len(index), device=index.device)
    u = seeds.sphere(seed, where, 0, charges.shape[1] + 1).to(chosen.dtype) * (share * gap)[:, None]
    return chosen + u[:, :-1], u[:, -1]
