"""Triton kernels for sums over charges. Imports torch and triton only; nothing compiles at import."""

from . import ahead, plan, platform
from .api import representable_points, riesz_sum, riesz_sum_backward, warmup
from .platform import INTERPRET

__all__ = [
    "INTERPRET",
    "ahead",
    "plan",
    "platform",
    "representable_points",
    "riesz_sum",
    "riesz_sum_backward",
    "warmup",
]
