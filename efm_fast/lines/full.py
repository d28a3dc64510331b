"""The full stochastic map: lines that start on either side of a plate and end on either side of the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..types import Field
from . import seeds
from .record import Lines, LineStatus
from .steps import unit
from .support import Support


@dataclass(frozen=True)
class FullMapRule:
    """How a full map steps and where it decides, resolved to data units.

    Attributes:
        step: step over the line's distance scale (``floor`` + distance to the nearer support disc).
        floor: distance scale on a plate.
        layer: half thickness of the layer around a plate within which a line is decided, not integrated.
        aspect: lateral lengths count 1 / aspect in a step: lines in D features spread sideways by sqrt(D + 1)
            per unit of height.
        escape: distance from which no line is followed back.
    """

    step: float
    floor: float
    layer: float
    aspect: float
    escape: float


class _State:
    """Lines under way; every array has one row per line."""

    def __init__(self, x: Tensor, z: Tensor, index: Tensor) -> None:
        self.x, self.z, self.index = x, z, index
        n = len(x)
        self.status = torch.zeros(n, dtype=torch.int64, device=x.device)
        self.evaluations = torch.zeros_like(self.status)
        self.decisions = torch.zeros_like(self.status)
        self.length = x.new_zeros(n)


def full_map(
    field: Field,
    x0: Tensor,
    *,
    support: Support,
    step: float = 0.5,
    floor: float | None = None,
    layer: float | None = None,
    max_steps: int = 200,
    seed: int = 0,
    index: Tensor | None = None,
    return_paths: bool = False,
) -> Lines:
    """Carry samples of P to Q along field lines on both sides of both plates (EFM, Theorem 3.1).

    A line starts forward or backward in proportion to the flux on each side of the plus plate. Where it meets
    the minus plate, from either side, it stops if the axial field changes sign across the plate, and else goes
    on with probability flux after over flux before. Both ratios follow from the direction alone: the tangential
    field is continuous across a plate, so the flux is in proportion to u_z / |u_t|. Lines cross the plus plate,
    and either plane outside its plate, freely.

    Steps are midpoint steps in arc length, in proportion to the distance from the charges, so that lines that
    travel far cost a few steps per factor of ten. A line stops for itself alone and then costs nothing; its
    random decisions depend on ``seed`` and its ``index`` only.

    Args:
        field: exact or learned field.
        x0: starts, samples of P, [N, D], data units.
        support: discs that hold the charges, ``Support.of(plus, minus)``.
        step: step over (floor + distance to the charges), dimensionless.
        floor: distance scale on a plate, data units.
        layer: half thickness of a plate, data units: lines start at this height and are decided at it.
        max_steps: lines that take more end as STEP_LIMIT.
        seed: of all random decisions.
        index: which sample each row is, int64 [N]; 0 ... N-1 by default. Rows of one index and one start take
            one path, in any batch.
        return_paths: also return the points after every step, [T, N, D+1].

    Returns:
        Lines with ``charge`` None. FRONT and BEHIND tell the side of the minus plate on which a line ended.

    Raises:
        InputError: a wrong shape, an index that does not fit x0, or a setting out of range.
    """
    rule, x, index = _prepare(field, x0, support, step, floor, layer, max_steps, index)
    lines = _State(x.clone(), x.new_zeros(len(x)), index)
    active = torch.isfinite(x).all(dim=1).nonzero()[:, 0]
    lines.status[~torch.isfinite(x).all(dim=1)] = int(LineStatus.FAILED)
    _depart(field, lines, active, rule, seed)
    paths = [_points(lines)] if return_paths else []
    for _ in range(max_steps):
        active = active[lines.status[active] == LineStatus.RUNNING]
        if len(active) == 0:
            break
        _advance(field, lines, active, rule, support, seed)
        if return_paths:
            paths.append(_points(lines))
    lines.status[lines.status == LineStatus.RUNNING] = int(LineStatus.STEP_LIMIT)
    failed = (lines.status == LineStatus.FAILED)[:, None]
    return Lines(
        end=torch.where(failed, math.nan, lines.x),
        end_z=lines.z,
        status=lines.status,
        charge=None,
        evaluations=lines.evaluations,
        length=lines.length,
        paths=torch.stack(paths) if return_paths else None,
    )


def _prepare(
    field: Field,
    x0: Tensor,
    support: Support,
    step: float,
    floor: float | None,
    layer: float | None,
    max_steps: int,
    index: Tensor | None,
) -> tuple[FullMapRule, Tensor, Tensor]:
    checks.tensor("x0", x0, ndim=2, columns=len(support.plus_center))
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise InputError(f"max_steps: expected an integer of at least 1, got {max_steps!r}")
    if index is None:
        index = torch.arange(len(x0), device=x0.device)
    checks.tensor("index", index, ndim=1, rows=len(x0))
    if index.is_floating_point():
        raise InputError(f"index: expected an integer dtype, got {index.dtype}")
    L = checks.positive("field.L", field.L)
    width = min(support.scale, L)
    rule = FullMapRule(
        step=checks.positive("step", step),
        floor=0.3 * width if floor is None else checks.positive("floor", floor),
        layer=0.1 * width if layer is None else checks.positive("layer", layer),
        aspect=math.sqrt((x0.shape[1] + 1) / 3),
        escape=1e7 * (L + support.plus_radius + support.minus_radius),
    )
    if rule.layer >= L / 2:
        raise InputError(f"layer: expected less than half of L = {L}, got {rule.layer}")
    return rule, x0 if x0.is_floating_point() else x0.float(), index.long()


def _points(lines: _State) -> Tensor:
    return torch.cat([lines.x, lines.z[:, None]], dim=1)


def _flux_ratio(after: Tensor, before: Tensor) -> Tensor:
    """Axial flux after over before, [N], from directions on both sides of a plate at one place."""
    tangent_after, tangent_before = after[:, :-1].norm(dim=1), before[:, :-1].norm(dim=1)
    return (after[:, -1] * tangent_before) / (before[:, -1] * tangent_after)


def _direction(field: Field, x: Tensor, z: Tensor, aspect: float = 1.0) -> Tensor:
    return unit(field.direction(x, z).to(x.dtype), aspect)


def _depart(field: Field, lines: _State, rows: Tensor, rule: FullMapRule, seed: int) -> None:
    """Put each line on the side of the plus plate it starts on."""
    x, height = lines.x[rows], lines.z.new_full((len(rows),), rule.layer)
    up, down = _direction(field, x, height), _direction(field, x, -height)
    # no flux leaves a side where the field points into the plate
    backward = _flux_ratio(-down, up).nan_to_num(1.0, posinf=math.inf)
    backward = torch.where(down[:, -1] >= 0, 0.0, torch.where(up[:, -1] <= 0, math.inf, backward))
    chance = torch.where(backward.isinf(), 1.0, backward / (1.0 + backward))
    starts_behind = seeds.uniform(seed, lines.index[rows], 0) < chance
    lines.z[rows] = torch.where(starts_behind, -height, height)
    lines.evaluations[rows] += 2


def _advance(
    field: Field, lines: _State, rows: Tensor, rule: FullMapRule, support: Support, seed: int
) -> None:
    """One midpoint step of every line in ``rows``, cut at a plate's layer where it meets one."""
    x, z = lines.x[rows], lines.z[rows]
    ds = rule.step * (rule.floor + _distance(x, z, support, field.L, rule.aspect))
    first = _direction(field, x, z, rule.aspect)
    half = 0.5 * ds
    second = _direction(field, x + half[:, None] * first[:, :-1], z + half * first[:, -1], rule.aspect)
    new_x, new_z = x + ds[:, None] * second[:, :-1], z + ds * second[:, -1]
    lines.evaluations[rows] += 2

    hit_plus, at_plus = _meets(x, z, new_x, new_z, 0.0, support.plus_center, support.plus_radius, rule.layer)
    hit_minus, at_minus = _meets(
        x, z, new_x, new_z, field.L, support.minus_center, support.minus_radius, rule.layer
    )
    hit_plus &= ~(hit_minus & (at_minus < at_plus))
    hit_minus &= ~hit_plus
    part = torch.where(hit_plus, at_plus, torch.where(hit_minus, at_minus, 1.0))
    new_x = torch.where((part < 1)[:, None], x + part[:, None] * (new_x - x), new_x)
    side = torch.where(second[:, -1] > 0, -1.0, 1.0).to(z.dtype)
    # beyond the plus plate's layer at once: no line ends there
    new_z = torch.where(
        hit_plus, -side * rule.layer, torch.where(hit_minus, field.L + side * rule.layer, new_z)
    )
    lines.length[rows] += ((new_x - x).square().sum(dim=1) + (new_z - z).square()).sqrt()
    lines.x[rows], lines.z[rows] = new_x, new_z

    still = (first == 0).all(dim=1) | (second == 0).all(dim=1)
    failed = still | ~torch.isfinite(new_z) | ~torch.isfinite(new_x).all(dim=1)
    far = _distance(new_x, new_z, support, field.L, rule.aspect) > rule.escape
    lines.status[rows] = torch.where(
        failed, int(LineStatus.FAILED), torch.where(far, int(LineStatus.ESCAPED), lines.status[rows])
    )
    met = (hit_minus & ~failed).nonzero()[:, 0]
    if len(met):
        _meet_minus(field, lines, rows[met], side[met], second[met], rule, seed)


