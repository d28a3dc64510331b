"""The backbone for images: diffusers' UNet2DModel, with bounded inputs and heights."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..extras import extra
from ..sections import PositiveInt
from ..types import Geometry
from .features import BoundedFeatures, HeightFeatures
from .image_section import ImageSection

with extra("train"):
    from pydantic import Field

_GROUP_NORM = 8


class UNetSettings(ImageSection):
    """A convolutional network for images."""

    backbone: Literal["unet"]
    width: PositiveInt = Field(default=256, description="channels of the first level, a multiple of 8")
    depth: PositiveInt = Field(default=3, description="residual blocks per level")
    levels: tuple[PositiveInt, ...] = Field(
        default=(1, 2, 2), strict=False, description="channel factors, one per level"
    )
    patch: PositiveInt = Field(
        default=1,
        description="side of the squares of pixels that are first folded into channels; 2 needs a quarter of the work",
    )


class UNet(nn.Module):
    """(x [N, D], z [N]) -> features [N, groups, D] and a scalar [N], for images of shape (C, H, W).

    The class-embedding input of UNet2DModel receives bounded features of the height, because its time embedding is made
    for 0 ... 1000 and z may be far outside of the plates. The scalar is the mean of one extra output channel.

    Args:
        geometry: lengths by which inputs are scaled, and the shape of the image.
        groups: number of images to return, as the parametrisation needs.
        width: channels of the first level, a multiple of 8.
        depth: residual blocks per level.
        levels: channel factor of each level; each level except the last halves the image.
        patch: side of the squares of pixels that become channels before the first level, and pixels again after the
            last.

    Raises:
        InputError: diffusers is missing, or the shape does not fit the levels.
    """

    def __init__(
        self,
        geometry: Geometry,
        groups: int,
        *,
        width: int,
        depth: int,
        levels: tuple[int, ...],
        patch: int = 1,
    ) -> None:
        super().__init__()
        if len(geometry.shape) != 3:
            raise InputError(
                f"net.backbone: unet expects images (C, H, W), got data of shape {geometry.shape}"
            )
        channels, height, columns = geometry.shape
        divisor = patch * 2 ** (len(levels) - 1)
        if height % divisor or columns % divisor:
            raise InputError(
                f"net.levels: {len(levels)} levels of patches of {patch} need image sides divisible by {divisor}, got"
                f" {height} x {columns}"
            )
        if width % _GROUP_NORM:
            raise InputError(f"net.width: unet expects a multiple of {_GROUP_NORM}, got {width}")
        try:
            from diffusers.models.unets.unet_2d import UNet2DModel
        except ImportError as cause:
            raise InputError(
                f"net.backbone: unet needs diffusers: pip install 'efm_fast[images]' ({cause})"
            ) from None
        self.groups, self.shape, self.patch = groups, geometry.shape, patch
        self.features = BoundedFeatures(geometry)
        self.heights = HeightFeatures(geometry)
        deepest = len(levels) - 1
        self.unet = UNet2DModel(
            in_channels=channels * patch**2,
            out_channels=groups * channels * patch**2 + 1,
            layers_per_block=depth,
            block_out_channels=tuple(width * factor for factor in levels),
            down_block_types=tuple(
                "AttnDownBlock2D" if k == deepest and k else "DownBlock2D" for k in range(len(levels))
            ),
            up_block_types=tuple(
                "AttnUpBlock2D" if k == deepest and k else "UpBlock2D" for k in reversed(range(len(levels)))
            ),
            norm_num_groups=_GROUP_NORM,
            attention_head_dim=8,
            class_embed_type="identity",
        )
        embedding = 4 * width
        self.condition = nn.Sequential(
            nn.Linear(HeightFeatures.size + 1, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Raw features [N, groups, D] and scalar [N]."""
        bounded, size = self.features(x)
        embedding = self.condition(torch.cat([size, self.heights(z)], 1))
        silent = torch.zeros(len(x), device=x.device)  # the time input is not used; HeightFeatures replace it
        folded = F.pixel_unshuffle(bounded.unflatten(1, self.shape), self.patch)
        raw = self.unet(folded, silent, class_labels=embedding).sample
        images = F.pixel_shuffle(raw[:, :-1], self.patch)
        features = images.reshape(len(x), self.groups, math.prod(self.shape))
        return features, raw[:, -1].mean((1, 2))
