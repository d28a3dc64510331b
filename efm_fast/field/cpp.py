"""Adapter of the C++ extension: sums on the CPU, fused, vectorised and multi-threaded."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import native
from ..types import RieszSum
from . import reference
from .request import SumRequest

_DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.uint8: "uint8",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.int64: "int64",
}
_EXACT_IN_FLOAT32 = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16)
_NO_SELF = -(2**63)
_NEAREST = 8  # charges of every chunk that are summed again by direct difference
_DIRECT_DIMENSION = 64  # above it a GEMM beats direct differences


def why_not(request: SumRequest) -> str | None:
    """A sentence that says why this backend cannot serve ``request``; None if it can."""
    missing = native.why_missing()
    if missing is not None:
        return missing
    if request.x.device.type != "cpu":
        return f"it computes on the CPU, and the points are on {request.x.device}"
    if request.y.dtype not in _DTYPES:
        return f"it does not read charges of dtype {request.y.dtype}"
    if request.x.shape[1] > _DIRECT_DIMENSION and request.precision != "exact":
        if _wide(request):
            return f"above {_DIRECT_DIMENSION} features it serves float64 at precision='exact' only"
        if not native.extension().amx_available():
            return f"above {_DIRECT_DIMENSION} features it needs a processor with AMX tiles"
    return None


def riesz_sum(request: SumRequest) -> RieszSum:
    """The sum of ``request`` in the dtype of its points: m float64 [N], w [N], v [N, D].

    Bitwise the same for any number of threads (``torch.get_num_threads`` are used).

    Raises:
        BackendUnavailableError: the extension is missing.
        KeyboardInterrupt: Ctrl-C, checked between blocks.
    """
    extension = native.extension()
    n, d = request.x.shape
    out = RieszSum(
        torch.empty(n, dtype=torch.float64),
        torch.empty(n, dtype=request.x.dtype),
        torch.empty(n, d, dtype=request.x.dtype),
    )
    if n == 0 or len(request.y) == 0:
        return RieszSum.empty(n, d, dtype=request.x.dtype, device="cpu")
    x, y = request.x.detach(), request.y.detach()
    weight = None if request.weight is None else request.weight.detach().double().contiguous()
    height2 = None if request.height is None else reference.extra_r2(request).contiguous()
    direct = _direct(request)
    if not direct:
        x = x.contiguous()
    arguments = {
        "x": _matrix(x),
        "y": _matrix(y),
        "weight": _address(weight),
        "height2": _address(height2),
        "softening2": request.softening**2,
        "kernel": getattr(extension.Kernel, request.kernel),
        "power": request.power,
        "bandwidth": request.bandwidth,
        "first_self": _NO_SELF if request.first_self is None else request.first_self,
        "m": out.m.data_ptr(),
        "w": out.w.data_ptr(),
        "v": out.v.data_ptr(),
        "threads": torch.get_num_threads(),
    }
    if direct:
        extension.direct_sum(wide=_wide(request), is_double=x.dtype == torch.float64, **arguments)
    else:
        extension.amx_sum(nearest=1 if request.precision == "fast" else _NEAREST, **arguments)
    return out


def _wide(request: SumRequest) -> bool:
    """Whether differences and weights need double: float32 would round what the caller gave."""
    return (
        request.precision == "exact"
        or request.x.dtype == torch.float64
        or request.y.dtype not in _EXACT_IN_FLOAT32
    )


def _direct(request: SumRequest) -> bool:
    return request.x.shape[1] <= _DIRECT_DIMENSION or _wide(request)


def _matrix(a: Tensor) -> tuple[int, object, int, int, int, int]:
    """Address, element type, rows, columns and strides in elements, as the extension takes a matrix."""
    dtype = getattr(native.extension().Dtype, _DTYPES[a.dtype])
    return (a.data_ptr(), dtype, a.shape[0], a.shape[1], a.stride(0), a.stride(1))


def _address(a: Tensor | None) -> int:
    return 0 if a is None else a.data_ptr()
