"""Networks and what their output means: backbones, parametrisations, and the learned field made of both."""

from __future__ import annotations

from torch import nn

from ..config import Config
from .features import Geometry
from .learned import LearnedField
from .parametrisation import DirectField, Parametrisation, PlateMeans

__all__ = ["DirectField", "Geometry", "LearnedField", "Parametrisation", "PlateMeans", "build_field"]


def build_field(config: Config, geometry: Geometry) -> LearnedField:
    """The untrained field that ``config`` describes.

    Raises:
        InputError: the backbone cannot serve the data's shape, or needs a library that is not installed.
    """
    parametrisation: Parametrisation = (
        PlateMeans(geometry)
        if config.net.parametrisation == "plate_means"
        else DirectField(geometry, config.target.normalization)
    )
    return LearnedField(_backbone(config, geometry, parametrisation.groups), parametrisation, geometry)


def _backbone(config: Config, geometry: Geometry, groups: int) -> nn.Module:
    net = config.net
    if net.backbone == "mlp":
        from .mlp import MLP

        return MLP(geometry, groups, width=net.width, depth=net.depth)
    from .unet import UNet

    return UNet(geometry, groups, width=net.width, depth=net.depth, levels=net.levels)
