"""Field lines: the forward map, the full stochastic map, and exact lines from charge to charge."""

from .exact import ExactField
from .forward import forward_map
from .full import full_map
from .record import Lines, LineStatus
from .support import Support

__all__ = ["ExactField", "LineStatus", "Lines", "Support", "forward_map", "full_map"]
