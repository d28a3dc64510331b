"""What diffusers asks of its own pipelines: kinds of images, save and load, dtypes, batches, callbacks, seeds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image

from efm_fast import Run
from efm_fast.errors import EfmError, InputError, RunError
from efm_fast.pipelines import FieldMatchingPipeline, FieldMatchingScheduler, FieldModel

from .conftest import SHAPE, folder_of, quiet

UNET = {
    "backbone": "diffusers",
    "options": {
        "block_out_channels": [8, 16],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
}
DIT = {
    "backbone": "diffusers",
    "model": "DiTTransformer2DModel",
    "options": {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "norm_num_groups": 4},
}


@pytest.fixture
def pipe(trained: Callable[..., Run]) -> FieldMatchingPipeline:
    return quiet(FieldMatchingPipeline.from_run(trained("means, midpoint")))


@pytest.fixture
def from_noise(trained: Callable[..., Run]) -> FieldMatchingPipeline:
    return quiet(FieldMatchingPipeline.from_run(trained("pfgm++")))


def as_arrays(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def as_bytes(images: torch.Tensor) -> np.ndarray:
    return (as_arrays(images) * 255).round().astype(np.uint8)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


KINDS: dict[str, Callable[[torch.Tensor], Any]] = {
    "torch": lambda x: x,
    "torch list": lambda x: list(x),
    "torch bytes": lambda x: (x * 255).round().to(torch.uint8),
    "numpy": as_arrays,
    "numpy list": lambda x: list(as_arrays(x)),
    "numpy bytes": as_bytes,
    "numpy float64": lambda x: as_arrays(x).astype(np.float64),
    "PIL": lambda x: [Image.fromarray(one) for one in as_bytes(x)],
    "PIL with alpha": lambda x: tuple(Image.fromarray(one).convert("RGBA") for one in as_bytes(x)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_every_kind_go_in(pipe: FieldMatchingPipeline, images: torch.Tensor, kind: str) -> None:
    want = pipe(images, output_type="pt").images
    assert want.shape == images.shape
    torch.testing.assert_close(pipe(KINDS[kind](images), output_type="pt").images, want, rtol=0, atol=1e-5)


def test_one_image_alone_is_a_batch_of_one(pipe: FieldMatchingPipeline, images: torch.Tensor) -> None:
    want = pipe(images[:1], output_type="pt").images
    for one in (images[0], as_arrays(images)[0], Image.fromarray(as_bytes(images)[0])):
        torch.testing.assert_close(pipe(one, output_type="pt").images, want, rtol=0, atol=1e-5)


def test_images_of_every_kind_come_out(pipe: FieldMatchingPipeline, images: torch.Tensor) -> None:
    latents = pipe(images, output_type="latent").images
    tensors = pipe(images, output_type="pt").images
    arrays = pipe(images, output_type="np").images
    pictures = pipe(images).images
    torch.testing.assert_close(tensors, (latents / 2 + 0.5).clamp(0, 1))
    assert arrays.shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(arrays, as_arrays(tensors))
    assert [picture.size for picture in pictures] == [(8, 8)] * 4
    assert all(isinstance(picture, Image.Image) for picture in pictures)
    np.testing.assert_allclose(np.stack([np.asarray(p) for p in pictures]), as_bytes(tensors), atol=1)
    first = pipe(images, output_type="np", return_dict=False)
    assert isinstance(first, tuple)
    np.testing.assert_array_equal(first[0], arrays)


def test_grey_images(trained: Callable[..., Run]) -> None:
    from efm_fast import train

    data = torch.randint(256, (60, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    coloured = trained("flow")
    settings = {**coloured.config.plain(), "plus": {"name": "gaussian", "shape": [1, 8, 8]}, "name": "grey"}
    run = train(
        {**settings, "minus": {"name": "moons"}, "runs": str(coloured.folder.parent)},
        minus=data,
        progress=False,
    )
    pipe = quiet(FieldMatchingPipeline.from_run(run))
    pictures = pipe(batch_size=2, generator=seeded(1, 2)).images
    assert [picture.mode for picture in pictures] == ["L", "L"]
    again = pipe([picture.convert("RGB") for picture in pictures], output_type="np").images
    assert again.shape == (2, 8, 8, 1)


def test_a_batch_is_its_samples(pipe: FieldMatchingPipeline, images: torch.Tensor) -> None:
    together = pipe(images, output_type="pt").images
    alone = [pipe(one, output_type="pt").images for one in images]
    torch.testing.assert_close(torch.cat(alone), together, rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.01


def test_seeds_belong_to_samples(from_noise: FieldMatchingPipeline) -> None:
    def drawn(n: int, generator: Any) -> torch.Tensor:
        return from_noise(
            batch_size=n, generator=generator, output_type="latent", num_inference_steps=5
        ).images

    together = drawn(3, seeded(1, 2, 3))
    assert together.shape == (3, *SHAPE)
    torch.testing.assert_close(drawn(1, seeded(2)), together[1:2], rtol=1e-5, atol=1e-5)
    assert torch.equal(drawn(3, seeded(1, 2, 3)), together)
    assert torch.equal(drawn(2, *seeded(1)), drawn(2, *seeded(1)))
    assert not torch.equal(drawn(2, *seeded(1)), drawn(2, *seeded(2)))
    torch.manual_seed(0)
    first = drawn(1, None)
    torch.manual_seed(0)
    assert torch.equal(drawn(1, None), first)
    with pytest.raises(InputError, match="one for each of 3 samples, got 2"):
        drawn(3, seeded(1, 2))


def test_noise_of_a_run_that_starts_from_noise(
    trained: Callable[..., Run], pipe: FieldMatchingPipeline
) -> None:
    """digits_generation has Gaussian noise on its plus plate; a run between data sets has none."""
    generates = quiet(FieldMatchingPipeline.from_run(trained("flow", preset="digits_generation")))
    assert len(generates(num_inference_steps=5, batch_size=2).images) == 2
    noise = generates.model.start(500, *seeded(0))
    assert float(noise.std()) == pytest.approx(0.5, rel=0.02)
    with pytest.raises(InputError, match="image: this model carries images of one set to another"):
        pipe(num_inference_steps=5)


def saved(pipe: FieldMatchingPipeline, folder: Path) -> Path:
    pipe.save_pretrained(folder)
    return folder


def test_a_folder_opens_in_a_fresh_process(
    trained: Callable[..., Run], images: torch.Tensor, tmp_path: Path
) -> None:
    methods = ("means, midpoint", "flow", "tubes, piecewise")
    pipes = [quiet(FieldMatchingPipeline.from_run(trained(method))) for method in methods]
    folders = [saved(pipe, tmp_path / f"pipe{k}") for k, pipe in enumerate(pipes)]
    for folder in folders:
        index = json.loads((folder / "model_index.json").read_text())
        assert index["model"] == ["efm_fast.pipelines.model", "FieldModel"]
        assert index["scheduler"] == ["efm_fast.pipelines.scheduler", "FieldMatchingScheduler"]
        assert not [name for name in folder_of(folder) if not name.endswith((".json", ".safetensors"))]
    np.save(tmp_path / "images.npy", as_arrays(images))
    script = f"""
