"""A run among the latents of an autoencoder: encoded once, carried, decoded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

import efm_fast
from efm_fast.data import FiniteSource, make_source
from efm_fast.data.autoencoder import Autoencoder
from efm_fast.data.latent import LatentSource
from efm_fast.errors import InputError
from efm_fast.pipelines import FieldMatchingPipeline
from efm_fast.runs import Run

from .conftest import pictures

IMAGE, LATENT = (1, 8, 8), (2, 4, 4)


def settings(folder: Path, runs: Path, **changes: Any) -> dict[str, Any]:
    net = {"backbone": "unet", "width": 8, "depth": 1, "levels": [1], "latent": str(folder)}
    images = pictures()
    return {
        "name": "bars",
        "runs": str(runs),
        "device": "cpu",
        "plus": images[:30],
        "minus": images[30:],
        "method": {"name": "field_matching", "sample": {"map": "forward", "forward_steps": 3}},
        "net": net,
        "train": {"steps": 3, "batch": 16, "picture_every": 3},
        **changes,
    }


@pytest.fixture(scope="module")
def run(autoencoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return efm_fast.train(settings(autoencoder_folder, folder), progress=False)


def test_latents_are_scaled_means_and_come_back_as_images(autoencoder_folder: Path) -> None:
    autoencoder = Autoencoder(autoencoder_folder)
    images = pictures().float() / 127.5 - 1
    theirs = AutoencoderKL.from_pretrained(autoencoder_folder, use_safetensors=True)
    with torch.no_grad():
        mean = theirs.encode(images).latent_dist.mean
    latents = autoencoder.encode(images)
    torch.testing.assert_close(latents, (mean - 0.1) * 0.7)
    assert (autoencoder.decode(latents) - images).square().mean() < 0.2 < images.var()
    assert autoencoder.latent_shape(IMAGE) == LATENT
    assert autoencoder.image_shape(LATENT) == IMAGE


def test_images_are_encoded_once_and_mapped(
    autoencoder_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    autoencoder = Autoencoder(autoencoder_folder)
    source = LatentSource(make_source({"name": "tensor", "data": pictures()}), autoencoder)
    expected = autoencoder.encode(source.images.all().unflatten(1, IMAGE)).flatten(1)
    torch.testing.assert_close(source.all(), expected)
    drawn, below = (s.draw(9, torch.Generator().manual_seed(3)) for s in (source, source.images))
    torch.testing.assert_close(drawn, autoencoder.encode(below.unflatten(1, IMAGE)).flatten(1))
    assert len(list(cache.iterdir())) == 2, "a file for each split and nothing else"
    monkeypatch.setattr(Autoencoder, "encode", lambda *_: pytest.fail("encoded again"))
    again = LatentSource(make_source({"name": "tensor", "data": pictures()}), autoencoder)
    assert torch.equal(again.all(), source.all())


def test_a_damaged_cache_is_made_again_and_other_images_have_their_own(
    autoencoder_folder: Path, cache: Path
) -> None:
    autoencoder = Autoencoder(autoencoder_folder)
    first = LatentSource(make_source({"name": "tensor", "data": pictures(), "held_out": 0.0}), autoencoder)
    expected = first.all().clone()
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:200])
    again = LatentSource(make_source({"name": "tensor", "data": pictures(), "held_out": 0.0}), autoencoder)
    assert torch.equal(again.all(), expected)
    other = LatentSource(make_source({"name": "tensor", "data": pictures(50), "held_out": 0.0}), autoencoder)
    assert len(other.all()) == 50
    assert len(list(cache.iterdir())) == 2
    assert np.load(file, allow_pickle=False).shape == (60, *LATENT)


def test_a_run_lies_among_latents_and_samples_are_images(run: Run, autoencoder_folder: Path) -> None:
    assert run.geometry.shape == LATENT
    assert run.config.net.model_dump()["latent"] == str(autoencoder_folder)
    assert run.config.net.model_dump()["latent_fingerprint"] == Autoencoder(autoencoder_folder).fingerprint
    assert list((run.folder / "samples").glob("step_*.png"))
    lines = efm_fast.sample(run, n=4, return_paths=True)
    assert lines.end.shape == (4, 64)
    assert lines.paths is not None
    assert lines.paths.shape[1:] == (4, 33)
    last = lines.paths[-1, :, :-1].unflatten(1, LATENT)
    assert run.autoencoder is not None
    torch.testing.assert_close(run.autoencoder.decode(last).flatten(1), lines.end)
    numbers = efm_fast.evaluate(run, n=6).as_dict()["maps"][0]
    assert all(np.isfinite(value) for value in numbers.values() if isinstance(value, float))


def test_a_run_loads_without_its_data_and_carries_images_and_latents(run: Run) -> None:
    again = efm_fast.load(run.folder, device="cpu")
    images = pictures()[:3]
    end = efm_fast.sample(again, images).end
    assert end.shape == (3, *IMAGE)
    assert torch.equal(end, efm_fast.sample(run, images).end)
    assert run.autoencoder is not None
    latents = run.autoencoder.encode(images.float() / 127.5 - 1)
    torch.testing.assert_close(efm_fast.sample(again, latents).end, end)
    with pytest.raises(InputError, match=r"x0: expected shape \[N, 32\] or \[N, 2, 4, 4\] or \[N, 64\] or"):
        efm_fast.sample(again, torch.zeros(3, 3, 8, 8))


def test_a_pipeline_takes_the_autoencoder_along(run: Run, tmp_path: Path) -> None:
    FieldMatchingPipeline.from_run(run).save_pretrained(tmp_path / "pipe")
    pipe = FieldMatchingPipeline.from_pretrained(tmp_path / "pipe")
    pipe.set_progress_bar_config(disable=True)
    out = pipe(pictures()[:2].float() / 255, num_inference_steps=2, output_type="pt").images
    assert out.shape == (2, *IMAGE)
    assert str(run.folder.parent) not in (tmp_path / "pipe" / "model" / "config.json").read_text()
    with pytest.raises(InputError, match="FieldMatchingPipeline"):
        run.save_pretrained(tmp_path / "hub")


def test_noise_lies_among_latents(autoencoder_folder: Path, tmp_path: Path) -> None:
    noise = {"name": "gaussian", "shape": LATENT}
    run = efm_fast.train(settings(autoencoder_folder, tmp_path, plus=noise), progress=False)
    assert efm_fast.sample(run, n=3).end.shape == (3, 64)
    assert efm_fast.sample(run, pictures()[:3], reverse=True).end.shape == (3, *LATENT)
    for reverse in (False, True):
        assert len(efm_fast.evaluate(run, n=6, reverse=reverse).maps) == 1
    for shape in (IMAGE, (3, 4, 4)):
        wrong = settings(autoencoder_folder, tmp_path, name="b", plus={"name": "gaussian", "shape": shape})
        with pytest.raises(
            InputError, match=r"plus: expected noise of the shape of the latents, \(2, 4, 4\)"
        ):
            efm_fast.train(wrong, progress=False)


def test_another_autoencoder_than_that_of_the_training_is_refused(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run.folder, copy)
    moved = tmp_path / "autoencoder"
    text = (copy / "config.yaml").read_text()
    net = run.config.net.model_dump()
    (copy / "config.yaml").write_text(text.replace(net["latent"], str(moved)))
    with pytest.raises(InputError, match=r"net\.latent: expected a folder at"):
        efm_fast.load(copy)
    model = AutoencoderKL.from_pretrained(net["latent"], use_safetensors=True)
    with torch.no_grad():
        model.decoder.conv_out.bias += 1e-3
    model.save_pretrained(moved)
    with pytest.raises(
        InputError, match=r"net\.latent: expected the autoencoder of the training, fingerprint"
    ):
        efm_fast.load(copy)


@pytest.mark.parametrize("kind", ["empty", "other class", "pickle", "damaged"])
def test_a_folder_of_something_else_is_refused(kind: str, autoencoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "autoencoder"
    shutil.copytree(autoencoder_folder, folder)
    weights = folder / "diffusion_pytorch_model.safetensors"
    if kind == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif kind == "other class":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "_class_name": "VQModel"}))
    elif kind == "pickle":
        weights.unlink()
        torch.save({}, folder / "diffusion_pytorch_model.bin")
    else:
        os.truncate(weights, 1000)
    with pytest.raises(InputError, match=r"net\.latent: expected the folder of an AutoencoderKL"):
        Autoencoder(folder)


def test_data_that_cannot_be_encoded_once_are_refused(autoencoder_folder: Path) -> None:
    autoencoder = Autoencoder(autoencoder_folder)
    for rows in (torch.zeros(4, 64), torch.zeros(4, 3, 8, 8), torch.zeros(4, 1, 8, 7)):
        source = FiniteSource("rows", {"train": rows, "test": rows[:0]})
        with pytest.raises(
            InputError, match=r"net.latent: expected images \(1, H, W\) with H and W multiples of 2"
        ):
            LatentSource(source, autoencoder)
    fresh = FiniteSource("rows", {"train": torch.zeros(4, *IMAGE), "test": torch.zeros(0, *IMAGE)})
    fresh.draws_anew = True
    with pytest.raises(InputError, match="fresh colours or windows"):
        LatentSource(fresh, autoencoder)

    class Noisy(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, k: int) -> torch.Tensor:
            return torch.rand(IMAGE)

    source = LatentSource(make_source(Noisy()), autoencoder)
    with pytest.raises(InputError, match="whose rows differ each time they are read"):
        source.all()
