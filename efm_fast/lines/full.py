"""The full stochastic map: lines start on either side of one plate and end on either side of the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..types import Field
from . import seeds
from .geometry.discs import DiscGeometry
from .geometry.support import Support
from .integrate.steps import unit
from .record import Lines, LineStatus

#: The far field begins at this many capacitor sizes times n / 3, because multipoles fall with n / r.
_FAR = 3.0
#: Lines beyond this many times the far field's radius are given up.
_ESCAPE = 1e3
_LAYER, _FLOOR = 0.02, 0.3


def full_map(
    field: Field,
    x0: Tensor,
    *,
    support: Support,
    step: float = 0.35,
    floor: float | None = None,
    layer: float | None = None,
    max_steps: int = 200,
    seed: int = 0,
    index: Tensor | None = None,
    return_paths: bool = False,
) -> Lines:
    """Carry samples of P to Q along field lines on both sides of both plates (EFM, Theorem 3.1).

    A line starts forward or backward with probabilities in proportion to the flux on each side of the plus plate. Where
    it meets the minus plate, from either side, it stops if the axial field changes sign across the plate. Otherwise it
    goes on with the probability (flux after the plate) / (flux before). Both ratios follow from the direction: the
    tangential field is continuous across a plate, so the flux is in proportion to u_z / |u_t|. Lines cross the plus
    plate, and both planes outside of their plates, freely. A line that stops lands where ``field.arrival`` predicts,
    for one more evaluation. If the field has no such prediction, the line goes straight on to the plate.

    Steps are equal in the logarithm of the distance to the charges, and each costs one evaluation (the second-order
    method of Adams and Bashforth, begun by a midpoint step). Beyond the far radius, three times the capacitor's size at
    D = 2 and growing with D, the field is taken as that of a dipole, and the line moves to the place where the dipole's
    line comes back; ``length`` counts the chord of that arc. Each line stops by itself and then costs nothing. Its
    random decisions depend only on ``seed`` and its ``index``. The rest of its path depends on its batch only as far as
    a row of ``field.direction`` does.

    Args:
        field: exact or learned field.
        x0: starts, samples of P, [N, D], data units.
        support: discs that hold the charges, ``Support.of(plus, minus)``.
        step: arc length of a step divided by (floor + distance to the charges), dimensionless: a step outward
            multiplies this sum by e^step. With 0.35 a Gaussian goes to a Swiss roll in 15 to 40 evaluations; 0.25
            halves the error of the lines.
        floor: distance scale on a plate, data units; 0.3 times the smaller of L and ``support.scale`` by default.
        layer: half thickness of a plate, data units. Lines start at this distance from the plus plate, and at this
            distance from the minus plate it is decided whether they stop; 0.02 times the smaller of L and
            ``support.scale`` by default.
        max_steps: lines that take more end as STEP_LIMIT.
        seed: seed of all random decisions.
        index: sample number of each row, int64 [N]; 0 ... N-1 by default.
        return_paths: also return the points after every step, [T, N, D+1].

    Returns:
        Lines with ``charge`` None. FRONT and BEHIND tell the side of the minus plate on which a line ended.

    Raises:
        InputError: a wrong shape, an index that does not fit x0, or a setting out of range.
    """
    checks.tensor("x0", x0, ndim=2, columns=len(support.plus_center))
    checks.count("max_steps", max_steps)
    walk = _Walk(
        field,
        x0 if x0.is_floating_point() else x0.float(),
        _discs(field, support, layer),
        checks.positive("step", step),
        _FLOOR * min(support.scale, field.L) if floor is None else checks.positive("floor", floor),
        seed,
        _index(index, x0),
    )
    walk.depart()
    paths = [walk.points()] if return_paths else []
    for _ in range(max_steps):
        rows = (walk.status == LineStatus.RUNNING).nonzero()[:, 0]
        if len(rows) == 0:
            break
        walk.advance(rows)
        if return_paths:
            paths.append(walk.points())
    return walk.ended(paths)


def _discs(field: Field, support: Support, layer: float | None) -> DiscGeometry:
    L = checks.positive("field.L", field.L)
    thickness = _LAYER * min(support.scale, L) if layer is None else checks.positive("layer", layer)
    if thickness >= L / 2:
        raise InputError(f"layer: expected less than half of L = {L}, got {thickness}")
    n = len(support.plus_center) + 1
    far = _FAR * (n / 3) * (L + support.plus_radius + support.minus_radius)
    return DiscGeometry(support, L, thickness, math.sqrt(n / 3), far)


def _index(index: Tensor | None, x0: Tensor) -> Tensor:
    if index is None:
        return torch.arange(len(x0), device=x0.device)
    checks.tensor("index", index, ndim=1, rows=len(x0))
    if index.is_floating_point():
        raise InputError(f"index: expected an integer dtype, got {index.dtype}")
    return index.to(x0.device, torch.int64)


def _flux_ratio(after: Tensor, before: Tensor) -> Tensor:
    """Ratio of the axial flux after a plate to that before it, [N], from the directions on both sides."""
    tangent_after, tangent_before = after[:, :-1].norm(dim=1), before[:, :-1].norm(dim=1)
    return (after[:, -1] * tangent_before) / (before[:, -1] * tangent_after)


class _Walk:
    """State of all lines: every tensor has one row per line, and each method changes only the given rows."""

    def __init__(
        self,
        field: Field,
        x: Tensor,
        discs: DiscGeometry,
        step: float,
        floor: float,
        seed: int,
        index: Tensor,
    ) -> None:
        self.field, self.discs, self.step, self.floor = field, discs, step, floor
        self.seed, self.index = seed, index
        self.x, self.z = x.clone(), x.new_zeros(len(x))
        started = torch.isfinite(x).all(dim=1)
        self.status = torch.where(started, int(LineStatus.RUNNING), int(LineStatus.FAILED))
        self.evaluations = torch.zeros_like(self.status)
        self.decisions = torch.zeros_like(self.status)
        self.length = x.new_zeros(len(x))
        self.rate_before = x.new_zeros(len(x), x.shape[1] + 1)
        self.has_before = torch.zeros_like(started)

    def points(self) -> Tensor:
        """Points (x, z) of all lines, [N, D+1]."""
        return torch.cat([self.x, self.z[:, None]], dim=1)

    def ended(self, paths: list[Tensor]) -> Lines:
        """The lines as they are now, with their ``paths``; lines that have not ended get the status STEP_LIMIT."""
        self.status[self.status == LineStatus.RUNNING] = int(LineStatus.STEP_LIMIT)
        failed = self.status == LineStatus.FAILED
        return Lines(
            end=torch.where(failed[:, None], math.nan, self.x),
            end_z=self.z,
            status=self.status,
            charge=None,
            evaluations=self.evaluations,
            length=self.length,
            paths=torch.stack(paths) if paths else None,
        )

    def depart(self) -> None:
        """Decide on which side of the plus plate each line starts."""
        rows = (self.status == LineStatus.RUNNING).nonzero()[:, 0]
        x, height = self.x[rows], self.z.new_full((len(rows),), self.discs.layer)
        up, down = self._direction(rows, x, height), self._direction(rows, x, -height)
        leaves_up, leaves_down = up[:, -1] > 0, down[:, -1] < 0
        odds = _flux_ratio(-down, up).nan_to_num(1.0)
        # no line starts on a side where the field points into the plate
        backward = torch.where(leaves_up & leaves_down, odds / (1.0 + odds), (~leaves_up).to(odds.dtype))
        backward = torch.where(odds.isinf() & leaves_down, 1.0, backward)
        self.z[rows] = torch.where(self._uniform(rows) < backward, -height, height)

    def advance(self, rows: Tensor) -> None:
        """Take one step; a step that meets the layer of a plate ends there."""
        x, z = self.x[rows], self.z[rows]
        rate = self._rate(rows, x, z)
        move = self.step * self._mean_rate(rows, x, z, rate)
        new_x, new_z = x + move[:, :-1], z + move[:, -1]

        plate, share = self.discs.meets(x, z, new_x, new_z)
        new_x = torch.where((plate >= 0)[:, None], x + share[:, None] * (new_x - x), new_x)
        side = torch.where(move[:, -1] > 0, -1.0, 1.0).to(z.dtype)
        layer, L = self.discs.layer, self.discs.L
        new_z = torch.where(plate == 0, -side * layer, new_z)  # lines pass through the plus plate
        new_z = torch.where(plate == 1, L + side * layer, new_z)
        mirror_x, mirror_z, mirrored = self.discs.mirror(new_x, new_z)
        self._move(rows, x, z, new_x, new_z)
        self.x[rows] = torch.where(mirrored[:, None], mirror_x, new_x)
        self.z[rows] = torch.where(mirrored, mirror_z, new_z)

        # the rate before a jump cannot be used for extrapolation after it
        self.rate_before[rows], self.has_before[rows] = rate, (plate < 0) & ~mirrored

        lost = (rate == 0).all(dim=1) | ~torch.isfinite(new_z) | ~torch.isfinite(new_x).all(dim=1)
        escaped = torch.hypot(new_x.norm(dim=1), new_z) > _ESCAPE * self.discs.far
        status = torch.where(escaped, int(LineStatus.ESCAPED), int(LineStatus.RUNNING))
        self.status[rows] = torch.where(lost, int(LineStatus.FAILED), status)
        met = ((plate == 1) & ~lost).nonzero()[:, 0]
        if len(met):
            self._meet_minus(rows[met], side[met], move[met])

    def _rate(self, rows: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """Motion per unit of log distance: the unit direction times the distance scale, [n, D+1]."""
        u = self._direction(rows, x, z)
        return (self.floor + self.discs.distance(x, z))[:, None] * u

    def _mean_rate(self, rows: Tensor, x: Tensor, z: Tensor, rate: Tensor) -> Tensor:
        """The mean rate of the next step: extrapolated from the last two rates, or evaluated at its middle."""
        mean = 1.5 * rate - 0.5 * self.rate_before[rows]
        first = (~self.has_before[rows]).nonzero()[:, 0]
        if len(first):
            half = 0.5 * self.step * rate[first]
            mean[first] = self._rate(rows[first], x[first] + half[:, :-1], z[first] + half[:, -1])
        return mean

    def _meet_minus(self, rows: Tensor, side: Tensor, before: Tensor) -> None:
        """Stop lines at the minus plate or let them go on; ``side`` is -1 for lines from the front, +1 from behind."""
        beyond = self.discs.L - side * self.discs.layer
        after = self._direction(rows, self.x[rows], beyond)
        passes = after[:, -1] * before[:, -1] > 0
        chance = torch.where(passes, _flux_ratio(after, before).nan_to_num(0.0), 0.0)
        goes_on = self._uniform(rows) < chance
        self.z[rows] = torch.where(goes_on, beyond, self.z[rows])
        stops = (~goes_on).nonzero()[:, 0]
        if len(stops):
            self._land(rows[stops], side[stops], before[stops])

    def _land(self, rows: Tensor, side: Tensor, before: Tensor) -> None:
        x, z = self.x[rows], self.z[rows]
        end = self.field.arrival(x, z, "minus")
        if end is None:
            end = x + self.discs.layer * before[:, :-1] / before[:, -1:].abs()
        else:
            self.evaluations[rows] += 1
        end_z = torch.full_like(z, self.discs.L)
        self._move(rows, x, z, end.to(x.dtype), end_z)
        status = torch.where(side < 0, int(LineStatus.FRONT), int(LineStatus.BEHIND))
        self.status[rows] = torch.where(torch.isfinite(end).all(dim=1), status, int(LineStatus.FAILED))

    def _direction(self, rows: Tensor, x: Tensor, z: Tensor) -> Tensor:
        self.evaluations[rows] += 1
        return unit(self.field.direction(x, z).to(x.dtype), self.discs.aspect)

    def _uniform(self, rows: Tensor) -> Tensor:
        """The next random number of each line."""
        number = seeds.uniform(self.seed, self.index[rows], self.decisions[rows])
        self.decisions[rows] += 1
        return number

    def _move(self, rows: Tensor, x: Tensor, z: Tensor, new_x: Tensor, new_z: Tensor) -> None:
        self.length[rows] += torch.hypot((new_x - x).norm(dim=1), new_z - z)
        self.x[rows], self.z[rows] = new_x, new_z
