"""Sums over charges that are spread over processes. Each process has some charges and gets the sum over all."""

from .plan import Plan
from .sharding import Sharding

__all__ = ["Plan", "Sharding"]
