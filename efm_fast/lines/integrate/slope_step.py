"""One step of samples along a learned field, between two calls of the network: one pass over the samples."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import native
from ...field.torch_op import watched
from ...types import PlatePosterior
from .steps import slope


def slope_step(
    base: Tensor, direction: Tensor, scale: float, steepest: float, *, fused: bool = True
) -> Tensor:
    """base + scale * f_x / f_z, [N, D], with a slope of at most ``steepest`` (EFM, Algorithm 2).

    Args:
        base: [N, D], data units.
        direction: any positive multiple of the field, [N, D+1].
        scale: step of the height, data units.
        steepest: largest slope, dimensionless.
        fused: whether the extension may take the step; it does if it can and no gradient is needed.
    """
    tensors = {"base": base, "direction": direction}
    if fused and _served(tensors):
        return _run(tensors, scale, steepest, (0.0, 0.0))
    return base + scale * slope(direction.to(base.dtype), steepest)


def means_step(
    base: Tensor,
    at: Tensor,
    z: float,
    posterior: PlatePosterior,
    L: float,
    scale: float,
    steepest: float,
    *,
    fused: bool = True,
) -> Tensor:
    """The same step along the field of plate means at ``at`` [N, D] and height ``z``, from the means themselves."""
    share, plus, minus = posterior.share_plus, posterior.mean_plus, posterior.mean_minus
    tensors = {"base": base, "at": at, "share": share, "plus": plus, "minus": minus}
    if fused and _served(tensors):
        return _run(tensors, scale, steepest, (z, L))
    direction = posterior.moment(at, torch.full_like(at[:, 0], z), L)
    return base + scale * slope(direction.to(base.dtype), steepest)


def _served(tensors: dict[str, Tensor]) -> bool:
    """Whether the extension can read these tensors: float32, not broadcast, without gradient or transform."""
    place = tensors["base"].device
    if (
        any(t.dtype != torch.float32 or t.device != place for t in tensors.values())
        or any(t.shape != shape for t, shape in zip(tensors.values(), _shapes(tensors), strict=True))
        or watched(*tensors.values())
        or native.why_missing() is not None
    ):
        return False
    return place.type == "cpu" or (place.type == "cuda" and hasattr(native.extension(), "cuda_trace_lines"))


def _shapes(tensors: dict[str, Tensor]) -> list[tuple[int, ...]]:
    """The shapes in which the extension reads ``tensors``: [N, D], except for "share" and "direction"."""
    n, d = tensors["base"].shape
    return [{"share": (n,), "direction": (n, d + 1)}.get(name, (n, d)) for name in tensors]


def _run(tensors: dict[str, Tensor], scale: float, steepest: float, heights: tuple[float, float]) -> Tensor:
    """The step by the extension, from ``direction``, or from plate means at ``heights`` z and L."""
    held = {name: native.plain(value) for name, value in tensors.items()}  # alive until the call is made
    base, place = held["base"], held["base"].device
    out = torch.empty_like(base)
    extension = native.extension()
    step = extension.SlopeStep()
    step.out = native.address(out, torch.float32, device=place.type)
    for (name, value), shape in zip(held.items(), _shapes(held), strict=True):
        setattr(step, name, native.address(value, torch.float32, shape, device=place.type, name=name))
    step.count, step.features = base.shape
    step.scale, step.steepest = scale, steepest
    step.z, step.L = heights
    device, stream = (
        (place.index, torch.cuda.current_stream(place).cuda_stream) if place.type == "cuda" else (-1, 0)
    )
    extension.slope_step(step, threads=torch.get_num_threads(), device=device, stream=stream)
    return out
