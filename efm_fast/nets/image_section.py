"""Settings of all networks for images."""

from __future__ import annotations

from ..extras import extra
from ..sections import Section

with extra("train"):
    from pydantic import Field


class ImageSection(Section):
    """A network for images, or for their latents."""

    backbone: str
    latent: str | None = Field(
        default=None,
        description="folder of an AutoencoderKL of diffusers, for a field of its latents; null for a field of images",
    )
    latent_fingerprint: str = Field(
        default="", description='fingerprint that the autoencoder must have; "" for any; written by train'
    )

    @classmethod
    def without_latent(cls, options: dict[str, object]) -> dict[str, object]:
        """``options`` of the section without those about latents, which a network does not need."""
        return {key: value for key, value in options.items() if key not in ("latent", "latent_fingerprint")}
