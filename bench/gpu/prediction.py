"""Predicted times of the Triton kernels, from counted bytes and operations and a machine's ceilings.

A prediction says what the machine could do at best and what it would take if nothing overlapped; it is no
measurement. ``python -m bench.gpu.prediction`` prints it for the data sheet of an H200 and writes
bench/results/gpu_prediction.json.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.common.ceilings import Ceilings
from bench.common.record import as_text, print_table, write_result
from efm_fast import kernels

plan = kernels.plan


#: 132 multiprocessors at 1.98 GHz, with 128 float32 lanes and 16 special functions each per clock.
_LANES, _SPECIAL = 132 * 128 * 1.98e9, 132 * 16 * 1.98e9
H200 = Ceilings(
    gemm_fp32=2 * _LANES, gemm_bf16=989e12, bandwidth=4.8e12, exp=_SPECIAL, log=_SPECIAL, rsqrt=_SPECIAL,
    vector=_LANES, source="H200 data sheet",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A sum to predict: points, charges, features, bytes as charges, points rounded, points near charges.

    Points lie where field lines pass halfway between the plates, and hundreds of charges count; ``near`` charges one
    alone counts. No tile is left out in either case: points and charges come in any order (``bench.gpu.counts``).
    """

    n: int
    m: int
    d: int
    uint8: bool = False
    rounded: bool = False
    near: bool = False

    @property
    def name(self) -> str:
        """For tables."""
        kind = "uint8 charges" if self.uint8 else "float32"
        where = f"{', rounded points' if self.rounded else ''}{', near charges' if self.near else ''}"
        return f"D={self.d}, {self.n} x {self.m}, {kind}{where}"

    @property
    def small(self) -> bool:
        """Whether the direct-difference kernel serves it."""
        return self.d <= plan.SMALL_D

    @property
    def work(self) -> float:
        """Pairs, or effective operations: 4 N M D."""
        return float(self.n) * self.m * (1 if self.small else 4 * self.d)

    @property
    def unit(self) -> str:
        """Of the rate: 10^12 of ``work`` per second."""
        return "10^12 pairs/s" if self.small else "TFLOP/s"

    @property
    def products(self) -> int:
        """Matrix products that the split precision takes, of 2 N M D operations each."""
        distance = 1 + (not self.uint8) + (not self.rounded)
        return distance + 2 + (not self.uint8)


@dataclass(frozen=True)
class Prediction:
    """Seconds by resource: the bound is the largest, the serial time their sum."""

    matrix: float
    memory: float
    special: float
    plain: float

    @property
    def bound(self) -> float:
        """No schedule can be faster."""
        return max(self.matrix, self.memory, self.special, self.plain)

    @property
    def serial(self) -> float:
        """If nothing overlapped."""
        return self.matrix + self.memory + self.special + self.plain


def predict(problem: Problem, ceilings: Ceilings) -> Prediction:
    """Count operations and bytes of the regime that serves ``problem`` and divide by the ceilings.

    Instructions per pair are counted in the machine code of the inner loops for compute capability 9.0.
    """
    n, m, d = problem.n, problem.m, problem.d
    pairs = float(n) * m
    size = 1 if problem.uint8 else 4
    if problem.small:
        return Prediction(
            0.0, (size * m * d + 8.0 * n * d) / ceilings.bandwidth, (1 + 4 / 16) * pairs / ceilings.special,
            pairs * (5 + 5.8 * d) / ceilings.vector,
        )  # fmt: skip
    fused = plan.fused_shapes(1)
    width = plan.padded_width(d, fused)
    matrix = 2.0 * problem.products * pairs * width / ceilings.gemm_bf16
    parts = (2 if problem.uint8 else 4) * m * width
    groups = -(-n // plan.group_rows(n, width))
    # charges are read and split once per group of points, the parts then read once (fused) or twice
    memory = groups * (size * m * d + parts * (2 if width in fused else 3)) / ceilings.bandwidth
    marks = pairs / 8 * 2 / ceilings.bandwidth
    # weights, and a rounded addition for every 64 features of the first product and every 64 charges of the second
    plain = 34.0 if width in fused else 45.0 + 2.0 * width / 64
    return Prediction(matrix, memory + marks, 2 * pairs / ceilings.special, plain * pairs / ceilings.vector)


def launches(problem: Problem) -> int:
    """Triton kernels that the sum launches, counted by recording them."""
    with kernels.ahead.recorded() as found:
        x, height = torch.empty(problem.n, problem.d, device="meta"), torch.empty(problem.n, device="meta")
        dtype = torch.uint8 if problem.uint8 else torch.float32
        y = torch.empty(problem.m, problem.d, dtype=dtype, device="meta")
        kernels.log_sum(
            kernels.Request(x, y, "riesz", (problem.d + 1.0,), height=height, rounded_points=problem.rounded)
        )
    return len(found)


PROBLEMS = (
    Problem(512, 100_000, 3072),
    Problem(512, 100_000, 3072, near=True),
    Problem(512, 100_000, 3072, uint8=True, rounded=True),
    Problem(16384, 65536, 128),
    Problem(16384, 65536, 64),
    Problem(16384, 65536, 64, near=True),
    Problem(65536, 1 << 20, 2),
    Problem(4096, 65536, 2),
)


def row(problem: Problem, ceilings: Ceilings) -> dict[str, object]:
    """One line of the table; the rate is that of the bound."""
    found = predict(problem, ceilings)
    return {
        "sum": problem.name,
        **{f"{name} ms": 1e3 * getattr(found, name) for name in ("matrix", "memory", "special", "plain")},
        "bound ms": 1e3 * found.bound,
        "serial ms": 1e3 * found.serial,
        "rate of the bound": f"{problem.work / found.bound / 1e12:.3g} {problem.unit}",
        "launches": launches(problem),
    }


def main() -> None:
    """Predict, print and write."""
    print(f"Prediction, not measurement, from: {H200.source}")
    table = as_text([row(problem, H200) for problem in PROBLEMS])
    print_table(table["rows"], table["columns"])
    print(f"wrote {write_result('gpu_prediction', {'tables': {'H200': table}})}")


if __name__ == "__main__":
    main()