def _meet_minus(
    field: Field, lines: _State, rows: Tensor, side: Tensor, before: Tensor, rule: FullMapRule, seed: int
) -> None:
    """Stop at the minus plate or go on beyond it; ``side`` is -1 for lines from the front, +1 from behind."""
    x = lines.x[rows]
    before = before.clone()
    after = _direction(field, x, field.L - side * rule.layer)
    ratio = _flux_ratio(after, before).nan_to_num(0.0)
    chance = torch.where(after[:, -1] * before[:, -1] > 0, ratio, 0.0)
    goes_on = seeds.uniform(seed, lines.index[rows], 1 + lines.decisions[rows]) < chance
    lines.decisions[rows] += 1
    lines.evaluations[rows] += 1
    lines.z[rows] = torch.where(goes_on, field.L - side * rule.layer, lines.z[rows])
    stops = (~goes_on).nonzero()[:, 0]
    if len(stops):
        _land(field, lines, rows[stops], side[stops], before[stops], rule)


def _land(field: Field, lines: _State, rows: Tensor, side: Tensor, before: Tensor, rule: FullMapRule) -> None:
    x = lines.x[rows]
    end = field.arrival(x, lines.z[rows], "minus")
    if end is None:
        end = x + rule.layer * before[:, :-1] / before[:, -1:].abs()
    else:
        lines.evaluations[rows] += 1
    lines.length[rows] += ((end - x).square().sum(dim=1) + rule.layer**2).sqrt()
    lines.x[rows] = end.to(x.dtype)
    lines.z[rows] = field.L
    lines.status[rows] = torch.where(side < 0, int(LineStatus.FRONT), int(LineStatus.BEHIND))


