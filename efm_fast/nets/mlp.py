"""The backbone for vectors: a plain MLP with bounded inputs."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from ..extras import extra
from ..sections import PositiveInt, Section
from ..types import Geometry
from .features import BoundedFeatures, HeightFeatures

with extra("train"):
    from pydantic import Field

_WAVES = (1.0, 2.0, 4.0)  # radians per standard deviation
_FEW = 16


class MLPSettings(Section):
    """A plain network for vectors."""

    backbone: Literal["mlp"] = "mlp"
    width: PositiveInt = Field(default=256, description="units per layer")
    depth: PositiveInt = Field(default=3, description="hidden layers")


class MLP(nn.Module):
    """(x [N, D], z [N]) -> features [N, groups, D] and a scalar [N].

    If there are up to 16 features, their sines and cosines are inputs too, because a plain MLP learns slowly the fine
    structure that a field of few features has near a plate.

    Args:
        geometry: lengths by which inputs are scaled.
        groups: number of vectors of D features to return, as the parametrisation needs.
        width: units per hidden layer.
        depth: number of hidden layers.
    """

    def __init__(self, geometry: Geometry, groups: int, *, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        dimension = len(geometry.centre)
        self.groups = groups
        self.features = BoundedFeatures(geometry)
        self.heights = HeightFeatures(geometry)
        self.waves = _WAVES if dimension <= _FEW else ()
        sizes = [dimension * (1 + 2 * len(self.waves)) + 1 + HeightFeatures.size, *[width] * depth]
        hidden = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.SiLU())]
        self.hidden = nn.Sequential(*hidden)
        self.out = nn.Linear(width, groups * dimension + 1)

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Raw features [N, groups, D] and scalar [N]."""
        bounded, size = self.features(x)
        waves = [f(k * bounded) for k in self.waves for f in (torch.sin, torch.cos)]
        raw = self.out(self.hidden(torch.cat([bounded, *waves, size, self.heights(z)], 1)))
        return raw[:, :-1].unflatten(1, (self.groups, -1)), raw[:, -1]
