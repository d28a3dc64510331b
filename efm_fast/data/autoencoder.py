"""An AutoencoderKL of diffusers, which turns images into latents and back. A fingerprint identifies it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..extras import extra
from .spec import hashed
from .tools import existing

_BATCH = 64  # images that are encoded or decoded at once


class Autoencoder:
    """Images to latents and back.

    The latents of an image are the mean of its posterior, minus the autoencoder's shift, times its scaling factor. The
    latent models of diffusers are trained on the same numbers.

    Args:
        folder: a folder that ``AutoencoderKL.save_pretrained`` wrote, with weights as safetensors. Nothing is
            downloaded.
        fingerprint: the fingerprint that the autoencoder must have; "" for any.
        device: device on which it computes.
        progress: show a progress bar while a whole data set is encoded.

    Attributes:
        model: the AutoencoderKL, frozen, float32.
        fingerprint: fingerprint of its settings and weights.

    Raises:
        InputError: there is no such folder, it holds something else, or its autoencoder has another fingerprint.
        MissingPackageError: diffusers is not installed.
    """

    def __init__(
        self, folder: str | Path, fingerprint: str = "", device: str = "cpu", *, progress: bool = False
    ) -> None:
        place = existing("net.latent", folder, folder=True)
        self.model = _opened(place).to(device)
        self.progress = progress
        config = {key: value for key, value in sorted(self.model.config.items()) if not key.startswith("_")}
        self.fingerprint = hashed([config, dict(sorted(self.model.state_dict().items()))])
        if fingerprint and fingerprint != self.fingerprint:
            raise InputError(
                f"net.latent: expected the autoencoder of the training, fingerprint {fingerprint}, got"
                f" {self.fingerprint} in {str(place)!r}"
            )
        self._factor = 2 ** (len(config["block_out_channels"]) - 1)
        self._channels, self._latents = config["in_channels"], config["latent_channels"]
        self._scale, self._shift = config["scaling_factor"], config.get("shift_factor") or 0.0
        if config["out_channels"] != self._channels:
            raise InputError(
                f"net.latent: expected as many channels out as in, got {config['out_channels']} and {self._channels}"
            )
        if self._factor == 1:
            raise InputError(
                "net.latent: expected an autoencoder that makes images smaller, got one with a single block"
            )

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Shape of the latents of images of ``shape``.

        Raises:
            InputError: they are no images, have other channels, or a size that the autoencoder cannot halve often
                enough.
        """
        factor = self._factor
        if len(shape) != 3 or shape[0] != self._channels or shape[1] % factor or shape[2] % factor:
            raise InputError(
                f"net.latent: expected images ({self._channels}, H, W) with H and W multiples of {factor}, got"
                f" data of shape {tuple(shape)}"
            )
        return self._latents, shape[1] // factor, shape[2] // factor

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Shape of the images into which latents of ``shape`` (C, H, W) are decoded.

        Raises:
            InputError: the autoencoder has no such latents.
        """
        if len(shape) != 3 or shape[0] != self._latents:
            raise InputError(
                f"net.latent: expected latents ({self._latents}, H, W), got data of shape {tuple(shape)}"
            )
        return self._channels, shape[1] * self._factor, shape[2] * self._factor

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The latents [N, C, H, W], float32 on the device of ``images`` [N, C, H, W], which have values in [-1, 1]."""
        parts = [
            (self.model.encode(part.to(self.model.device, torch.float32)).latent_dist.mode() - self._shift)
            * self._scale
            for part in images.split(_BATCH)
        ]
        return torch.cat(parts).to(images.device)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The images [N, C, H, W], float32 on the device of ``latents``; NaN where a latent is not finite."""
        parts = [
            self.model.decode(part.to(self.model.device, torch.float32) / self._scale + self._shift).sample
            for part in latents.split(_BATCH)
        ]
        return torch.cat(parts).to(latents.device)


def _opened(place: Path) -> Any:
    with extra("images"):
        from diffusers import AutoencoderKL
    try:
        known = AutoencoderKL.load_config(place, local_files_only=True)
        if known.get("_class_name") != "AutoencoderKL":
            raise ValueError(f"its config.json names {checks.describe(known.get('_class_name'))}")
        model, found = AutoencoderKL.from_pretrained(
            place,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
        if wrong := {key: names for key, names in found.items() if names}:
            raise ValueError(f"its weights do not fit its config.json: {wrong}")
        return model.eval().requires_grad_(False)
    except Exception as problem:  # JSON, safetensors, torch and diffusers raise errors of different classes
        text = " ".join(str(problem).split())[:200]
        raise InputError(
            f"net.latent: expected the folder of an AutoencoderKL of diffusers with safetensors, got {str(place)!r}:"
            f" {text}"
        ) from None
