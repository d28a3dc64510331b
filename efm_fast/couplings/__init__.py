"""Pairs of whole data sets: by optimal transport, by field lines, by distance, or at random."""

from .couple import couple
from .record import Coupling

__all__ = ["Coupling", "couple"]
