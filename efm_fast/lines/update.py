"""One step of samples along a learned field, in one pass over them: what stands between two calls of a network."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import native
from ..types import PlatePosterior
from .steps import slope


def slope_step(base: Tensor, direction: Tensor, scale: float, steepest: float) -> Tensor:
    """base + scale * f_x / f_z, [N, D], with the slope held at ``steepest`` (EFM, Algorithm 2).

    Args:
        base: [N, D], data units.
        direction: any positive multiple of the field, [N, D+1].
        scale: step of the height, data units.
        steepest: largest slope, dimensionless.
    """
    if _served(base, direction):
        return _run(base, scale, steepest, direction=direction)
    return base + scale * slope(direction.to(base.dtype), steepest)


def means_step(
    base: Tensor, at: Tensor, z: float, posterior: PlatePosterior, L: float, scale: float, steepest: float
) -> Tensor:
    """The same for the field of plate means at features ``at`` [N, D] and height ``z``, never written out."""
    share, plus, minus = posterior.share_plus, posterior.mean_plus, posterior.mean_minus
    if _served(base, at, share, plus, minus):
        means = {"at": at, "share": share, "plus": plus, "minus": minus}
        return _run(base, scale, steepest, means=means, heights={"z": z, "L": L})
    direction = posterior.moment(at, torch.full_like(at[:, 0], z), L)
    return base + scale * slope(direction.to(base.dtype), steepest)


def _served(*tensors: Tensor) -> bool:
    """Whether the extension can take them: float32, in one place, and it is built for that place."""
    place = tensors[0].device
    if (
        any(t.dtype != torch.float32 or t.device != place for t in tensors)
        or native.why_missing() is not None
    ):
        return False
    return place.type == "cpu" or (place.type == "cuda" and hasattr(native.extension(), "cuda_trace_lines"))


def _run(
    base: Tensor,
    scale: float,
    steepest: float,
    direction: Tensor | None = None,
    means: dict[str, Tensor] | None = None,
    heights: dict[str, float] | None = None,
) -> Tensor:
    base = base.contiguous()
    out = torch.empty_like(base)
    held = {name: value.contiguous() for name, value in (means or {}).items()}  # alive until the call is made
    direction = None if direction is None else direction.contiguous()
    on_cuda = base.device.type == "cuda"
    native.extension().slope_step(
        out=out.data_ptr(),
        base=base.data_ptr(),
        count=len(base),
        d=base.shape[1],
        scale=scale,
        steepest=steepest,
        direction=0 if direction is None else direction.data_ptr(),
        means={name: value.data_ptr() for name, value in held.items()} | (heights or {}),
        device=base.device.index if on_cuda else -1,
        stream=torch.cuda.current_stream(base.device).cuda_stream if on_cuda else 0,
        threads=torch.get_num_threads(),
    )
    return out
