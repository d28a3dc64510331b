"""Which backend serves the pairwise sum, in what order ``auto`` tries them, and why one cannot serve.

An explicit choice never falls back in silence. Explicit argument beats EFM_FAST_BACKEND beats ``auto``.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from types import ModuleType

from .. import checks
from ..errors import BackendUnavailableError
from ..types import RieszSum
from .request import SumRequest

ENVIRONMENT_VARIABLE = "EFM_FAST_BACKEND"


@dataclass(frozen=True)
class Backend:
    """One row of the table: its module, imported on first use, offers ``why_not`` and ``riesz_sum``."""

    name: str
    devices: str
    purpose: str
    automatic: bool = True

    def _module(self) -> ModuleType:
        return importlib.import_module(_MODULES[self.name], __package__)

    def why_not(self, request: SumRequest) -> str | None:
        """A sentence that says why this backend cannot serve ``request``; None if it can."""
        try:
            return self._module().why_not(request)
        except ImportError as cause:
            return f"cannot be imported here: {cause}"

    def riesz_sum(self, request: SumRequest) -> RieszSum:
        """Serve ``request``; only valid where ``why_not`` is None."""
        return self._module().riesz_sum(request)


_MODULES = {"triton": ".triton", "cpp": ".cpp", "torch": ".torch_backend", "reference": ".reference"}

TABLE: tuple[Backend, ...] = (
    Backend("triton", "CUDA", "fused kernels, three regimes by D"),
    Backend("cpp", "CPU", "fused, vectorised, multi-threaded"),
    Backend("torch", "any", "GEMM in chunks, nearest charges rescored exactly"),
    Backend("reference", "any", "float64 direct differences, the truth to compare with", automatic=False),
)


def select(request: SumRequest, name: str = "auto") -> Backend:
    """The backend that serves ``request``.

    Raises:
        InputError: no backend has that name.
        BackendUnavailableError: the named backend cannot serve; the text says why.
    """
    if name == "auto":
        name = os.environ.get(ENVIRONMENT_VARIABLE, "auto")
    checks.choice("backend", name, ["auto", *(row.name for row in TABLE)])
    if name == "auto":
        # plain torch serves everything, so the search always ends
        return next(row for row in TABLE if row.automatic and row.why_not(request) is None)
    row = next(row for row in TABLE if row.name == name)
    reason = row.why_not(request)
    if reason is not None:
        raise BackendUnavailableError(f"backend {name!r} cannot serve this sum: {reason}")
    return row
