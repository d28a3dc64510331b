"""Settings that every network for images has."""

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
        description="folder of an AutoencoderKL of diffusers among whose latents the field lies; null for the images"
        " themselves",
    )
    latent_fingerprint: str = Field(
        default="", description='which that autoencoder must have; "" for any; written by train'
    )

    @classmethod
    def without_latent(cls, options: dict[str, object]) -> dict[str, object]:
        """``options`` of the section without those that say what the images are, which no network sees."""
        return {key: value for key, value in options.items() if key not in ("latent", "latent_fingerprint")}
