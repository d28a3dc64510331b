"""Networks, the backbones of learned fields: (x [N, D], z [N]) -> features [N, groups, D] and a scalar [N].

Your own network is a class ``MyNet(geometry, groups, *, ...)`` derived from :class:`torch.nn.Module`. It is selected by
``net: {backbone: my_module:MyNet, ...}``, and its keyword arguments are settings. A network of the package has a file
here and a row in :data:`BACKBONES`.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_type_hints

from torch import nn

from ..errors import InputError
from ..extras import extra
from ..plugins import own_class
from ..sections import Choice, Section
from ..types import Geometry
from .diffusers_net import DiffusersNet, DiffusersSettings
from .image_section import ImageSection
from .mlp import MLP, MLPSettings
from .unet import UNet, UNetSettings

with extra("train"):
    from pydantic import BeforeValidator, Field, SerializeAsAny, create_model

__all__ = ["BACKBONES", "MLP", "Geometry", "ImageSection", "Net", "UNet", "build_backbone"]

BACKBONES: dict[str, tuple[type[nn.Module], type[Section]]] = {
    "mlp": (MLP, MLPSettings),
    "unet": (UNet, UNetSettings),
    "diffusers": (DiffusersNet, DiffusersSettings),
}


def build_backbone(settings: Section, geometry: Geometry, groups: int) -> nn.Module:
    """The untrained network that ``settings`` describe.

    Args:
        settings: the section ``net`` of a config.
        geometry: lengths by which inputs are scaled, and the shape of the data.
        groups: number of vectors of D features to return, besides one scalar.

    Raises:
        InputError: the network cannot serve the data's shape, or needs a library that is not installed.
    """
    options = settings.model_dump()
    if isinstance(settings, ImageSection):
        options = settings.without_latent(options)
    name = options.pop("backbone")
    # the class that valid settings name is already imported
    made = BACKBONES[name][0] if name in BACKBONES else own_class(name, nn.Module, may_import=False)
    return made(geometry, groups, **options)


def _own_settings(name: str, may_import: bool) -> type[Section]:
    """The section of a user's network, made from the keyword arguments of its class."""
    made = own_class(name, nn.Module, may_import=may_import)
    parameters = [p for p in inspect.signature(made).parameters.values() if p.kind is not p.VAR_KEYWORD]
    if [p.name for p in parameters[:2]] != ["geometry", "groups"]:
        raise InputError(f"{name}: expected a class with arguments (geometry, groups, *, ...)")
    kinds = get_type_hints(made.__init__)
    fields: dict[str, Any] = {
        p.name: (kinds.get(p.name, Any), ... if p.default is p.empty else p.default) for p in parameters[2:]
    }
    return create_model(name, __base__=Section, backbone=(str, name), **fields)


Net = Annotated[
    SerializeAsAny[Section],
    BeforeValidator(
        Choice("backbone", "mlp", {name: row[1] for name, row in BACKBONES.items()}, _own_settings)
    ),
    Field(description="the network: mlp for vectors, unet and diffusers for images, or my_module:MyNet"),
]
