"""How processes share a sum: the caller's choice, and the agreement of all processes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from ... import checks
from ...errors import EfmError, InputError
from ...processes import Processes, served_devices, shared, why_no_messages
from ..request import SumRequest
from .collectives import total
from .plan import Plan, Points, bytes_sent

Mode = Literal["auto", "reduce", "ring", "gather"]

_NUMBERS = 8  # bytes of a float64, the type in which m, w, along and heights are sent
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_LOG = logging.getLogger("efm_fast")


@dataclass(frozen=True)
class Sharding:
    """How the processes of a group share a sum; every process has charges of its own.

    Attributes:
        group: of torch.distributed; None for all processes.
        points: "replicated" if every process has the same points, "sharded" if each has its own. It also decides
            what is differentiated: with replicated points every process computes the same loss; with sharded points
            the loss is the sum of the processes' losses.
        mode: "reduce" sums the charges of each process at replicated points and merges the sums of all processes. For
            sharded points, "ring" passes the charges from process to process, and "gather" sends the points to every
            process and their sums back. "auto" takes the mode that sends the fewest bytes, and logs it under
            "efm_fast".
        prefetch: in a ring, receive the next charges while the current ones are summed.

    Raises:
        InputError: the mode does not fit the points; every sum raises it on every process.
    """

    group: dist.ProcessGroup | None = None
    points: Points = "replicated"
    mode: Mode = "auto"
    prefetch: bool = True

    @classmethod
    def of(cls, group: object, points: Points = "replicated") -> Sharding:
        """``group`` if it is a Sharding, otherwise a Sharding of that process group with these ``points``."""
        return group if isinstance(group, Sharding) else cls(group, points)  # type: ignore[arg-type]

    @property
    def processes(self) -> Processes:
        """The processes of the group."""
        return Processes.of(self.group)

    def plan(self, request: SumRequest, backend: str, problem: EfmError | None = None) -> Plan:
        """Agree with the other processes on a plan; every process of the group must call it.

        Args:
            request: the request of this process, checked unless there is a ``problem``.
            backend: name of the backend.
            problem: the error in the request, if there is one; every process raises it.

        Raises:
            InputError: the request of a process is wrong, or two requests do not fit together.
        """
        processes = self.processes
        if problem is None:
            problem = self._problem(request, processes)
        facts = {} if problem else _facts(request, backend, self)
        told = processes.agree(facts, problem)
        refuse_differences(told)
        points = [one["N"] for one in told]
        charges = [one["M"] for one in told]
        if self.points == "replicated" and len({(one["N"], one["points"]) for one in told}) > 1:
            raise shared(
                InputError(
                    "x: expected the same points on every process, got others; for points of their own use"
                    " group=Sharding(points='sharded')"
                )
            )
        sent = bytes_sent(points, charges, told[0], self.points)
        mode = self.mode if self.mode != "auto" else min(sent, key=lambda mode: sum(sent[mode]))
        if mode == "ring" and None in charges:
            raise shared(
                InputError(
                    "y: expected tensors with mode='ring', got streamed charges; use mode='gather' or 'auto'"
                )
            )
        _LOG.info("sum over %d processes: %s, of %s bytes sent by each", processes.size, mode, sent)
        return Plan(mode, processes, points, charges, sent, self.points == "replicated", self.prefetch)

    def _problem(self, request: SumRequest, processes: Processes) -> InputError | None:
        try:
            checks.choice("points", self.points, get_args(Points))
            checks.choice("mode", self.mode, get_args(Mode))
        except InputError as found:
            return found
        if (self.mode == "reduce") != (self.points == "replicated") and self.mode != "auto":
            fits = "'reduce' with replicated points" if self.points == "replicated" else "'ring' or 'gather'"
            return InputError(f"mode: expected {fits}, got {self.mode!r} with points={self.points!r}")
        assert processes.group is not None
        reason = why_no_messages(request.x.device.type, served_devices(processes.group))
        return None if reason is None else InputError(reason)

    def agree(self, **facts: object) -> None:
        """Wait for all processes and check that all have the same ``facts``.

        Raises:
            InputError: a process has other facts, or an error of its own.
        """
        refuse_differences(self.processes.agree(facts))

    def total(self, mine: float | Tensor) -> float | Tensor:
        """The sum of one number of every process, added in the order of ranks, with its gradient."""
        if not isinstance(mine, Tensor):
            return float(sum(float(text) for text in self.processes.exchange(repr(mine).encode())))
        return total(mine, self.processes, self.points == "replicated")

    def centre(self, mine: Tensor, charges: int) -> Tensor:
        """The mean of all processes' centres [D] of their charges, without the processes that have no charges."""
        processes = self.processes
        rows = torch.cat([mine.new_full((1,), float(charges > 0)), mine])[None]
        told = torch.cat(processes.gather_rows(rows, [1] * processes.size))
        mean = (told[:, :1] * told[:, 1:]).sum(0) / told[:, 0].sum().clamp_min(1.0)
        return mean.round() if torch.equal(told, told.round()) else mean  # of bytes, see centre_of


