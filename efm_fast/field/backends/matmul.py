"""Shield distances from the caller's matmul settings, because the kernel's power multiplies their rounding errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _setting(device_type: str) -> Any:
    """The object that holds the float32 matmul precision of ``device_type``; None if torch has one for all devices."""
    backend = torch.backends.cuda if device_type == "cuda" else torch.backends.mkldnn
    matmul = getattr(backend, "matmul", None)
    return matmul if hasattr(matmul, "fp32_precision") else None


def is_plain(device_type: str) -> bool:
    """Whether float32 matmul currently computes in float32, so that :func:`plain_matmul` can be skipped."""
    setting = _setting(device_type)
    precision = torch.get_float32_matmul_precision() if setting is None else setting.fp32_precision
    return precision in ("highest", "ieee", "none") and not torch.is_autocast_enabled(device_type)


@contextmanager
def plain_matmul(device_type: str) -> Iterator[None]:
    """A context in which float32 matmul computes in float32, whatever autocast and global precision the caller has set.

    With distances in TF32 or bfloat16 the power D + 1 makes weights wrong, not just less precise. A training loop that
    sets them for its network must not change the field.
    """
    setting = _setting(device_type)
    with torch.autocast(device_type, enabled=False):
        if setting is None:
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
        else:
            before, setting.fp32_precision = setting.fp32_precision, "ieee"
        try:
            yield
        finally:
            if setting is None:
                torch.set_float32_matmul_precision(before)
            else:
                setting.fp32_precision = before
