"""efm_fast: Coulomb fields between two data sets, computed fast and exactly, learned and integrated."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "CapacitorField": ".types",
    "Config": ".config",
    "Coupling": ".couplings",
    "ExactField": ".lines",
    "Field": ".types",
    "Gaussian": ".field",
    "Kernel": ".field",
    "Lines": ".lines",
    "LogSum": ".field",
    "MatchingLoss": ".methods",
    "Plates": ".types",
    "Riesz": ".field",
    "RieszSum": ".field",
    "Run": ".runs",
    "Sharding": ".field",
    "SignedLog": ".field",
    "Support": ".lines",
    "capacitor_field": ".field",
    "capacitor_potential": ".field",
    "couple": ".couplings",
    "diagnose": ".diagnosis",
    "energy": ".field",
    "evaluate": ".evaluation",
    "forward_map": ".lines",
    "from_pretrained": ".hub",
    "full_map": ".lines",
    "gaussian_sum": ".field",
    "kernel_sum": ".field",
    "load": ".runs",
    "method_for": ".runs",
    "potential": ".field",
    "register_kernel": ".field",
    "resume": ".training",
    "riesz_sum": ".field",
    "sample": ".sampling",
    "trace_lines": ".lines",
    "train": ".training",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name's home on first use, so that ``import efm_fast`` stays quick."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
