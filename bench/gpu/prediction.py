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


def gradient_products(problem: Problem, charges: bool) -> int:
    """Matrix products of the gradients of points and heights, and with ``charges`` of charges: as for a sum.

    They are those of r2, of a, of b with the charges; then of b and of q rho with the points and g_v.
    """
    points = 1 + (not problem.uint8) + (not problem.rounded) + 2 * (2 + (not problem.uint8))
    return points + (2 + (not problem.rounded) + 3 if charges else 0)


def predict_gradients(problem: Problem, ceilings: Ceilings, charges: bool) -> Prediction:
    """The same for the gradients of a sum in more than plan.BACKWARD_D features, see :func:`gradient_products`."""
    n, m, d = problem.n, problem.m, problem.d
    pairs = float(n) * m
    width = plan.padded_width(d, {})
    matrix = 2.0 * gradient_products(problem, charges) * pairs * width / ceilings.gemm_bf16
    parts = (2 if problem.uint8 else 4) * m * width
    groups = -(-n // plan.group_rows(n, width))
    columns = plan.chunked_columns(m, width)
    height = plan.gradient_rows(plan.group_rows(n, width), columns, 1, plan.row_tile(width), charges, False)
    # parts are written once and read by three products, or by four; gradients of charges are written for the first
    # block of points, and read and written for the others
    memory = groups * ((1 if problem.uint8 else 4) * m * d + parts * (5 if charges else 4))
    memory += 4.0 * m * d * (2 * -(-n // height) - 1) if charges else 0.0
    # coefficients, counted for compute capability 9.0; a rounded addition for every 64 terms of a product
    plain = (108.0 if charges else 104.0) + (5.0 if charges else 3.0) * width / 64
    return Prediction(
        matrix, (memory + pairs / 4) / ceilings.bandwidth, 3.0 * pairs / ceilings.special,
        plain * pairs / ceilings.vector,
    )  # fmt: skip


def request_of(problem: Problem) -> kernels.Request:
    """The sum, of tensors without memory."""
    x, height = torch.empty(problem.n, problem.d, device="meta"), torch.empty(problem.n, device="meta")
    dtype = torch.uint8 if problem.uint8 else torch.float32
    y = torch.empty(problem.m, problem.d, dtype=dtype, device="meta")
    return kernels.Request(x, y, "riesz", (problem.d + 1.0,), height=height, rounded_points=problem.rounded)


def launches(problem: Problem) -> int:
    """Triton kernels that the sum launches, counted by recording them."""
    with kernels.ahead.recorded() as found:
        kernels.log_sum(request_of(problem))
    return len(found)


def gradient_launches(problem: Problem, charges: bool) -> int:
    """Triton kernels that the gradients of the sum launch."""
    request = request_of(problem)
    m, g_w = torch.empty(problem.n, dtype=torch.float64, device="meta"), torch.empty(problem.n, device="meta")
    with kernels.ahead.recorded() as found:
        kernels.log_sum_backward(request, m, g_w, request.x, needs_y=charges, needs_weight=False)
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


def gradient_row(problem: Problem, ceilings: Ceilings, charges: bool) -> dict[str, object]:
    """One line of the table of gradients; the ratios are those of forward + backward to forward."""
    forward, backward = predict(problem, ceilings), predict_gradients(problem, ceilings, charges)
    # the formula in torch multiplies once where the kernels multiply parts
    flops = 2.0 * (5 if charges else 3) * float(problem.n) * problem.m * problem.d
    return {
        "sum": problem.name,
        "gradients of": "points and charges" if charges else "points",
        "products": f"{problem.products} + {gradient_products(problem, charges)}",
        **{f"{name} ms": 1e3 * getattr(backward, name) for name in ("matrix", "memory", "special", "plain")},
        "bound ms": 1e3 * backward.bound,
        "serial ms": 1e3 * backward.serial,
        "float32 products ms": 1e3 * flops / ceilings.gemm_fp32,
        "ratio of bounds": 1.0 + backward.bound / forward.bound,
        "ratio of serial times": 1.0 + backward.serial / forward.serial,
        "launches": gradient_launches(problem, charges),
    }


def main() -> None:
    """Predict, print and write."""
    print(f"Prediction, not measurement, from: {H200.source}")
    wide = [problem for problem in PROBLEMS if problem.d > plan.BACKWARD_D and not problem.near]
    tables = {
        "H200": as_text([row(problem, H200) for problem in PROBLEMS]),
        # bytes have no gradient
        "gradients": as_text(
            [
                gradient_row(problem, H200, charges)
                for problem in wide
                for charges in (False, True)
                if not (charges and problem.uint8)
            ]
        ),
    }
    for table in tables.values():
        print_table(table["rows"], table["columns"])
    print(f"wrote {write_result('gpu_prediction', {'tables': tables})}")


if __name__ == "__main__":
    main()
