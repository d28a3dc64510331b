"""How much memory a call needs at its peak."""

from __future__ import annotations

import ctypes
import gc
import os
import re
from pathlib import Path

import torch


class PeakMemory:
    """Memory that a call needs at its peak beyond what was there: CUDA's own count, or the process's on Linux."""

    bytes: int | None = None

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device).type == "cuda"
        self._device = device

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self._cuda:
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before: int | None = torch.cuda.memory_allocated(self._device)
            return self
        _give_back()
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        except OSError:
            self._before = None
        else:
            self._before = _status("VmRSS")
        return self

    def __exit__(self, *problem: object) -> None:
        if self._cuda:
            torch.cuda.synchronize(self._device)
            peak: int | None = torch.cuda.max_memory_allocated(self._device)
        else:
            peak = _status("VmHWM")
        if self._before is not None and peak is not None:
            self.bytes = max(0, peak - self._before)


def _give_back() -> None:
    """Hand freed memory back to the system, else a call that reuses it seems to need none."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _status(name: str) -> int | None:
    """A field of the process's status in bytes; None where the system has none."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) << 10 if found else None
