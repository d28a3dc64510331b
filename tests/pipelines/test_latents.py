"""A pipeline whose field lies among the latents of an AutoencoderKL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DModel

from efm_fast.errors import InputError
from efm_fast.pipelines import FieldMatchingPipeline, FieldMatchingScheduler

from .conftest import quiet


@pytest.fixture
def pipe() -> FieldMatchingPipeline:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=2,
        norm_num_groups=4,
        scaling_factor=0.5,
    )
    unet = UNet2DModel(
        sample_size=4,
        in_channels=2,
        out_channels=2,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
    )
    return quiet(FieldMatchingPipeline(unet.eval(), FieldMatchingScheduler(steps=2), vae.eval()))


def test_images_are_encoded_carried_and_decoded(
    pipe: FieldMatchingPipeline, images: torch.Tensor, tmp_path: Path
) -> None:
    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in range(4)]

    out = pipe(images, generator=generators(), output_type="pt").images
    assert out.shape == (4, 3, 8, 8)
    latents = pipe(images, generator=generators(), output_type="latent").images
    assert latents.shape == (4, 2, 4, 4)
    with torch.no_grad():
        want = (pipe.vae.decode(latents / 0.5).sample / 2 + 0.5).clamp(0, 1)
        posterior = pipe.vae.encode(2 * images - 1).latent_dist
        noise = torch.cat([torch.randn(1, 2, 4, 4, generator=one) for one in generators()])
        x = 0.5 * (posterior.mean + posterior.std * noise)
        for t in (0.0, 500.0):
            x = x + 0.5 * pipe.model(x, t).sample
    torch.testing.assert_close(out, want)
    torch.testing.assert_close(latents, x, rtol=1e-4, atol=1e-4)
    pipe.save_pretrained(tmp_path)
    again = quiet(FieldMatchingPipeline.from_pretrained(tmp_path))
    assert torch.equal(again(images, generator=generators(), output_type="pt").images, out)
    assert again(batch_size=2).images[0].size == (8, 8)
    with pytest.raises(InputError, match="image: expected 3 x 8 x 8"):
        pipe(images[:, :, :4])
