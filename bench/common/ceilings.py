"""The measured rates of a machine, and the rate of a field sum that they suggest.

Rates are the best of several runs, with the threads that torch uses, so that a ratio to them means the same on every
machine. :func:`limit` counts what one pair of a point and a charge costs and says which resource binds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bench.common.timing import repeated

DIRECT_D = 16  # up to here differences are cheaper than matrix products, and need no repair
MATRIX_PRODUCTS = (
    3  # bfloat16 products that stand for one float32 product: high x high, high x low, low x high
)
# log2(1 + t) and 2^a of a weight, as polynomials on vector lanes: what csrc/simd/functions.h spends on them
WEIGHT_INSTRUCTIONS = 34
_LONGEST = 0.15  # seconds of one matrix product


@dataclass(frozen=True)
class Ceilings:
    """Measured rates of one device.

    Attributes:
        gemm_fp32: float32 matrix product, FLOP/s.
        gemm_bf16: bfloat16 matrix product with float32 sums, FLOP/s.
        bandwidth: of a copy far larger than the caches, bytes/s, read and written.
        exp: exponentials per second, float32, from cache.
        log: logarithms per second.
        rsqrt: reciprocal roots per second.
        vector: multiply-adds of single lanes per second, float32, outside of matrix units.
        source: where the numbers are from.
    """

    gemm_fp32: float
    gemm_bf16: float
    bandwidth: float
    exp: float
    log: float
    rsqrt: float
    vector: float
    source: str = "measured"

    @property
    def special(self) -> float:
        """The slowest of the special functions, per second."""
        return min(self.exp, self.log, self.rsqrt)

    def table(self) -> dict[str, Any]:
        """The rates as a table to print and to render."""
        names = {
            "gemm_fp32": ("float32 GEMM", "GFLOP/s"),
            "gemm_bf16": ("bfloat16 GEMM", "GFLOP/s"),
            "bandwidth": ("copy", "GB/s"),
            "exp": ("exp", "G/s"),
            "log": ("log", "G/s"),
            "rsqrt": ("rsqrt", "G/s"),
            "vector": ("multiply-add", "G/s"),
        }
        rows = [[*name, float(f"{getattr(self, key) / 1e9:.4g}")] for key, name in names.items()]
        return {"columns": ["ceiling", "unit", "measured"], "rows": rows}


@dataclass(frozen=True)
class Limit:
    """The pairs per second that :class:`Ceilings` allow a sum in ``d`` features that does all its products, and why.

    Attributes:
        d: features.
        way: "differences" or "matrix products".
        bound: the resource that binds.
        seconds: per pair, by resource.
    """

    d: int
    way: str
    bound: str
    seconds: dict[str, float]

    @property
    def pairs_per_second(self) -> float:
        """The rate of the bound; the resources are taken to overlap perfectly."""
        return 1.0 / self.seconds[self.bound]


def measure(device: str | torch.device) -> Ceilings:
    """Measure ``device``; a few seconds."""
    device = torch.device(device)
    gemm_fp32, gemm_bf16 = (_gemm(device, dtype) for dtype in (torch.float32, torch.bfloat16))
    if device.type == "cuda":
        exp, log, rsqrt, vector = _lanes_gpu(device)
        source = f"measured on {torch.cuda.get_device_name(device)}"
    else:
        exp, log, rsqrt = _special_cpu(device)
        vector, source = gemm_fp32 / 2, "measured"  # a CPU's float32 products are made of such multiply-adds
    return Ceilings(gemm_fp32, gemm_bf16, _bandwidth(device), exp, log, rsqrt, vector, source)


def _gemm(device: torch.device, dtype: torch.dtype) -> float:
    """The best rate over growing squares, which stop before one product takes long."""
    best, size = 0.0, 512
    while size <= 8192:
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        seconds = _best(functools.partial(torch.mm, a, b), device, 0.1)
        best = max(best, 2.0 * size**3 / seconds)
        if 8 * seconds > _LONGEST:
            break
        size *= 2
    return best


def _bandwidth(device: torch.device) -> float:
    source = torch.ones((1 << 30 if device.type == "cuda" else 1 << 28) // 4, device=device)
    target = torch.empty_like(source)
    return 2.0 * source.numel() * 4 / _best(functools.partial(target.copy_, source), device, 0.2)


def _special_cpu(device: torch.device) -> list[float]:
    """exp, log and rsqrt per second on numbers that stay in the cache."""
    values = torch.rand(1 << 16, device=device) + 0.5
    out = torch.empty_like(values)
    functions = (torch.exp, torch.log, torch.rsqrt)
    calls = [functools.partial(function, values, out=out) for function in functions]
    return [values.numel() / _best(call, device, 0.05) for call in calls]


def _lanes_gpu(device: torch.device) -> list[float]:
    """exp2, log2, rsqrt and multiply-adds in registers; a plain call would measure the memory instead."""
    from bench.common.chains import rate  # needs Triton

    return [rate(name, device) for name in ("exp2", "log2", "rsqrt", "fma")]


def _best(call: Callable[[], object], device: torch.device, min_run_time: float) -> float:
    return repeated(call, device, min_run_time).best


def direct_instructions(d: int) -> int:
    """Vector instructions per pair of the loop over differences, Coulomb's power d + 1, as csrc compiles it.

    Two per feature for the distance and one for the sum; minimum, scale and sum of weights; a rough reciprocal
    root, its power by multiplication, and the series that repairs it.
    """
    power = d + 1
    multiplications = _multiplications(power // 2) + power % 2
    repair = 4 + (power > 3)  # y^2, its error, [the second term,] and the repaired power
    return 3 * d + 3 + 1 + multiplications + repair


def _multiplications(power: int) -> int:
    """Multiplications of a power by squaring."""
    return (power.bit_length() - 1) + (bin(power).count("1") - 1) if power > 1 else 0


def limit(d: int, n: int, m: int, ceilings: Ceilings, device: str) -> Limit:
    """What ``ceilings`` allow for ``n`` points and ``m`` charges per plate in ``d`` features."""
    gpu = torch.device(device).type == "cuda"
    memory = 4.0 * (d + 1) * (2 * n + m) / (n * m) / ceilings.bandwidth
    seconds = {"memory": memory}
    if d <= DIRECT_D:
        way = "differences"
        seconds["vector instructions"] = direct_instructions(d) / ceilings.vector
        if gpu:
            seconds["special functions"] = 1.0 / ceilings.rsqrt
    else:
        way = "matrix products"
        on_lanes, on_matrix_units = ceilings.gemm_fp32, ceilings.gemm_bf16 / MATRIX_PRODUCTS
        products = seconds["matrix products"] = 4.0 * d / max(on_lanes, on_matrix_units)
        if gpu:
            seconds["special functions"] = 1.0 / ceilings.exp + 1.0 / ceilings.log
        else:
            # a CPU without matrix units multiplies matrices on the lanes that also compute the weights
            weights = WEIGHT_INSTRUCTIONS / ceilings.vector
            seconds["vector instructions"] = weights + (products if on_matrix_units <= on_lanes else 0.0)
    bound = max(seconds, key=lambda name: seconds[name])
    if not math.isfinite(seconds[bound]):
        raise ValueError(f"a ceiling is zero: {ceilings}")
    return Limit(d, way, bound, seconds)


def limit_table(limits: list[Limit]) -> dict[str, Any]:
    """Limits as a table: what a pair costs by resource, in picoseconds, and the bound in pairs per second."""
    resources = ["vector instructions", "matrix products", "special functions", "memory"]
    columns = ["D", "way", *(f"{name}, ps" for name in resources), "bound by", "bound, Gpair/s"]
    rows = [
        [
            limit.d,
            limit.way,
            *(float(f"{limit.seconds[r] * 1e12:.3g}") if r in limit.seconds else None for r in resources),
            limit.bound,
            float(f"{limit.pairs_per_second / 1e9:.3g}"),
        ]
        for limit in limits
    ]
    return {"columns": columns, "rows": rows}
