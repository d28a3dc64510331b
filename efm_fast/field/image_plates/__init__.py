"""Charges that repeat on several plates: one pass over pairs sums all plates."""

from .chain import chain_field, chain_plates, chain_sum, chain_weights
from .sums import ImageSum, image_sum

__all__ = ["ImageSum", "chain_field", "chain_plates", "chain_sum", "chain_weights", "image_sum"]
