"""Latent runs from the command line: images from folders, trained, stopped, resumed bit for bit, and sampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKL
from PIL import Image
from typer.testing import CliRunner

import efm_fast
from efm_fast.cli import app

from .conftest import pictures


def called(*arguments: str) -> str:
    """What the command printed; it has to end well."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A YAML file of a run between two folders of pictures, without an autoencoder."""
    images = pictures()
    for name, rows in (("plus", images[:30]), ("minus", images[30:])):
        (tmp_path / name).mkdir()
        for k, row in enumerate(rows):
            Image.fromarray(row[0].numpy()).save(tmp_path / name / f"{k:02}.png")
    folder = {"name": "imagefolder", "size": 8}
    content = {
        "name": "bars",
        "runs": str(tmp_path / "runs"),
        "device": "cpu",
        "plus": {**folder, "root": str(tmp_path / "plus")},
        "minus": {**folder, "root": str(tmp_path / "minus")},
        "method": {"name": "field_matching", "sample": {"map": "forward", "forward_steps": 3}},
        "net": {"backbone": "unet", "width": 8, "depth": 1, "levels": [1]},
        "train": {"steps": 6, "batch": 16, "picture_every": 100, "log_every": 1, "checkpoint_every": 2},
    }
    (tmp_path / "bars.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "bars.yaml"


@pytest.fixture
def colour_folder(tmp_path: Path) -> Path:
    """The folder of an AutoencoderKL for colours, as folders of images are read; it has learned nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            latent_channels=2,
            norm_num_groups=4,
        ).save_pretrained(tmp_path / "autoencoder")
    return tmp_path / "autoencoder"


def test_a_latent_run_is_trained_stopped_resumed_bit_for_bit_and_sampled(
    settings: Path, colour_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent = f"net.latent={colour_folder}"
    called("train", str(settings), latent, "name=whole")
    whole, cut = tmp_path / "runs" / "whole", tmp_path / "runs" / "cut"

    def stop(self: object, step: int, **numbers: float) -> None:
        if step > 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("efm_fast.training.report.Reporter.log", stop)
        with pytest.raises(BaseException, match=r"training stopped; `efm-fast resume .*` continues"):
            CliRunner().invoke(app, ["train", str(settings), latent, "name=cut"])
    assert efm_fast.load(cut).step < 6
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(files) == 4, "the two splits of both plates"
    called("resume", str(cut))
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files
    assert efm_fast.load(cut).step == 6
    assert (cut / "state.safetensors").read_bytes() == (whole / "state.safetensors").read_bytes()

    called("sample", str(cut), "--n", "4", "--out", str(tmp_path / "grid.png"))
    with Image.open(tmp_path / "grid.png") as grid:
        assert np.asarray(grid).std() > 0


def test_a_latent_run_without_its_autoencoder_is_refused(settings: Path, tmp_path: Path) -> None:
    for more, words in (
        ([f"net.latent={tmp_path / 'nothing'}"], "net.latent: expected a folder at"),
        ([f"net.latent={tmp_path / 'plus'}"], "net.latent: expected the folder of an AutoencoderKL"),
    ):
        done = CliRunner().invoke(app, ["train", str(settings), *more])
        assert done.exit_code != 0
        assert words in str(done.exception)
        assert not (tmp_path / "runs" / "bars").exists()
