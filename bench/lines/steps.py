"""What one step of lines in image space costs beside its sums: operations, launches, and waits of the host.

    python -m bench.lines.steps                       # seconds; needs no GPU; writes bench/results/line_steps.json
    python -m bench.lines.steps --as line_steps_old   # the same under another name, to keep an older walk beside it

A real trace on the CPU is watched by torch's dispatcher. The sums of a CUDA device are counted apart: their launchers
run on tensors without memory, where an operation that needs a number on the host would fail.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.common.record import as_text, print_table, write_result
from bench.lines.cost import Row
from bench.lines.images import image_like
from efm_fast import kernels
from efm_fast.lines import launch, trace_lines
from efm_fast.lines.engine import summed_walk
from efm_fast.lines.engine.charge_sums import ChargeSums
from efm_fast.lines.engine.pace import CPU, CUDA, Pace
from efm_fast.lines.engine.summed_walk import SummedWalk
from efm_fast.lines.integrate.steps import TraceMethod

#: Operations that wait until the device has computed a number or a shape that the host needs.
_WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")
#: Operations that only describe memory: a device runs nothing for them.
_FREE = ("empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "detach", "alias", "lift_fresh")
_LINES, _CHARGES, _FEATURES = 96, 512, 192
_EARLY, _LATE = 8, 40  # steps after which two traces stop; what the later one does more is counted


class Count(TorchDispatchMode):
    """Count operations that a device would run, and those among them for which the host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.run, self.waits = Counter[str](), Counter[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count one operation and run it."""
        name = func._schema.name.removeprefix("aten::")
        if not (func.is_view or name in _FREE):
            self.run[name] += 1
        if name in _WAITING or (name in _INDEXED and _masked(args)):
            self.waits[name] += 1
        return func(*args, **(kwargs or {}))


def _masked(args: tuple[Any, ...]) -> bool:
    """Whether an indexing operation has a mask among its indices: its result has as many rows as the mask is true."""
    return any(part is not None and part.dtype in (torch.bool, torch.uint8) for part in args[1])


def traced(max_steps: int, method: TraceMethod, pace: Pace) -> tuple[Count, Count, int]:
    """Counts of a trace that stops after ``max_steps`` steps: all of it, its sums alone; and steps it took together."""
    plates = image_like(_CHARGES, _FEATURES, 0.3)
    x, z = launch(plates.plus, torch.arange(_LINES), seed=1)
    every, sums, steps = Count(), Count(), 0
    evaluate, advance = ChargeSums.__call__, SummedWalk.advance

    def counted(self: ChargeSums, points: Tensor) -> Any:
        with sums:
            return evaluate(self, points)

    def stepped(self: SummedWalk, rows: Tensor) -> None:
        nonlocal steps
        steps += 1
        advance(self, rows)

    ChargeSums.__call__, SummedWalk.advance = counted, stepped  # type: ignore[method-assign]
    summed_walk.CPU = pace
    try:
        with every:
            trace_lines(
                x, z, plates.plus, plates.minus, plates.L, backend="torch", method=method, max_steps=max_steps
            )
    finally:
        ChargeSums.__call__, SummedWalk.advance = evaluate, advance  # type: ignore[method-assign]
        summed_walk.CPU = CPU
    return every, sums, steps


def walk_row(method: TraceMethod, pace: Pace) -> Row:
    """Operations and waits of one step outside of its sums, the mean over the steps between two stops."""
    early, late = traced(_EARLY, method, pace), traced(_LATE, method, pace)
    steps = late[2] - early[2]

    def per_step(of: Callable[[Count], Counter[str]]) -> float:
        return sum((of(late[0]) - of(late[1]) - (of(early[0]) - of(early[1]))).values()) / steps

    waits = late[0].waits - early[0].waits
    return {
        "method": method,
        "pace": "CUDA" if pace is CUDA else "CPU",
        "operations": per_step(lambda count: count.run),
        "waits of the host": sum(waits.values()) / steps,
        "of them": ", ".join(f"{n / steps:.1f} {name}" for name, n in waits.most_common()) or "-",
    }


def sums_row(points: int, charges: int, features: int) -> Row:
    """Kernels and operations of one evaluation of both plates' sums on a CUDA device."""
    x, height = torch.empty(points, features, device="meta"), torch.empty(points, device="meta").double()
    y = torch.empty(charges, features, device="meta")
    with kernels.ahead.recorded() as launches, Count() as count:
        for _ in range(2):
            kernels.log_sum(kernels.Request(x, y, "riesz", (features + 1.0,), height=height))
    return {
        "D": features,
        "points": points,
        "charges": f"2 x {charges}",
        "Triton kernels": len(launches),
        "operations of torch": sum(count.run.values()),
        "waits of the host": sum(count.waits.values()),
    }


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--as", dest="name", default="line_steps", help="name of the result")
    name = parser.parse_args().name
    torch.set_num_threads(1)
    methods: tuple[TraceMethod, ...] = ("bs23", "dopri5")
    walks = [walk_row(method, pace) for method in methods for pace in (CPU, CUDA)]
    sums = [sums_row(*size) for size in ((512, 50_000, 3072), (2048, 50_000, 3072), (512, 2000, 96))]
    tables = {"walk": as_text(walks), "sums": as_text(sums)}
    for table in tables.values():
        print_table(table["rows"], table["columns"])
    print(f"wrote {write_result(name, {'tables': tables})}")


if __name__ == "__main__":
    main()
