"""Adapter of the C++ extension: sums over images on the CPU, fused and vectorised."""

from __future__ import annotations

import torch
from torch import Tensor

from .request import ImageRequest


def why_not(request: ImageRequest) -> str | None:
    """A sentence that says why this backend cannot serve ``request``; None if it can."""
    return "not yet"


def image_sum(request: ImageRequest) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    raise NotImplementedError