def _meets(
    x: Tensor,
    z: Tensor,
    new_x: Tensor,
    new_z: Tensor,
    plate: float,
    center: Tensor,
    radius: float,
    layer: float,
) -> tuple[Tensor, Tensor]:
    """Which chords enter a plate's layer inside its support, bool [N], and at which share of the chord [N].

    A chord that starts inside the layer, beside the support, enters where it crosses the plane of the plate.
    """
    height, new_height = z - plate, new_z - plate
    side = torch.where(height >= 0, 1.0, -1.0).to(z.dtype)
    drop = side * (height - new_height)  # how far the chord descends on the plate
    outside = side * height > layer * (1 - 1e-3)
    best = torch.full_like(z, torch.inf)
    for target, allowed in ((0.0, ~outside | outside), (layer, outside)):
        part = (side * height - target) / drop
        place = x + part[:, None] * (new_x - x) - center.to(x)
        inside = place.norm(dim=1) <= radius
        enters = allowed & (drop > 0) & (part <= 1) & inside
        best = torch.where(enters, part.clamp_min(0.0), best)
    return torch.isfinite(best), best


def _distance(x: Tensor, z: Tensor, support: Support, L: float, aspect: float) -> Tensor:
    """Distance to the nearer support disc, lateral lengths over ``aspect``, [N]."""
    nearest = torch.full_like(z, torch.inf)
    for center, radius, plate in (
        (support.plus_center, support.plus_radius, 0.0),
        (support.minus_center, support.minus_radius, L),
    ):
        beside = ((x - center.to(x)).norm(dim=1) - radius).clamp_min(0.0) / aspect
        nearest = torch.minimum(nearest, (beside.square() + (z - plate).square()).sqrt())
    return nearest