def together(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorate a function with an argument ``group``, so that a wrong argument on one process raises on all of them."""

    @functools.wraps(function)
    def call(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        group = options.get("group")
        if group is None:
            return function(*arguments, **options)
        try:
            return function(*arguments, **options)
        except EfmError as problem:
            if not problem.shared:
                Sharding.of(group).processes.agree({}, problem)
            raise

    return call


def _facts(request: SumRequest, backend: str, sharding: Sharding) -> dict[str, Any]:
    """The facts of a request that the other processes need."""
    x, y = request.x, request.y
    d = x.shape[1]
    exact = backend == "reference" or request.precision == "exact"
    streamed = not isinstance(y, Tensor)
    number = 0 if request.weight is None else request.weight.element_size()
    return {
        "D": d,
        "dtype of y": "streamed" if streamed else str(y.dtype),
        "dtype of x": str(x.dtype),  # after that of y, whose float64 make it float64
        "kernel": [request.kernel.name, *request.kernel.parameters],
        "softening": request.softening,
        "precision": request.precision,
        "first_self": request.first_self,
        "height": request.height is not None,
        "dtype of weight": None if request.weight is None or streamed else str(request.weight.dtype),
        "sharding": [sharding.points, sharding.mode],
        "gradients": [_asks(t) for t in (x, y, request.weight, request.height)],
        "N": len(x),
        "M": len(y) if hasattr(y, "__len__") and hasattr(y, "shape") else None,
        "points": _fingerprint(x, request.height) if sharding.points == "replicated" else 0,
        "row": (2 + (request.centre is not None)) * _NUMBERS + d * (8 if exact else x.element_size()),
        "point": d * x.element_size() + (0 if request.height is None else request.height.element_size()),
        "charge": 0 if streamed else d * y.element_size() + number,
    }


def _asks(value: object) -> bool:
    return torch.is_grad_enabled() and isinstance(value, Tensor) and value.requires_grad


def _fingerprint(*tensors: Tensor | None) -> int:
    """A hash of tensors; different points almost never have the same one."""
    found = 0
    for tensor in tensors:
        if tensor is not None:
            bits = tensor.detach().double().contiguous().view(torch.int32).flatten().to(torch.int64)
            places = torch.arange(len(bits), device=bits.device) % 65521 + 1
            found = 31 * found + int((bits * places).sum())
    return found % 2**61


_MAY_DIFFER = ("N", "M", "points")


def refuse_differences(told: list[dict[str, Any]]) -> None:
    """Raise InputError on every process if two processes have different facts."""
    for key, value in told[0].items():
        for rank, other in enumerate(told):
            if key not in _MAY_DIFFER and other[key] != value:
                raise shared(
                    InputError(
                        f"group: expected one {key} on all processes, got {value} on process 0"
                        f" and {other[key]} on process {rank}"
                    )
                )
