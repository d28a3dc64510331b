"""Any UNet2DModel or DiT of diffusers as a backbone for images, with bounded inputs and heights."""

from __future__ import annotations

import inspect
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import checks
from ..errors import InputError
from ..extras import extra
from ..types import Geometry
from .features import BoundedFeatures
from .image_section import ImageSection

with extra("train"):
    from pydantic import Field

_OURS = ("in_channels", "out_channels", "sample_size")
_TIMES = 1000.0  # the range for which the models' embeddings of time are made


class DiffusersSettings(ImageSection):
    """A model of diffusers, for images."""

    backbone: Literal["diffusers"]
    model: Literal["UNet2DModel", "DiTTransformer2DModel"] = Field(
        default="UNet2DModel", description="class of diffusers"
    )
    options: dict[str, Any] = Field(
        default={}, description="its settings, but for channels and size, which the data give"
    )


class DiffusersNet(nn.Module):
    """(x [N, D], z [N]) -> features [N, groups, D] and a scalar [N], for images of shape (C, H, W).

    The model receives the bounded image and the image's size as one more channel. The height is the model's time: 0 at
    the plus plate, 500 midway, 1000 at the minus plate, in proportion to the logarithm of the distance from either
    plate. The scalar is the mean of one extra output channel.

    Args:
        geometry: lengths by which inputs are scaled, and the shape of the image.
        groups: number of images to return, as the parametrisation needs.
        model: class of diffusers.
        options: settings of that class.

    Raises:
        InputError: the data are no images, or a setting does not fit the class.
        MissingPackageError: diffusers is not installed.
    """

    def __init__(self, geometry: Geometry, groups: int, *, model: str, options: dict[str, Any]) -> None:
        super().__init__()
        with extra("images"):
            import diffusers
            from diffusers.models.embeddings import LabelEmbedding
        if len(geometry.shape) != 3:
            raise InputError(
                f"net.backbone: diffusers expects images (C, H, W), got data of shape {geometry.shape}"
            )
        made = getattr(diffusers, model)
        channels, height, width = geometry.shape
        self.is_transformer = model == "DiTTransformer2DModel"
        if self.is_transformer and height != width:
            raise InputError(f"net.model: {model} expects square images, got {height} x {width}")
        known = [name for name in inspect.signature(made.__init__).parameters if name not in ("self", *_OURS)]
        for key in options:
            checks.choice(f"net.options, setting of {model}", key, known)
        size = height if self.is_transformer else (height, width)
        if self.is_transformer:
            options = {"num_embeds_ada_norm": 1, **options}
        self.groups, self.shape = groups, geometry.shape
        self.features = BoundedFeatures(geometry)
        self.L, self.nearest = geometry.L, geometry.nearest
        try:
            self.model = made(
                in_channels=channels + 1, out_channels=groups * channels + 1, sample_size=size, **options
            )
        except (ValueError, TypeError, NotImplementedError) as problem:
            raise InputError(f"net.options: {model} refuses them: {' '.join(str(problem).split())}") from None
        for part in self.model.modules():
            if isinstance(part, LabelEmbedding):
                part.dropout_prob = (
                    0.0  # there is one class, and dropping it would read the global random state
                )

    def time(self, z: Tensor) -> Tensor:
        """The model's time at heights z [N], rising, float32 [N]."""
        heights = torch.stack([z, z - self.L], 1)
        level = torch.log1p(heights.abs() / self.nearest) / math.log1p(self.L / self.nearest)
        return (0.5 * _TIMES * (1.0 + (level.clamp_max(2.0) * heights.sign()).sum(1))).float()

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Raw features [N, groups, D] and scalar [N]."""
        bounded, size = self.features(x)
        image = bounded.unflatten(1, self.shape)
        image = torch.cat([image, size[:, :, None, None].expand(-1, 1, *self.shape[1:])], 1)
        time = self.time(z)
        labels = (
            {"class_labels": torch.zeros(len(x), dtype=torch.int64, device=x.device)}
            if self.is_transformer
            else {}
        )
        raw = self.model(image, time, **labels).sample
        return raw[:, :-1].reshape(len(x), self.groups, math.prod(self.shape)), raw[:, -1].mean((1, 2))
