"""The field of charges: one mergeable sum in log scale, and the two plates' field made of it."""

from .capacitor import capacitor_field
from .potential import SignedLog, capacitor_potential, energy, potential
from .sums import gaussian_sum, riesz_sum

__all__ = [
    "SignedLog",
    "capacitor_field",
    "capacitor_potential",
    "energy",
    "gaussian_sum",
    "potential",
    "riesz_sum",
]
