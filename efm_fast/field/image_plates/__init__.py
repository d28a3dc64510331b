"""Charges that repeat on several plates: one pass over pairs serves the heights of all of them."""

from .chain import chain_field, chain_plates, chain_sum, chain_weights
from .sums import ImageSum, image_sum

__all__ = ["ImageSum", "chain_field", "chain_plates", "chain_sum", "chain_weights", "image_sum"]
