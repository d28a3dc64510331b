"""What each precision promises, as the fuzzers hold it: the one place to tighten when a promise gets better.

Errors of sums are relative to the sum of the absolute terms, errors of directions are lengths of differences of unit
vectors, errors of logs are absolute. None means that nothing is promised (see docs/measurements/precision.md).
"""

from __future__ import annotations

#: Sums: what charges weigh among each other, and the log scale of all of them.
SUM = {"default": 1e-4, "exact": 1e-6, "float64": 1e-9}
LOG = {"default": 1e-3, "exact": 1e-5, "float64": 1e-9}

#: Squared distances, relative: what logs and sums may be off by besides, times the steepness of the kernel there.
SQUARE = {"default": 5e-7, "exact": 1e-12, "float64": 1e-13}

#: Gradients, relative to the sum of the absolute terms.
GRADIENT = {"fast": None, "default": 1e-3, "exact": 1e-5, "float64": 1e-8}

#: Direction of the capacitor's field, by the kind of point.
FIELD = {
    "anywhere": {"fast": None, "default": 1e-4, "exact": 1e-6, "float64": 1e-9},
    # flux points at heights to L and to 10 L: E+ and E- nearly cancel
    "flux": {"fast": None, "default": 1e-4, "exact": 1e-6, "float64": 1e-8},
    "far": {"fast": None, "default": 1e-3, "exact": 1e-6, "float64": 1e-6},
}

#: Potentials and energies, relative to the sum of the absolute terms.
POTENTIAL = {"fast": None, "default": 1e-3, "exact": 1e-5, "float64": 1e-9}
