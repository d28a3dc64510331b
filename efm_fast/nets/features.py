"""Bounded inputs of networks. Lines go as far as 10^6 data units, and a network must be finite and smooth there."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..types import Geometry


class BoundedFeatures(nn.Module):
    """x -> bounded features, [N, D], and the log of the size of x, [N, 1].

    The bounded features are x / (1 + r / 6) for standardised x with the root mean square r. The data themselves hardly
    change, and a far point keeps its direction.
    """

    centre: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(geometry.centre))
        self.scale = geometry.scale

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Bounded features [N, D] and log1p of their root mean square [N, 1]."""
        standard = (x - self.centre) / self.scale
        size = standard.square().mean(1, keepdim=True).sqrt()
        return standard / (1.0 + size / 6.0), torch.log1p(size)


class HeightFeatures(nn.Module):
    """z -> bounded features of the distances from both plates on a log scale, between the plates and outside.

    Attributes:
        size: number of features, for the next layer.
    """

    size = 2 + 2 * (1 + 2 * 4)

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.L, self.nearest = geometry.L, geometry.nearest
        self.range = math.log(geometry.L / geometry.nearest)

    def forward(self, z: Tensor) -> Tensor:
        """Features [N, size] of heights z [N]."""
        heights = torch.stack([z, z - self.L], 1)
        # 0 very near the plate, 1 at the distance L from it, at most 2 far behind it
        level = (
            (torch.log((heights.abs() + self.nearest) / self.nearest) / self.range).clamp(0.0, 2.0).float()
        )
        waves = [f(math.pi * k * level) for k in (0.5, 1.0, 2.0, 4.0) for f in (torch.sin, torch.cos)]
        return torch.cat([heights.sign().float(), level, *waves], 1)