import os, socket
os.environ["HF_HUB_OFFLINE"] = "1"
def refuse(*_, **__): raise AssertionError("the network was asked for")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import numpy as np
from efm_fast.pipelines import FieldMatchingPipeline
for folder in {[str(folder) for folder in folders]}:
    pipe = FieldMatchingPipeline.from_pretrained(folder)
    images = pipe(np.load({str(tmp_path / "images.npy")!r}), output_type="np").images
    np.save(folder + "/out.npy", images)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=250)
    for folder, pipe in zip(folders, pipes, strict=True):
        want = pipe(images, output_type="np").images
        np.testing.assert_allclose(np.load(folder / "out.npy"), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("net", [UNET, DIT], ids=["UNet2DModel", "DiT"])
def test_models_of_diffusers_are_backbones(
    trained: Callable[..., Run], images: torch.Tensor, tmp_path: Path, net: dict[str, Any]
) -> None:
    run = trained("means, midpoint", net=net)
    assert type(run.field.backbone.model).__name__ == net.get("model", "UNet2DModel")
    pipe = quiet(FieldMatchingPipeline.from_run(run))
    want = pipe(images, output_type="pt").images
    again = quiet(FieldMatchingPipeline.from_pretrained(saved(pipe, tmp_path)))
    before, after = pipe.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before | after)
    assert torch.equal(again(images, output_type="pt").images, want)


