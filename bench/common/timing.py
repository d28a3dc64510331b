"""Seconds of a call on any device: once, or as often as it takes to trust them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.benchmark import Timer

_LONG = 0.005  # seconds of a call beside which the clock's own cost is nothing


@dataclass(frozen=True)
class Times:
    """Seconds per call, measured several times.

    Attributes:
        each: one entry per measurement; a short call is measured in blocks, and then an entry is a block's mean.
        calls: number of calls in all.
    """

    each: list[float]
    calls: int

    @property
    def best(self) -> float:
        """Least seconds."""
        return min(self.each)

    def quantiles(self, *shares: float) -> list[float]:
        """The seconds that these shares of the measurements do not exceed."""
        at = torch.tensor(shares, dtype=torch.float64)
        return torch.quantile(torch.tensor(self.each, dtype=torch.float64), at).tolist()


def synchronise(device: str | torch.device) -> None:
    """Wait until a GPU has done what it was given; a CPU has already."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def once(call: Callable[[], object], device: str | torch.device) -> float:
    """Seconds of one call; the device is idle at both ends."""
    synchronise(device)
    begin = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - begin


def repeated(
    call: Callable[[], object], device: str | torch.device, min_run_time: float, seconds: float | None = None
) -> Times:
    """Measure ``call`` for about ``min_run_time`` seconds, and at least three times.

    Args:
        call: what is timed.
        device: where it runs.
        min_run_time: seconds of timing.
        seconds: what one call is known to take; None calls it twice to find out, the first time to warm up.
    """
    if seconds is None:
        call()
        seconds = once(call, device)
    if seconds > _LONG:
        count = max(3, math.ceil(min_run_time / seconds))
        return Times([once(call, device) for _ in range(count)], count)
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    runs = timer.blocked_autorange(min_run_time=min_run_time)
    return Times(list(runs.times), len(runs.times) * runs.number_per_run)
