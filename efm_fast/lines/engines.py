"""Who integrates the lines of an exact field: the extension, all steps in one call, or torch, step by step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .. import checks, native
from ..errors import BackendUnavailableError
from ..field.torch_op import watched
from ..types import Plates
from .heights import Heights
from .record import Lines
from .steps import TABLEAUS

Engine = Literal["auto", "torch", "extension"]
ENVIRONMENT_VARIABLE = "EFM_FAST_LINES"

_DIMENSION_CPU = 64  # above it the sums over charges are matrix products, which want all lines at once
_DTYPES_CPU = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Problem:
    """What is asked of an engine: lines from ``x`` [N, D], ``z`` [N] among the charges of ``plates``."""

    x: Tensor
    z: Tensor
    plates: Plates
    backend: str = "auto"
    precision: str = "default"


def why_not(problem: Problem) -> str | None:
    """A sentence that says why the extension cannot integrate these lines; None if it can."""
    device, d = problem.x.device, problem.x.shape[1]
    missing = native.why_missing()
    if missing is not None:
        return missing
    for charges in (problem.plates.plus, problem.plates.minus):
        if charges.device != device:
            return f"the lines are on {device}, and charges on {charges.device}"
    if watched(problem.x, problem.z, problem.plates.plus, problem.plates.minus):
        return "a gradient, a transform or a compiler asks for every step, and it takes all in one call"
    if problem.backend != "auto":
        return f"backend={problem.backend!r} was asked for, and it sums over charges by its own kernels"
    if problem.precision == "exact" and problem.x.dtype != torch.float64:
        return "precision='exact' of float32 lines sums in float64, which it does for float64 lines only"
    if device.type == "cpu":
        if d > _DIMENSION_CPU:
            return f"on the CPU it serves up to {_DIMENSION_CPU} features, got {d}"
        if problem.x.dtype not in _DTYPES_CPU:
            return f"it serves float32 and float64 lines, got {problem.x.dtype}"
        return None
    if device.type != "cuda":
        return f"it serves CPU and CUDA tensors, and the lines are on {device}"
    if not hasattr(native.extension(), "cuda_trace_lines"):
        return "it was built without its CUDA part: nvcc was not found then"
    limit = native.extension().line_dimension_cuda
    if d > limit:
        return f"on a CUDA device it serves up to {limit} features, got {d}"
    if problem.x.dtype != torch.float32:
        return f"on a CUDA device it serves float32 lines, got {problem.x.dtype}"
    return None


def requested(engine: str) -> str:
    """``engine``, or what the environment variable asks for where the argument is "auto".

    Raises:
        InputError: no engine has that name.
    """
    if engine == "auto":
        engine = os.environ.get(ENVIRONMENT_VARIABLE, "auto")
    return checks.choice("engine", engine, ("auto", "torch", "extension"))


def uses_extension(problem: Problem, engine: str) -> bool:
    """Whether the extension integrates; an explicit argument beats EFM_FAST_LINES beats "auto".

    Raises:
        InputError: no engine has that name.
        BackendUnavailableError: the extension was asked for and cannot serve; the text says why.
    """
    engine = requested(engine)
    if engine == "torch":
        return False
    reason = why_not(problem)
    if reason is not None and engine == "extension":
        raise BackendUnavailableError(f"engine 'extension' cannot integrate these lines: {reason}")
    return reason is None


class _Bundle:
    """Buffers of one call: contiguous inputs, and the rows that the extension fills."""

    def __init__(self, problem: Problem, capacity: int, every: int) -> None:
        x, plates = problem.x, problem.plates
        n, d = x.shape
        self.x, self.z = (native.plain(part, x.dtype) for part in (x, problem.z))
        self.plus, self.minus = (native.plain(c, x.dtype) for c in (plates.plus, plates.minus))
        self.L, self.every, self.capacity = float(plates.L), every, capacity
        self.end, self.end_z, self.length = torch.empty_like(self.x), x.new_empty(n), x.new_empty(n)
        self.status, self.charge, self.evaluations, self.path_points = (
            torch.zeros(n, dtype=torch.int64, device=x.device) for _ in range(4)
        )
        # pages of a path that no line reaches are never touched
        self.path = x.new_empty(n, capacity, d + 1) if capacity else None

    def plates(self) -> dict[str, Any]:
        """The charges as the extension takes them."""
        counts, d = {"n_plus": len(self.plus), "n_minus": len(self.minus)}, self.x.shape[1]
        where = {
            "plus": self.address("plus", self.plus, (len(self.plus), d)),
            "minus": self.address("minus", self.minus, (len(self.minus), d)),
        }
        return where | counts | {"features": d, "L": self.L}

    def rows(self) -> dict[str, Any]:
        """The lines as the extension takes them."""
        n, d = self.x.shape
        found: dict[str, Any] = {
            name: self.address(name, getattr(self, name), shape)
            for names, shape in ((("x", "end"), (n, d)), (("z", "end_z", "length"), (n,)))
            for name in names
        }
        for name in ("status", "charge", "evaluations", "path_points"):
            found[name] = self.address(name, getattr(self, name), (n,), torch.int64)
        found["path"] = self.address("path", self.path, (n, self.capacity, d + 1))
        return found | {"count": n, "capacity": self.capacity, "every": self.every}

    def address(
        self, name: str, tensor: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype | None = None
    ) -> int:
        """Where ``tensor`` starts; it has this shape, and the lines' device and dtype unless another is named."""
        return native.address(tensor, dtype or self.x.dtype, shape, device=self.x.device.type, name=name)

    def run(self, kind: str, rule: dict[str, Any]) -> None:
        """Integrate: ``kind`` is "trace" or "forward"."""
        extension = native.extension()
        if self.x.device.type == "cuda":
            device = self.x.device.index
            stream = torch.cuda.current_stream(self.x.device).cuda_stream
            getattr(extension, f"cuda_{kind}_lines")(self.plates(), rule, self.rows(), device, stream)
            return
        serve = getattr(extension, f"{kind}_lines")
        double = self.x.dtype == torch.float64
        serve(self.plates(), rule, self.rows(), double, torch.get_num_threads())

    def lines(self, charge: bool) -> Lines:
        """What the extension wrote."""
        return Lines(
            end=self.end,
            end_z=self.end_z,
            status=self.status,
            charge=self.charge if charge else None,
            evaluations=self.evaluations,
            length=self.length,
            paths=self._paths(),
        )

    def _paths(self) -> Tensor | None:
        if self.path is None:
            return None
        longest = int(self.path_points.max()) if len(self.path) else 1
        step = torch.arange(longest, device=self.path.device)
        # a line that ended repeats its end
        at = torch.minimum(step[None], self.path_points[:, None] - 1).clamp_min(0)
        return self.path.gather(1, at[:, :, None].expand(-1, -1, self.path.shape[2])).transpose(0, 1)


