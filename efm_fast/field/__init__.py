"""The field of charges: a sum over charges in log scale that can be merged, and the field of two plates."""

from .capacitor import capacitor_field
from .distributed import Sharding
from .image_plates import ImageSum, chain_field, image_sum
from .kernel import Gaussian, Kernel, Riesz, register_kernel
from .logsum import LogSum, RieszSum
from .potential import SignedLog, capacitor_potential, energy, potential
from .sums import gaussian_sum, kernel_sum, riesz_sum

__all__ = [
    "Gaussian",
    "ImageSum",
    "Kernel",
    "LogSum",
    "Riesz",
    "RieszSum",
    "Sharding",
    "SignedLog",
    "capacitor_field",
    "capacitor_potential",
    "chain_field",
    "energy",
    "gaussian_sum",
    "image_sum",
    "kernel_sum",
    "potential",
    "register_kernel",
    "riesz_sum",
]
