"""The table of backends: which ones serve a sum over charges, in which order ``auto`` tries them, why one cannot serve.

A backend that was named serves the sum or raises an error; it is never replaced silently. The argument ``backend``
comes before the variable EFM_FAST_BACKEND, and that before ``auto``.
"""

from __future__ import annotations

import functools
import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from ... import checks
from ...errors import BackendUnavailableError
from ..kernel import Riesz
from ..logsum import CentredSum
from ..request import SumRequest
from . import gradient
from .matmul import is_plain, plain_matmul

ENVIRONMENT_VARIABLE = "EFM_FAST_BACKEND"


@dataclass(frozen=True)
class Backend:
    """One row of the table. Its module, imported on first use, has ``why_not`` and ``centred_sum`` or ``log_sum``.

    A module may also have ``log_sum_backward``, with the arguments and results of
    :func:`efm_fast.field.backends.gradient.log_sum_backward`. It returns None for a sum that it leaves to that
    function.

    Attributes:
        name: the value of the ``backend`` argument.
        module: its module, relative to this package.
        devices: text for users.
        purpose: text for users.
        device_type: the only device type that it serves, so that sums on other devices need not import it; None for
            any.
        automatic: whether ``auto`` may choose it.
    """

    name: str
    module: str
    devices: str
    purpose: str
    device_type: str | None = None
    automatic: bool = True

    def why_not(self, request: SumRequest) -> str | None:
        """A sentence that says why this backend cannot serve ``request``; None if it can."""
        if self.device_type not in (None, request.x.device.type):
            return f"it serves {self.devices} tensors, and the points are on {request.x.device}"
        module = _imported(self.module)
        return f"it cannot be imported here: {module}" if isinstance(module, str) else module.why_not(request)

    def centred_sum(self, request: SumRequest) -> CentredSum:
        """Compute the sum of ``request``, with matrix products in plain float32; only valid if ``why_not`` is None."""
        module = importlib.import_module(self.module, __name__)
        device_type = request.x.device.type
        if is_plain(device_type) and _is_home(device_type):
            return _centred_sum(module, request)
        with plain_matmul(device_type), _home(request.x.device):
            return _centred_sum(module, request)

    def log_sum_backward(
        self, request: SumRequest, m: Tensor, g_w: Tensor, g_v: Tensor, needs: gradient.Needs
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of a sum that this backend computed, by its own kernels or by the formula in plain torch."""
        module = importlib.import_module(self.module, __name__)
        own = getattr(module, "log_sum_backward", None)
        with plain_matmul(request.x.device.type), _home(request.x.device):
            found = None if own is None else own(request, m, g_w, g_v, needs)
            return gradient.log_sum_backward(request, m, g_w, g_v, needs) if found is None else found


def _centred_sum(module: ModuleType, request: SumRequest) -> CentredSum:
    own = getattr(module, "centred_sum", None)
    return CentredSum.of(module.log_sum(request)) if own is None else own(request)


def _is_home(device_type: str) -> bool:
    """Whether the caller has set no default device, or one of the type of the points."""
    try:
        return torch.get_default_device().type in ("cpu", device_type)
    except AttributeError:  # torch 2.9, after set_default_device(None)
        return True


def _home(device: torch.device) -> AbstractContextManager[object]:
    """A context in which tensors are made on the device of the points, whatever default device the caller has set."""
    return nullcontext() if _is_home(device.type) else device


@functools.cache
def _imported(module: str) -> ModuleType | str:
    """The module, or the reason why it cannot be imported. Cached, because a failing import takes longer than a sum."""
    try:
        return importlib.import_module(module, __name__)
    except ImportError as cause:
        return str(cause)


TABLE: tuple[Backend, ...] = (
    Backend("triton", ".triton", "CUDA", "fused kernels, three regimes by D", device_type="cuda"),
    Backend("cpp", ".cpp", "CPU", "fused, vectorised, multi-threaded", device_type="cpu"),
    Backend("torch", ".plain_torch", "any", "GEMM in chunks, nearest charges rescored exactly"),
    Backend(
        "reference",
        ".reference",
        "any",
        "float64 direct differences, the truth to compare with",
        automatic=False,
    ),
)


def requested_name(name: str) -> str:
    """``name``, or the backend that the environment variable names if the argument is "auto".

    Raises:
        InputError: no backend has that name.
    """
    if name == "auto":
        name = os.environ.get(ENVIRONMENT_VARIABLE, "auto")
    return checks.choice("backend", name, ["auto", *(row.name for row in TABLE)])


def select(request: SumRequest, name: str = "auto") -> Backend:
    """The backend that serves ``request``.

    Raises:
        InputError: no backend has that name.
        BackendUnavailableError: the named backend cannot serve; the text says why.
    """
    name = requested_name(name)
    if name == "auto":
        # plain torch serves everything, so the search always ends
        return next(row for row in TABLE if row.automatic and row.why_not(request) is None)
    row = next(row for row in TABLE if row.name == name)
    reason = row.why_not(request)
    if reason is not None:
        raise BackendUnavailableError(f"backend {name!r} cannot serve this sum: {reason}")
    return row


class BackendStatus(NamedTuple):
    """One line of :func:`describe`; ``reason`` is None if the backend can serve."""

    name: str
    devices: str
    purpose: str
    reason: str | None


def describe(device: torch.device | str = "cpu", *, features: int = 2) -> list[BackendStatus]:
    """Which backends can serve a float32 sum on ``device`` in ``features`` dimensions here, and why others cannot.

    Rows come in the order in which ``auto`` tries them.
    """
    name = torch.device(device)
    if name.type == "cuda" and not torch.cuda.is_available():
        why = "this torch sees no CUDA device"
        return [BackendStatus(row.name, row.devices, row.purpose, why) for row in TABLE]
    x = torch.zeros(1, features, device=name)
    request = SumRequest(x, x, Riesz(features + 1.0))
    return [BackendStatus(row.name, row.devices, row.purpose, row.why_not(request)) for row in TABLE]
