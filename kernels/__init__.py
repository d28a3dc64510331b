"""Triton kernels for sums over charges. Imports torch and triton only; nothing compiles at import."""

from . import ahead
from .api import representable_points, riesz_sum, riesz_sum_backward, warmup
from .platform import INTERPRET

__all__ = ["INTERPRET", "ahead", "representable_points", "riesz_sum", "riesz_sum_backward", "warmup"]
