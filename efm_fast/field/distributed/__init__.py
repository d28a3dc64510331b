"""Sums over charges that lie on many processes: each has some, and every one gets the sum over all of them."""

from .plan import Plan
from .sharding import Sharding

__all__ = ["Plan", "Sharding"]
