"""Field lines: the forward map, the full stochastic map, and exact lines from charge to charge."""

from .exact import ExactField
from .forward import forward_map
from .full import full_map
from .graph import GraphedForwardMap
from .record import Lines, LineStatus
from .support import Support
from .trace import launch, trace_lines

__all__ = [
    "ExactField",
    "GraphedForwardMap",
    "LineStatus",
    "Lines",
    "Support",
    "forward_map",
    "full_map",
    "launch",
    "trace_lines",
]
