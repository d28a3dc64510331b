"""An autoencoder that learns a small set of pictures in a second."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor


def pictures(count: int = 60) -> Tensor:
    """Bright bars at random places, upright in the first half and lying in the second, bytes [N, 1, 8, 8]."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.full((count, 1, 8, 8), 20, dtype=torch.uint8)
    for k, place in enumerate(torch.randint(0, 7, (count,), generator=generator).tolist()):
        rows[k, 0, :, place : place + 2] = 230
    rows[count // 2 :] = rows[count // 2 :].mT.clone()
    return rows


@pytest.fixture(scope="session")
def autoencoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an AutoencoderKL that learned the pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoencoderKL(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            latent_channels=2,
            norm_num_groups=4,
            scaling_factor=0.7,
            shift_factor=0.1,
        )
        images = pictures().float() / 127.5 - 1
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(60):
            loss = (model(images).sample - images).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert loss < 0.2, "the variance of the pictures is above 0.5"
    folder = tmp_path_factory.mktemp("autoencoder")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test, and no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "efm_fast"
