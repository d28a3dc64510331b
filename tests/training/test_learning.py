"""Training learns: a short run carries noise most of the way, whatever is asked of the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from efm_fast import evaluate, load, sample, train
from efm_fast.errors import InputError, RunError
from efm_fast.lines import Lines, forward_map
from efm_fast.methods import field_matching
from efm_fast.methods.interplate import FluxPoints, InterplatePoints
from efm_fast.types import Plates

SHORT = {
    "train.steps": 400,
    "train.batch": 128,
    "method.points.charges": 128,
    "net.width": 64,
    "net.depth": 2,
    "train.lr": 0.003,
    "train.picture_every": 400,
    "train.ema": 0.98,
}


def short(folder: Path, **more: object) -> dict[str, object]:
    return {**SHORT, "runs": str(folder), **more}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return train("gaussian_to_mixture", short(tmp_path_factory.mktemp("runs")), progress=False)


def test_a_short_run_carries_noise_towards_the_target(run) -> None:  # type: ignore[no-untyped-def]
    maps = {report.name: report.numbers for report in evaluate(run, n=500).maps}
    assert maps["learned, full"]["w2"] < 0.75 * maps["learned, full"]["start"]
    assert (run.folder / "samples" / "step_0000400.png").stat().st_size > 0


def test_the_same_run_carries_the_target_back_to_noise(run) -> None:  # type: ignore[no-untyped-def]
    result = evaluate(run, n=500, reverse=True)
    maps = {report.name: report.numbers for report in result.maps}
    assert maps["learned, full"]["w2"] < 0.75 * maps["learned, full"]["start"]
    assert maps["exact field, full"]["w2"] < 0.4 * maps["exact field, full"]["start"]
    assert (result.lines.end_z[result.lines.arrived] == 0).all()


def test_a_loaded_run_samples_the_same(run) -> None:  # type: ignore[no-untyped-def]
    x0 = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    again = load(run.folder)
    assert again.step == 400
    assert torch.equal(sample(again, x0, seed=1).end, sample(run, x0, seed=1).end)
    with pytest.raises(InputError, match="x0, n"):
        sample(run)
    with pytest.raises(InputError, match="x0"):
        sample(run, torch.zeros(3, 5))
    with pytest.raises(InputError, match="map"):
        sample(run, n=3, map="backward")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^steps: the full map takes max_steps, got steps=3"):
        sample(run, n=3, steps=3)
    with pytest.raises(InputError, match=r"^max_steps: the forward map takes steps, got max_steps=3"):
        sample(run, n=3, map="forward", max_steps=3)


@pytest.mark.parametrize(
    "more",
    [
        {"method.parametrisation": "direct"},
        {
            "method.parametrisation": "direct",
            "method.points.strategy": "linear",
            "method.normalization": "per_plate",
        },
        {"method.points.strategy": "box", "method.points.margin": 0.5},
        {"train.bf16": True},
        {"train.workers": 1},
    ],
    ids=lambda more: " ".join(f"{k}={v}" for k, v in more.items()),
)
def test_every_setting_trains(tmp_path: Path, more: dict[str, object]) -> None:
    settings = short(tmp_path, **more, **{"train.steps": 20, "train.log_every": 5})
    trained = train("gaussian_to_swissroll", settings, progress=False)
    assert torch.isfinite(sample(trained, n=8, map="forward", steps=4).end).all()


def test_a_strategy_of_ones_own(tmp_path: Path) -> None:
    calls = []

    def own(plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
        calls.append(step)
        return FluxPoints(nearest=0.1)(plates, n, generator, step)

    train("gaussian_to_swissroll", short(tmp_path, **{"train.steps": 5}), strategy=own, progress=False)
    assert calls == [0, *range(5)], "the first step is tried once before the run folder is made"


def test_images_train_with_the_unet(tmp_path: Path) -> None:
    more = {
        "train.steps": 2,
        "train.batch": 4,
        "method.points.charges": 16,
        "net.backbone": "unet",
        "net.width": 8,
        "net.depth": 1,
        "net.levels": [1, 2],
        "train.picture_every": 2,
    }
    run = train("digits_3_to_2", {**more, "runs": str(tmp_path)}, progress=False)
    lines = sample(run, n=4, steps=2)
    assert lines.end.shape == (4, 192)
    assert int(lines.evaluations[0]) == 5
    assert (run.folder / "samples" / "step_0000002.png").stat().st_size > 0


@pytest.mark.parametrize(("settings", "stop"), [({}, 0.9), ({"method.sample.landing": 0.02}, 0.98)])
def test_the_forward_map_leaves_out_what_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, float], stop: float
) -> None:
    more = {"train.steps": 1, "method.sample.margin": 0.1, **settings}
    run = train("gaussian_to_swissroll", short(tmp_path, **more), progress=False)
    asked = {}

    def spied(field: object, x0: torch.Tensor, **options: object) -> Lines:
        asked.update(options)
        return forward_map(field, x0, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(field_matching, "forward_map", spied)
    sample(run, n=3, map="forward", steps=2)
    assert asked["start"] == pytest.approx(0.1 * run.geometry.L)
    assert asked["stop"] == pytest.approx(stop * run.geometry.L)


def test_a_diverging_run_stops_and_keeps_its_last_whole_checkpoint(tmp_path: Path) -> None:
    def broken(plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
        points = FluxPoints(nearest=0.1)(plates, n, generator, step)
        x = points.x * torch.nan if step == 7 else points.x
        return InterplatePoints(x, points.z, plates, generated=True)

    settings = short(tmp_path, **{"train.steps": 10, "train.checkpoint_every": 4, "name": "diverging"})
    with pytest.raises(RunError, match=r"not finite at step 8.*train\.lr"):
        train("gaussian_to_swissroll", settings, strategy=broken, progress=False)
    run = load(tmp_path / "diverging")
    assert run.step == 4
    assert all(torch.isfinite(weight).all() for weight in run.field.parameters())
