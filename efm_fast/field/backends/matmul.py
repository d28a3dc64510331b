"""Keep the caller's matmul settings away from distances, whose rounding errors the kernel's power multiplies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _setting(device_type: str) -> Any:
    """Where this torch keeps the float32 matmul precision of ``device_type``; None where it has one for all."""
    backend = torch.backends.cuda if device_type == "cuda" else torch.backends.mkldnn
    matmul = getattr(backend, "matmul", None)
    return matmul if hasattr(matmul, "fp32_precision") else None


def is_plain(device_type: str) -> bool:
    """Whether float32 matmul is float32 here and now: a quick look, to skip :func:`plain_matmul`."""
    setting = _setting(device_type)
    precision = torch.get_float32_matmul_precision() if setting is None else setting.fp32_precision
    return precision in ("highest", "ieee", "none") and not torch.is_autocast_enabled(device_type)


@contextmanager
def plain_matmul(device_type: str) -> Iterator[None]:
    """Inside, float32 matmul means float32, whatever autocast and global precision the caller has set.

    TF32 or bfloat16 distances are wrong, not merely less precise, once the power of D + 1 is taken; a
    training loop that asks for them for its network must not get them here.
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
