"""Adapter of the C++ extension: sums on the CPU, fused, vectorised and multi-threaded."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import native
from ..types import RieszSum
from . import reference
from .gradient import Needs
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
    direct = _direct(request)
    pairs = _Pairs(request, contiguous_points=not direct)
    results = {"m": out.m.data_ptr(), "w": out.w.data_ptr(), "v": out.v.data_ptr()}
    if direct:
        is_double = request.x.dtype == torch.float64
        extension.direct_sum(**pairs.arguments, **results, wide=_wide(request), is_double=is_double)
    else:
        nearest = 1 if request.precision == "fast" else _NEAREST
        extension.amx_sum(**pairs.arguments, **results, nearest=nearest)
    return out


def riesz_sum_backward(
    request: SumRequest, m: Tensor, g_w: Tensor, g_v: Tensor, needs: Needs
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Gradients with respect to x [N, D], y [M, D], weight [M] and height [N]; zeros [0] where not asked for.

    Fused and bitwise the same for any number of threads in the direct regime; None above it, where the formula
    in torch multiplies matrices.

    Args:
        request: the sum.
        m: its log scale, float64 [N].
        g_w: gradient that reaches w, [N].
        g_v: gradient that reaches v, [N, D].
        needs: what is asked for.

    Raises:
        BackendUnavailableError: the extension is missing.
        KeyboardInterrupt: Ctrl-C, checked between blocks.
    """
    if not _direct(request) or len(request.x) == 0 or len(request.y) == 0:
        return None
    extension = native.extension()
    dtype = torch.float64 if request.precision == "exact" else g_v.dtype
    pairs = _Pairs(request)
    m, g_w, g_v = m.double().contiguous(), g_w.double().contiguous(), g_v.to(dtype).contiguous()

    def zeros(needed: bool, *shape: int) -> Tensor:
        return torch.zeros(shape if needed else (0,), dtype=dtype)

    n, d = request.x.shape
    g_x, g_y = zeros(needs.x, n, d), zeros(needs.y, len(request.y), d)
    g_weight = zeros(needs.weight, len(request.y))
    g_height = zeros(needs.height and request.height is not None, n)
    wanted = {"g_x": g_x, "g_y": g_y, "g_weight": g_weight, "g_height2": g_height}
    extension.direct_backward(
        **pairs.arguments,
        **{name: out.data_ptr() if len(out) else 0 for name, out in wanted.items()},
        m=m.data_ptr(),
        g_w=g_w.data_ptr(),
        g_v=_matrix(g_v),
        wide=_wide(request),
        is_double=dtype == torch.float64,
    )
    if request.height is not None and len(g_height):
        g_height = g_height * request.height.to(dtype)
    return g_x, g_y, g_weight, g_height


class _Pairs:
    """The arguments that every sum over pairs takes; keeps what they point to alive."""

    def __init__(self, request: SumRequest, contiguous_points: bool = False) -> None:
        x, y = request.x.detach(), request.y.detach()
        x = x.contiguous() if contiguous_points else x
        weight = None if request.weight is None else request.weight.detach().double().contiguous()
        height2 = None if request.height is None else reference.extra_r2(request).detach().contiguous()
        self._alive = (x, y, weight, height2)
        self.arguments = {
            "x": _matrix(x),
            "y": _matrix(y),
            "weight": _address(weight),
            "height2": _address(height2),
            "softening2": request.softening**2,
            "kernel": getattr(native.extension().Kernel, request.kernel),
            "power": request.power,
            "bandwidth": request.bandwidth,
            "first_self": _NO_SELF if request.first_self is None else request.first_self,
            "threads": torch.get_num_threads(),
        }


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
