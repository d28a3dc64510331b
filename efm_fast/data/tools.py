"""Small measures and conversions of rows of data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError


def rms_distance(a: Tensor, b: Tensor) -> float:
    """Root mean square distance between independent rows of two sets, sqrt(E |x - y|^2).

    The natural length s of a pair of data sets, and the default plate distance L for images.

    Args:
        a: [N, D], any real dtype.
        b: [M, D], any real dtype.

    Returns:
        The length s, data units, over all N M pairs.

    Raises:
        InputError: empty sets, NaN or infinity, or different D.
    """
    first = checks.finite("a", checks.tensor("a", a, ndim=2)).to(torch.float64)
    second = checks.finite("b", checks.tensor("b", b, ndim=2, columns=first.shape[1])).to(torch.float64)
    if len(first) == 0 or len(second) == 0:
        raise InputError(f"a, b: expected at least one row each, got {len(first)} and {len(second)}")
    # E|x-y|^2 = var x + var y + |mean x - mean y|^2, in time N + M
    gap = (first.mean(0) - second.mean(0)).square().sum()
    return math.sqrt((gap + first.var(0, correction=0).sum() + second.var(0, correction=0).sum()).item())


def to_images(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Rows with values in [-1, 1] as pictures with values in [0, 1].

    Args:
        x: [N, D].
        shape: (C, H, W) with C H W = D.

    Returns:
        [N, C, H, W] float32 on the CPU, clipped to [0, 1].

    Raises:
        InputError: a shape that does not fit the rows.
    """
    if len(shape) != 3:
        raise InputError(f"shape: expected (C, H, W), got {tuple(shape)}")
    rows = checks.tensor("x", x, ndim=2, columns=math.prod(shape)).detach()
    return (rows.to("cpu", torch.float32).reshape(-1, *shape) / 2 + 0.5).clamp(0, 1)