def test_a_unet_trained_by_a_loop_of_its_own(tmp_path: Path) -> None:
    """Flow matching as users of diffusers write it, on images of one number each."""
    torch.manual_seed(0)
    plain = {k: v for k, v in UNET["options"].items() if not k.endswith("_types")}
    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        **plain,
    )
    optimizer = torch.optim.Adam(unet.parameters(), lr=3e-3)
    target = torch.full((16, 1, 8, 8), 0.6)
    for _ in range(60):
        noise, t = torch.randn(16, 1, 8, 8), torch.rand(16)
        x = torch.lerp(noise, target, t[:, None, None, None])
        loss = (unet(x, 1000 * t).sample - (target - noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pipe = quiet(
        FieldMatchingPipeline(unet.eval(), FieldMatchingScheduler("velocity", solver="midpoint", steps=6))
    )
    again = quiet(FieldMatchingPipeline.from_pretrained(saved(pipe, tmp_path)))
    drawn = [p(batch_size=4, generator=seeded(*range(4)), output_type="latent").images for p in (pipe, again)]
    assert torch.equal(*drawn)
    assert float((drawn[0] - 0.6).abs().mean()) < 0.2  # noise is 0.9 away


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("net", [None, UNET, DIT], ids=["MLP", "UNet2DModel", "DiT"])
def test_half_precision(
    trained: Callable[..., Run],
    images: torch.Tensor,
    tmp_path: Path,
    dtype: torch.dtype,
    net: dict[str, Any] | None,
) -> None:
    run = trained("means, midpoint", net=net)
    want = quiet(FieldMatchingPipeline.from_run(run))(images, output_type="pt").images
    pipe = quiet(FieldMatchingPipeline.from_run(run)).to(dtype)
    assert {value.dtype for value in pipe.model.state_dict().values() if value.is_floating_point()} == {dtype}
    got = pipe(images, output_type="pt").images
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=0, atol=0.05)
    again = quiet(FieldMatchingPipeline.from_pretrained(saved(pipe, tmp_path), torch_dtype=dtype))
    assert again.model.dtype == dtype
    torch.testing.assert_close(again(images, output_type="pt").images, got, rtol=0, atol=0.02)


def test_devices(pipe: FieldMatchingPipeline) -> None:
    assert pipe.to("cpu").device == torch.device("cpu")
    assert pipe.to("meta").device.type == "meta"
    assert next(pipe.model.parameters()).is_meta


@pytest.mark.gpu
def test_a_gpu_gives_the_same(pipe: FieldMatchingPipeline, images: torch.Tensor) -> None:
    want = pipe(images, output_type="pt").images
    got = pipe.to("cuda")(images, output_type="pt").images
    torch.testing.assert_close(got.cpu(), want, rtol=0, atol=1e-3)


def test_components_make_the_same_pipeline(pipe: FieldMatchingPipeline, images: torch.Tensor) -> None:
    assert set(pipe.components) == {"model", "scheduler", "vae"}
    assert pipe.components["vae"] is None
    again = quiet(FieldMatchingPipeline(**pipe.components))
    assert torch.equal(again(images, output_type="pt").images, pipe(images, output_type="pt").images)


def test_callbacks_see_and_change_every_step(pipe: FieldMatchingPipeline, images: torch.Tensor) -> None:
    seen: list[tuple[int, float]] = []

    def look(given: Any, step: int, t: Any, parts: dict[str, Any]) -> dict[str, Any]:
        assert given is pipe
        assert parts["latents"].shape == images.shape
        seen.append((step, float(t)))
        return parts

    def silence(given: Any, step: int, t: Any, parts: dict[str, Any]) -> dict[str, Any]:
        return {"latents": torch.zeros_like(parts["latents"])} if step == 4 else {}

    want = pipe(images, output_type="pt").images
    assert torch.equal(pipe(images, output_type="pt", callback_on_step_end=look).images, want)
    assert seen == list(enumerate(pipe.scheduler.timesteps.tolist()))
    assert (pipe(images, output_type="pt", callback_on_step_end=silence).images == 0.5).all()
    with pytest.raises(InputError, match="callback_on_step_end_tensor_inputs: expected one of latents"):
        pipe(images, callback_on_step_end=look, callback_on_step_end_tensor_inputs=["prompt"])


def test_a_progress_bar_counts_evaluations(
    pipe: FieldMatchingPipeline, images: torch.Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(images)
    assert capsys.readouterr().err == ""
    pipe.set_progress_bar_config(disable=False)
    pipe(images, num_inference_steps=3)
    assert "7/7" in capsys.readouterr().err


WRONG = {
    "range": (lambda x: 2 * x - 1, r"image: expected numbers in \[0, 1\] or bytes, got -"),
    "size": (lambda x: x[:, :, :4], "image: expected 3 x 8 x 8 .*, got 3 x 4 x 8"),
    "order": (lambda x: x.permute(0, 2, 3, 1), "image: expected 3 x 8 x 8 .*, got 8 x 8 x 3"),
    "none": (lambda x: [], "image: expected images of PIL, numpy or torch.*, got none"),
    "text": (lambda x: "digits.png", "image: expected images of PIL, numpy or torch.*, got 'digits.png'"),
    "NaN": (lambda x: x / 0 * 0, "image: expected finite numbers"),
    "rows": (lambda x: x.flatten(1), "image: expected images"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_images_get_a_sentence(pipe: FieldMatchingPipeline, images: torch.Tensor, case: str) -> None:
    spoil, sentence = WRONG[case]
    with pytest.raises(InputError, match=sentence):
        pipe(spoil(images))


def test_runs_without_images_or_velocity_get_a_sentence(tmp_path: Path) -> None:
    from efm_fast import train

    tiny = {"train.steps": 1, "train.batch": 8, "net.width": 8, "train.picture_every": 10**6}
    points = train("gaussian_to_mixture", {**tiny, "runs": str(tmp_path)}, progress=False)
    with pytest.raises(InputError, match=r"run: expected one of images"):
        FieldMatchingPipeline.from_run(points)
    rk4 = {"method": {"name": "flow_matching", "sample": {"solver": "rk4"}}, "name": "rk4"}
    images = train("digits_3_to_2", {**tiny, **rk4, "runs": str(tmp_path)}, progress=False)
    with pytest.raises(InputError, match=r"solver: expected one of euler, heun, .*, got 'rk4'"):
        FieldMatchingPipeline.from_run(images)
    assert FieldMatchingScheduler.from_run(images, solver="heun").config.solver == "heun"


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda f: shutil.rmtree(f), "holds no pipeline that can be opened"),
    "no index": (lambda f: (f / "model_index.json").unlink(), "holds no pipeline that can be opened"),
    "half an index": (lambda f: (f / "model_index.json").write_text('{"_class'), "holds no pipeline"),
    "no weights": (lambda f: (f / "model/diffusion_pytorch_model.safetensors").unlink(), "holds no pipeline"),
    "code": (lambda f: (f / "model" / "efm_fast.pipelines.model.py").write_text("1/0"), "holds code"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_gets_a_sentence(pipe: FieldMatchingPipeline, tmp_path: Path, damage: str) -> None:
    folder = saved(pipe, tmp_path / "pipe")
    spoil, sentence = DAMAGES[damage]
    spoil(folder)
    with pytest.raises(RunError, match=sentence) as caught:
        FieldMatchingPipeline.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_refused(pipe: FieldMatchingPipeline, tmp_path: Path) -> None:
    """diffusers itself leaves what is missing as it was drawn, and only warns."""
    folder = saved(pipe, tmp_path / "pipe")
    path = folder / "model" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "net": {**config["net"], "depth": 2}}))
    with pytest.raises(RunError, match="missing"):  # diffusers 0.30 says it before us
        FieldMatchingPipeline.from_pretrained(folder)


def test_a_folder_runs_no_code(
    pipe: FieldMatchingPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemError('this code ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = saved(pipe, tmp_path / "pipe")
    path = folder / "model" / "config.json"
    config = json.loads(path.read_text())
    for part in ({"net": {"backbone": "evil:Net"}}, {"method": {"name": "evil:Method"}}):
        path.write_text(json.dumps({**config, **part}))
        with pytest.raises(EfmError, match="import evil first"):
            FieldMatchingPipeline.from_pretrained(folder)
    with pytest.raises(InputError, match="trust_remote_code: expected none"):
        FieldMatchingPipeline.from_pretrained(folder, trust_remote_code=True)
    assert "evil" not in sys.modules


def test_the_model_says_what_does_not_fit(pipe: FieldMatchingPipeline) -> None:
    with pytest.raises(InputError, match=r"sample: expected \[N, 3, 8, 8\]"):
        pipe.model(torch.zeros(2, 3, 8, 9), 100.0)
    with pytest.raises(InputError, match="timestep: expected one time for all images"):
        pipe.model(torch.zeros(2, *SHAPE), torch.tensor([1.0, 2.0]))
    sample = pipe.model(torch.zeros(2, *SHAPE), torch.tensor([500.0, 500.0]), return_dict=False)[0]
    assert sample.shape == (2, 7, 8, 8)
    assert isinstance(pipe.model, FieldModel)
