"""The field of charges: one mergeable sum in log scale, and the two plates' field made of it."""

from .capacitor import capacitor_field
from .sums import gaussian_sum, riesz_sum

__all__ = ["capacitor_field", "gaussian_sum", "riesz_sum"]
