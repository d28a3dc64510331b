"""A learned field: backbone and parametrisation together, which any map can follow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..types import Geometry, PlatePosterior
from .parametrisation import Parametrisation


def _without_history(method: Callable[..., Any]) -> Callable[..., Any]:
    """No history for autograd, which sampling does not need, unless the points themselves ask for gradients."""

    @functools.wraps(method)
    def run(self: LearnedField, x: Tensor, z: Tensor, *rest: Any) -> Any:
        with torch.set_grad_enabled(torch.is_grad_enabled() and (x.requires_grad or z.requires_grad)):
            return method(self, x, z, *rest)

    return run


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
        # known beforehand, so that a field without means is not evaluated to find that out
        self.has_posterior = type(parametrisation).posterior is not Parametrisation.posterior

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Raw features [N, groups, D] and scalar [N]."""
        return self.backbone(self.parametrisation.inputs(x, z), z)

    @_without_history
    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        """Field direction [N, D+1], up to a positive factor, at x [N, D] and heights z [N]."""
        features, scalar = self(x, z)
        return self.parametrisation.direction(features.float(), scalar.float(), x, z)

    @_without_history
    def posterior(self, x: Tensor, z: Tensor) -> PlatePosterior | None:
        """Share and means of both plates at x [N, D] and heights z [N]; None if the parametrisation has none."""
        if not self.has_posterior:
            return None
        features, scalar = self(x, z)
        return self.parametrisation.posterior(features.float(), scalar.float(), x, z)

    @_without_history
    def arrival(self, x: Tensor, z: Tensor, plate: str) -> Tensor | None:
        """Where a line about to meet ``plate`` lands, [N, D]; None if the parametrisation cannot tell."""
        features, scalar = self(x, z)
        return self.parametrisation.arrival(features.float(), scalar.float(), x, z, plate)
