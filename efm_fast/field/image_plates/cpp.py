"""Adapter of the C++ extension: sums over images on the CPU, fused and vectorised."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import native
from ...native import address, matrix
from .request import ImageRequest

_DIRECT_DIMENSION = 64  # above it torch's matrix products are faster than direct differences


def why_not(request: ImageRequest) -> str | None:
    """A sentence that says why this backend cannot serve ``request``; None if it can."""
    missing = native.why_missing()
    if missing is not None:
        return missing
    if not hasattr(native.extension(), "image_sum"):
        return "the extension efm_fast._C was built before it had these sums; `pip install .` builds it anew"
    if request.x.device.type != "cpu":
        return f"it computes on the CPU, and the points are on {request.x.device}"
    if request.x.shape[1] > _DIRECT_DIMENSION:
        return f"it serves up to {_DIRECT_DIMENSION} features, and the points have {request.x.shape[1]}"
    return None


def image_sum(request: ImageRequest) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """m, w, u [N] and v [N, D], float64; bitwise the same for any number of threads.

    Raises:
        KeyboardInterrupt: Ctrl-C, checked between blocks.
    """
    n, d = request.x.shape
    m, w, u = (torch.zeros(n, dtype=torch.float64, device="cpu") for _ in range(3))
    v = torch.zeros(n, d, dtype=torch.float64, device="cpu")
    if n == 0 or len(request.y) == 0:
        return m - torch.inf, w, u, v
    x, y = native.plain(request.x), native.plain(request.y)
    weight = None if request.weight is None else native.plain(request.weight)
    heights, signs = native.plain(request.heights), native.plain(request.signs)
    native.extension().image_sum(
        x=matrix(x, name="x"),
        y=matrix(y, name="y"),
        weight=address(weight, x.dtype, (len(y),), name="weight"),
        heights=matrix(heights, name="heights"),
        signs=address(signs, torch.float64, (heights.shape[1],), name="signs"),
        power=request.power,
        out=[address(part, torch.float64) for part in (m, w, u, v)],
        threads=torch.get_num_threads(),
    )
    return m, w, u, v
