"""The extension follows whole lines of an exact field: all steps of all lines in one call.

On a CUDA device the call takes launches of some tenths of a second, and Ctrl-C stops it between two of them. It returns
without waiting only where one launch is surely enough, or while a CUDA graph is captured.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ... import native
from ...types import Plates
from ..geometry.discs import DiscGeometry
from ..integrate.embedded import PAIRS
from ..integrate.heights import Heights
from ..integrate.steps import TABLEAUS, StepRule
from ..record import Lines
from .choice import LineProblem

#: The largest size in bytes of the paths of one call on a device.
PATH_BYTES = 256 << 20


@dataclass(frozen=True)
class Bundle:
    """The lines of one call: contiguous inputs, and the rows that the extension fills.

    Attributes:
        x, z: starts, [N, D] and [N], data units; every other number has the dtype of x.
        plates: the charges and the distance between the plates.
        end, end_z, length: end and length of each line, [N, D], [N] and [N], data units.
        places: where lines may end, [K, D]: distinct places of the minus charges.
        status, place, evaluations, path_points: int64 [N]; ``place`` that each line ended at, -1 for none.
        capacity: room for points of a line's path, 0 for no paths.
        every: a path keeps every ``every``-th point.
    """

    x: Tensor
    z: Tensor
    plates: Plates
    places: Tensor
    end: Tensor
    end_z: Tensor
    length: Tensor
    status: Tensor
    place: Tensor
    evaluations: Tensor
    path_points: Tensor
    capacity: int
    every: int

    @classmethod
    def of(cls, problem: LineProblem, capacity: int, every: int, places: Tensor | None = None) -> Bundle:
        """Buffers for ``problem``, with room for ``capacity`` points of each line's path, 0 for no paths.

        ``places`` are those of the minus charges where some coincide; None if lines end at no charge.
        """
        dtype, plates = problem.x.dtype, problem.plates
        x, z, plus, minus = (
            native.plain(part, dtype) for part in (problem.x, problem.z, plates.plus, plates.minus)
        )
        n = len(x)
        status, place, evaluations, path_points = (
            torch.zeros(n, dtype=torch.int64, device=x.device) for _ in range(4)
        )
        return cls(
            x=x,
            z=z,
            plates=Plates(plus, minus, float(plates.L)),
            places=minus if places is None else native.plain(places, dtype),
            end=torch.empty_like(x),
            end_z=x.new_empty(n),
            length=x.new_empty(n),
            status=status,
            place=place,
            evaluations=evaluations,
            path_points=path_points,
            capacity=capacity,
            every=max(every, 1),
        )

    def run(self, kind: str, rule: Any) -> Tensor | None:
        """Follow the lines by the extension's ``rule``: a TraceRule if ``kind`` is "trace", a ForwardRule if "forward".

        Returns:
            the paths, [T, N, D+1], data units, or None without ``capacity``.
        """
        extension, place = native.extension(), self.x.device
        plates, kept = self._native_plates(extension), []
        (n, d), size = self.x.shape, lines_at_once(self.x, self.capacity)
        for first in range(0, max(n, 1), size):
            lines = slice(first, min(first + size, n))
            path = self.x.new_empty(lines.stop - first, self.capacity, d + 1) if self.capacity else None
            rows = self._native_rows(extension, lines, path)
            if place.type == "cuda":
                follow = getattr(extension, f"cuda_{kind}_lines")
                plan = device_plan(extension, lines.stop - first, plates, place)
                store = torch.empty(extension.line_store_bytes(plan, plates), dtype=torch.uint8, device=place)
                memory = native.address(store, device="cuda", name="store"), len(store)
                where = place.index, torch.cuda.current_stream(place).cuda_stream
                follow(plates, rule, rows, plan, where, memory)
            else:
                is_double, threads = self.x.dtype == torch.float64, torch.get_num_threads()
                getattr(extension, f"{kind}_lines")(plates, rule, rows, is_double, threads)
            if path is not None:
                kept.append(_trimmed(path, self.path_points[lines]))
        return _side_by_side(kept) if self.capacity else None

    def _native_plates(self, extension: ModuleType) -> Any:
        plates, d = extension.LinePlates(), self.x.shape[1]
        plates.n_plus, plates.n_minus = len(self.plates.plus), len(self.plates.minus)
        plates.plus = self.address("plus", self.plates.plus, (plates.n_plus, d))
        plates.minus = self.address("minus", self.plates.minus, (plates.n_minus, d))
        plates.n_places = len(self.places)
        plates.places = self.address("places", self.places, (plates.n_places, d))
        plates.features, plates.L = d, self.plates.L
        return plates

    def _native_rows(self, extension: ModuleType, lines: slice, path: Tensor | None) -> Any:
        rows, d = extension.LineRows(), self.x.shape[1]
        n = lines.stop - lines.start
        for name in ("x", "end"):
            setattr(rows, name, self.address(name, getattr(self, name)[lines], (n, d)))
        for name in ("z", "end_z", "length"):
            setattr(rows, name, self.address(name, getattr(self, name)[lines], (n,)))
        for name in ("status", "place", "evaluations", "path_points"):
            setattr(rows, name, self.address(name, getattr(self, name)[lines], (n,), torch.int64))
        rows.count, rows.every = n, self.every
        if path is not None:
            rows.capacity = self.capacity
            rows.path = self.address("path", path, (n, self.capacity, d + 1))
        return rows

    def address(
        self, name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None
    ) -> int:
        """The address of ``tensor``, checked for this shape, the lines' device, and ``dtype`` or the lines' dtype."""
        return native.address(tensor, dtype or self.x.dtype, shape, device=self.x.device.type, name=name)

    def lines(self, paths: Tensor | None, charge: Tensor | None = None) -> Lines:
        """The result of the extension as Lines with ``paths`` and the ``charge`` that each line ended on, int64 [N]."""
        return Lines(
            end=self.end,
            end_z=self.end_z,
            status=self.status,
            charge=charge,
            evaluations=self.evaluations,
            length=self.length,
            paths=paths,
        )


def device_plan(extension: ModuleType, n: int, plates: Any, place: torch.device) -> Any:
    """The LinePlan of the extension for ``n`` lines between ``plates``, a LinePlates, on the CUDA device ``place``."""
    return extension.line_plan(n, plates, torch.cuda.get_device_properties(place).multi_processor_count)


def lines_at_once(x: Tensor, capacity: int) -> int:
    """The number of lines of ``x`` that one call follows: on a device, so many that their paths fit PATH_BYTES.

    On the CPU it is all of them, because pages of a path that no line reaches take no memory there.
    """
    n, d = x.shape
    if capacity == 0 or x.device.type == "cpu":
        return max(1, n)
    return max(1, PATH_BYTES // (capacity * (d + 1) * x.element_size()))


def _trimmed(path: Tensor, points: Tensor) -> Tensor:
    """The written part of paths [n, capacity, D+1] as [T, n, D+1]; a line that has ended repeats its end."""
    longest = int(points.max()) if len(path) else 1
    step = torch.arange(longest, device=path.device)
    at = torch.minimum(step[None], points[:, None] - 1).clamp_min(0)
    return path.gather(1, at[:, :, None].expand(-1, -1, path.shape[2])).transpose(0, 1)


def _side_by_side(paths: list[Tensor]) -> Tensor:
    """Paths [T_k, n_k, D+1] of groups of lines, joined to [T, N, D+1]; shorter ones repeat their ends."""
    if len(paths) == 1:
        return paths[0]
    longest = max(map(len, paths))
    return torch.cat(
        [part[torch.arange(longest, device=part.device).clamp_max(len(part) - 1)] for part in paths], 1
    )


def _tableau(extension: ModuleType, method: str) -> Any:
    """An explicit method of ``TABLEAUS``, or an embedded pair, as a ``Tableau`` of the extension."""
    tableau = extension.Tableau()
    if method in PAIRS:
        pair = PAIRS[method]
        tableau.rows, tableau.weights, tableau.error = pair.rows, (*pair.rows[-1], 0.0), pair.error
    else:
        _, rows, tableau.weights = TABLEAUS[method]
        tableau.rows = rows[1:]
    return tableau


def trace(
    problem: LineProblem, rule: StepRule, discs: DiscGeometry, capture: float, max_steps: int, every: int
) -> Lines:
    """Lines from charge to charge, followed by the extension; see :func:`efm_fast.trace_lines`."""
    extension = native.extension()
    places = problem.places
    bundle = Bundle.of(problem, max_steps // every + 2 if every else 0, every, places.at)
    d = bundle.x.shape[1]
    center, axis = (part.to(bundle.x).contiguous() for part in discs.dipole)
    how = extension.TraceRule()
    how.tableau, how.embedded = _tableau(extension, rule.method), rule.method in PAIRS
    how.step, how.tolerance, how.capture, how.far = rule.step, rule.tolerance, capture, discs.far
    how.center, how.axis = bundle.address("center", center, (d,)), bundle.address("axis", axis, (d + 1,))
    how.max_steps = max_steps
    paths = bundle.run("trace", how)
    return bundle.lines(paths, places.charge(bundle.place))


def forward(problem: LineProblem, schedule: Heights, method: str, steepest: float, every: int) -> Lines:
    """Lines from plate to plate, followed by the extension to the last height; see ``forward_map``."""
    extension = native.extension()
    bundle = Bundle.of(problem, -(-schedule.steps // every) + 1 if every else 0, every)
    nodes = TABLEAUS[method][0]
    z, dz_dt, next_z = (part.to(bundle.x).contiguous() for part in schedule.stages(nodes))
    stages = (schedule.steps, len(nodes))
    how = extension.ForwardRule()
    how.tableau, how.steps, how.dt, how.steepest = (
        _tableau(extension, method),
        schedule.steps,
        schedule.dt,
        steepest,
    )
    how.z, how.dz_dt = bundle.address("z", z, stages), bundle.address("dz_dt", dz_dt, stages)
    how.next_z = bundle.address("next_z", next_z, stages[:1])
    return bundle.lines(bundle.run("forward", how))
