"""A learned field: backbone and parametrisation together, which any map can follow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..types import PlatePosterior
from .features import Geometry
from .parametrisation import Parametrisation, PlateMeans


class LearnedField(nn.Module):
    """The field a network has learned; satisfies :class:`efm_fast.types.Field`.

    Args:
        backbone: maps (x [N, D], z [N]) to raw features [N, groups, D] and a scalar [N].
        parametrisation: says what the raw output means.
        geometry: the lengths it was built for.
    """

    def __init__(self, backbone: nn.Module, parametrisation: Parametrisation, geometry: Geometry) -> None:
        super().__init__()
        self.backbone = backbone
        self.parametrisation = parametrisation
        self.geometry = geometry
        self.L = geometry.L

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Raw features [N, groups, D] and scalar [N]."""
        return self.backbone(x, z)

    @torch.no_grad()
    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        """Field direction [N, D+1], up to a positive factor, at x [N, D] and heights z [N]."""
        features, scalar = self(x, z)
        return self.parametrisation.direction(features.float(), scalar.float(), x, z)

    @torch.no_grad()
    def posterior(self, x: Tensor, z: Tensor) -> PlatePosterior | None:
        """Share and means of both plates at x [N, D] and heights z [N]; None for a direct field."""
        if not isinstance(self.parametrisation, PlateMeans):
            return None
        features, scalar = self(x, z)
        return self.parametrisation.posterior(features.float(), scalar.float(), x, z)

    @torch.no_grad()
    def arrival(self, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        """Where a line about to meet ``plate`` lands, [N, D]; None for a direct field."""
        features, scalar = self(x, z)
        return self.parametrisation.arrival(features.float(), scalar.float(), x, z, plate)
