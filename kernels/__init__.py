"""Triton kernels for sums over charges. Imports torch and triton only; nothing compiles at import."""

from . import ahead, plan, platform
from .api import log_sum, log_sum_backward, representable_points, warmup
from .platform import INTERPRET, VERSION

__all__ = [
    "INTERPRET",
    "VERSION",
    "ahead",
    "log_sum",
    "log_sum_backward",
    "plan",
    "platform",
    "representable_points",
    "warmup",
]
