"""What this GPU can do at most, measured: bfloat16 products, copies, exponentials and multiply-adds."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

from bench.gpu.prediction import Ceilings


def seconds(call: Callable[[], object], repeats: int = 20) -> tuple[float, float, float]:
    """Median, 20 % and 80 % quantile of the time of ``call`` on the device, after three calls to warm up."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1e3)
    low, middle, high = torch.quantile(
        torch.tensor(times, dtype=torch.float64), torch.tensor([0.2, 0.5, 0.8]).double()
    )
    return float(middle), float(low), float(high)


@triton.jit
def _chain(out, count, SPECIAL: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = at.to(tl.float32) * 1e-9
    for _ in range(count):
        for _ in tl.static_range(16):
            value = tl.exp2(-value) if SPECIAL else value * 0.999 + 0.001
    tl.store(out + at, value)


def measure() -> Ceilings:
    """Measure the current CUDA device."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    matrix = 2.0 * 8192**3 / seconds(lambda: a @ b)[0]
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    copy = 2.0 * source.nbytes / seconds(lambda: target.copy_(source))[0]
    programs, block, count = 8192, 1024, 64
    out = torch.empty(programs * block, device="cuda")
    work = float(programs) * block * count * 16

    def rate(special: bool) -> float:
        return (
            work
            / seconds(lambda: _chain[(programs,)](out, count, SPECIAL=special, BLOCK=block, num_warps=4))[0]
        )

    return Ceilings(matrix, copy, rate(True), rate(False), f"measured on {torch.cuda.get_device_name()}")
