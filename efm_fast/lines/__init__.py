"""Field lines: the forward map, the full stochastic map, and exact lines from charge to charge."""

from .exact import ExactField
from .forward import forward_map
from .full import full_map
from .geometry.support import Support
from .graph import GraphedForwardMap
from .record import Lines, LineStatus
from .reverse import Reversed, follow_from, mirrored, reversed_field
from .trace import launch, trace_lines

__all__ = [
    "ExactField",
    "GraphedForwardMap",
    "LineStatus",
    "Lines",
    "Reversed",
    "Support",
    "follow_from",
    "forward_map",
    "full_map",
    "launch",
    "mirrored",
    "reversed_field",
    "trace_lines",
]
