"""Triton kernels for sums over charges. Imports torch and triton only; nothing compiles at import."""

from . import ahead
from .api import riesz_sum
from .platform import INTERPRET

__all__ = ["INTERPRET", "ahead", "riesz_sum"]
