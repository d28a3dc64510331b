"""How much faster a row is with all threads than with one, for ``field_kernel.py``; beside torch's own GEMM.

Calls with one thread and with all alternate, and the ratio of neighbours counts: on a machine that others use too,
both then meet the same conditions.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bench.common.timing import once
from bench.field.forms import Form
from bench.field.measure import Case, Measurement, on_device, timed_set

PAIRS = 5
_SHARE = 4  # of a row's points
_GEMM = 1024
COLUMNS = ["row", "D", "N", "threads", "speedup", "least", "most", "GEMM's speedup"]


@dataclass(frozen=True)
class Scaling:
    """One row at one size.

    Attributes:
        form: name of the row.
        d: features.
        n: points.
        threads: how many were compared with one.
        speedups: one thread's time over all threads' time, for each pair of neighbouring calls.
        gemm: the same of a float32 matrix product of torch, median.
    """

    form: str
    d: int
    n: int
    threads: int
    speedups: list[float]
    gemm: float

    def cells(self) -> list[object]:
        """The row of the table."""
        ends = (statistics.median(self.speedups), min(self.speedups), max(self.speedups), self.gemm)
        return [self.form, self.d, self.n, self.threads, *(f"{value:.2f}" for value in ends)]


def scalings(rows: list[Form], shapes: list[Case], found: list[Measurement]) -> list[Scaling]:
    """One thread against all for the fastest backend of efm_fast at every size; none where there is but one."""
    best = [(case, _fastest(rows, case, found)) for case in shapes]
    if torch.get_num_threads() == 1:
        return []
    return [
        _scaling(row, case, n) for case, (row, n) in best if row and torch.device(case.device).type == "cpu"
    ]


def _fastest(rows: list[Form], case: Case, found: list[Measurement]) -> tuple[Form | None, int]:
    speeds = {m.form: (m.speed.pairs_per_second, m.n or 1) for m in found if m.d == case.d and m.speed}
    mine = [row for row in rows if row.ours and row.name in speeds]
    best = max(mine, key=lambda row: speeds[row.name][0], default=None)
    return best, speeds[best.name][1] if best else 0


def _scaling(form: Form, case: Case, timed: int) -> Scaling:
    threads = torch.get_num_threads()
    n = max(1, timed // _SHARE)
    points, _ = timed_set(case.d, case.n, case.m, case.dtype)
    arguments = on_device(points, case.device, n)
    a = torch.randn(_GEMM, _GEMM)
    speedups = _pairs(lambda: form.field(*arguments), threads)
    gemm = statistics.median(_pairs(lambda: a @ a, threads))
    return Scaling(form.name, case.d, n, threads, speedups, gemm)


def _pairs(call: Callable[[], object], threads: int) -> list[float]:
    for count in (1, threads):
        _seconds(call, count)
    return [_seconds(call, 1) / _seconds(call, threads) for _ in range(PAIRS)]


def _seconds(call: Callable[[], object], threads: int) -> float:
    with _threads(threads):
        return once(call, "cpu")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
