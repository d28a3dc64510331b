"""Triton kernels for sums over charges. Imports torch and triton only; nothing compiles at import."""

from . import ahead, plan, platform, probe
from .api import log_sum, log_sum_backward, representable_points, warmup
from .kernel import KERNELS
from .platform import INTERPRET, VERSION
from .request import Request, Sums

__all__ = [
    "INTERPRET",
    "KERNELS",
    "VERSION",
    "Request",
    "Sums",
    "ahead",
    "log_sum",
    "log_sum_backward",
    "plan",
    "platform",
    "probe",
    "representable_points",
    "warmup",
]
