"""Adapter of the C++ extension: sums on the CPU, fused, vectorised and multi-threaded."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import native
from ...native import address, matrix
from ..logsum import CentredSum, LogSum
from ..request import SumRequest, centre_of
from . import cpp_large
from .cpp_request import Pairs, kernels
from .gradient import Needs

_EXACT_IN_FLOAT32 = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16)
_NEAREST = 8  # charges of every chunk that are summed by direct difference
_FUSED_DIMENSION = 64  # above it matrix products are faster, or lose fewer digits
WHOLE_DIMENSION = 6  # up to it differences in registers are fastest, and also exact far from the charges


def why_not(request: SumRequest) -> str | None:
    """A sentence that says why this backend cannot serve ``request``; None if it can."""
    missing = native.why_missing()
    if missing is not None:
        return missing
    if request.x.device.type != "cpu":
        return f"it computes on the CPU, and the points are on {request.x.device}"
    if request.kernel.name not in kernels():
        return f"it knows the kernels {', '.join(kernels())}, not {request.kernel.name}"
    if request.y.dtype not in native.DTYPES:
        return f"it does not read charges of dtype {request.y.dtype}"
    if request.x.shape[1] > _FUSED_DIMENSION and request.precision != "exact" and _wide(request):
        return f"above {_FUSED_DIMENSION} features it serves float64 at precision='exact' only"
    return None


def centred_sum(request: SumRequest) -> CentredSum:
    """The sum of ``request``: m and w float64 [N], rest [N, D] in the dtype of x, float64 if exact.

    Bitwise the same for any number of threads (``torch.get_num_threads`` are used).

    Raises:
        BackendUnavailableError: the extension is missing.
        KeyboardInterrupt: Ctrl-C, checked between blocks.
    """
    extension = native.extension()
    n, d = request.x.shape
    if n == 0 or len(request.y) == 0:
        return CentredSum.of(LogSum.empty(n, d, dtype=request.x.dtype, device="cpu"))
    fused, wide = is_fused(request), _wide(request)
    dtype = torch.float64 if request.precision == "exact" else request.x.dtype
    centred = not wide and d > WHOLE_DIMENSION
    centre = _centre(request) if centred else None
    m, w, along = (torch.empty(n, dtype=torch.float64, device="cpu") for _ in range(3))
    rest = torch.empty(n, d, dtype=dtype, device="cpu")
    out = CentredSum(m, w, along if centred else None, rest, centre)
    pairs = Pairs(request, wide=wide, centre=centre, contiguous_points=not fused)
    result = extension.Result(
        m=address(m, torch.float64, (n,)),
        w=address(w, torch.float64, (n,)),
        along=address(along, torch.float64, (n,)),
        rest=address(rest, dtype, (n, d)),
        is_double=dtype == torch.float64,
    )
    threads = torch.get_num_threads()
    nearest = 1 if request.precision == "fast" else _NEAREST
    if centred and n <= _few_points(d, fused):
        extension.few_sum(pairs.native, result, threads=threads)
    elif fused:
        extension.direct_sum(pairs.native, result, threads=threads)
    elif extension.bfloat16_available():
        extension.bfloat16_sum(pairs.native, result, nearest=nearest, threads=threads)
    else:
        cpp_large.centred_sum(pairs, out, result, nearest)
    return out


def _centre(request: SumRequest) -> Tensor:
    """The centre of the request, or a mean of its charges if it has none; float32 [D]."""
    if request.centre is not None:
        return request.centre.detach().float().contiguous()
    return centre_of(request.y)


def log_sum_backward(
    request: SumRequest, m: Tensor, g_w: Tensor, g_v: Tensor, needs: Needs
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Gradients with respect to x [N, D], y [M, D], weight [M] and height [N]; zeros [0] for those not needed.

    Computed in one pass, bitwise the same for any number of threads, up to the number of features that is summed by
    direct differences; None above it, where the formula in torch multiplies matrices.

    Args:
        request: the sum.
        m: its log scale, float64 [N].
        g_w: upstream gradient of w, [N].
        g_v: upstream gradient of v, [N, D].
        needs: which gradients are needed.

    Raises:
        BackendUnavailableError: the extension is missing.
        KeyboardInterrupt: Ctrl-C, checked between blocks.
    """
    if not is_fused(request) or len(request.x) == 0 or len(request.y) == 0:
        return None
    extension = native.extension()
    dtype = torch.float64 if request.precision == "exact" else g_v.dtype
    pairs = Pairs(request, wide=_wide(request))
    m, g_w = (native.plain(part, torch.float64) for part in (m, g_w))
    g_v = native.plain(g_v, dtype)

    def zeros(needed: bool, *shape: int) -> Tensor:
        return torch.zeros(shape if needed else (0,), dtype=dtype, device="cpu")

    n, d = request.x.shape
    g_x, g_y = zeros(needs.x, n, d), zeros(needs.y, len(request.y), d)
    g_weight = zeros(needs.weight, len(request.y))
    g_height = zeros(needs.height and request.height is not None, n)
    gradients = extension.Gradients(
        m=address(m, torch.float64, (n,), name="m"),
        g_w=address(g_w, torch.float64, (n,), name="g_w"),
        g_v=matrix(g_v, name="g_v"),
        is_double=dtype == torch.float64,
    )
    wanted = {"x": g_x, "y": g_y, "weight": g_weight, "height2": g_height}
    for name, buffer in wanted.items():
        setattr(gradients, name, address(buffer, dtype) if len(buffer) else 0)
    extension.direct_backward(pairs.native, gradients, threads=torch.get_num_threads())
    if request.height is not None and len(g_height):
        g_height = g_height * request.height.to(dtype)
    return g_x, g_y, g_weight, g_height


def _wide(request: SumRequest) -> bool:
    """Whether differences and weights must be computed in double, because float32 would round the points or charges."""
    return (
        request.precision == "exact"
        or request.x.dtype == torch.float64
        or request.y.dtype not in _EXACT_IN_FLOAT32
    )


def is_fused(request: SumRequest) -> bool:
    """Whether the extension computes the whole sum in one pass, without torch's matrix products."""
    return request.x.shape[1] <= _FUSED_DIMENSION or _wide(request)


def _few_points(d: int, fused: bool) -> int:
    """The largest number of points for which charges are read in place: packing them would cost more than the sums."""
    return max(1, min(d // 32, 4 if fused else 8))