def _tableau(
    a: Sequence[Sequence[float]], weights: Sequence[float], error: Sequence[float]
) -> dict[str, Any]:
    return {"a": [list(row) for row in a], "weights": list(weights), "error": list(error)}


def trace(problem: Problem, rule: Any, capacitor: Any, capture: float, max_steps: int, every: int) -> Lines:
    """Lines from charge to charge by the extension; see :func:`efm_fast.trace_lines`."""
    from .embedded import ERROR, ROWS

    bundle = _Bundle(problem, max_steps // every + 2 if every else 0, max(every, 1))
    embedded = rule.method == "dopri5"
    nodes = TABLEAUS.get(rule.method)
    tableau = (
        _tableau(ROWS, (*ROWS[-1], 0.0), ERROR) if nodes is None else _tableau(nodes[1][1:], nodes[2], ())
    )
    n = bundle.x.shape[1] + 1
    center, axis = (part.to(bundle.x).contiguous() for part in capacitor.dipole())
    bundle.run(
        "trace",
        tableau
        | {"embedded": embedded, "step": rule.step, "tolerance": rule.tolerance, "capture": capture}
        | {
            "far": capacitor.far,
            "center": bundle.address("center", center, (n - 1,)),
            "axis": bundle.address("axis", axis, (n,)),
            "max_steps": max_steps,
        },
    )
    return bundle.lines(charge=True)


def forward(problem: Problem, schedule: Heights, method: str, steepest: float, every: int) -> Lines:
    """Lines from plate to plate by the extension, to the schedule's last height; see ``forward_map``."""
    bundle = _Bundle(problem, -(-schedule.steps // every) + 1 if every else 0, max(every, 1))
    nodes, rows, weights = TABLEAUS[method]
    z, dz_dt, next_z = (part.to(bundle.x).contiguous() for part in schedule.stages(nodes))
    stages = (schedule.steps, len(nodes))
    bundle.run(
        "forward",
        _tableau(rows[1:], weights, ())
        | {"steps": schedule.steps, "dt": schedule.dt, "steepest": steepest}
        | {
            "z": bundle.address("z", z, stages),
            "dz_dt": bundle.address("dz_dt", dz_dt, stages),
            "next_z": bundle.address("next_z", next_z, stages[:1]),
        },
    )
    return bundle.lines(charge=False)
