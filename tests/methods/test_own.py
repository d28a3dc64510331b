"""A network, a method and a measure of one's own take one file each, and a run folder never imports them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from efm_fast import evaluate, train
from efm_fast.config import Config
from efm_fast.data import Source
from efm_fast.errors import InputError
from efm_fast.metrics import Outcome, measure

OWN = """
import torch
from torch import nn
from efm_fast.methods.field_matching import FieldMatching, FieldMatchingSettings
from efm_fast.sections import PositiveFloat


class Net(nn.Module):
    def __init__(self, geometry, groups, *, width: int = 8):
        super().__init__()
        self.groups, self.layers = groups, nn.Sequential(
            nn.Linear(len(geometry.centre) + 1, width), nn.Tanh(), nn.Linear(width, groups * len(geometry.centre) + 1)
        )

    def forward(self, x, z):
        raw = self.layers(torch.cat([x, z[:, None].float()], 1).clamp(-9, 9))
        return raw[:, :-1].unflatten(1, (self.groups, -1)), raw[:, -1]


class Settings(FieldMatchingSettings):
    name: str
    stretch: PositiveFloat = 1.0


class Method(FieldMatching):
    Settings = Settings

    def points(self, plates, n, generator, step):
        points = super().points(plates, n, generator, step)
        return type(points)(points.x * self.settings.stretch, points.z, points.plates, points.generated)


class Unfit(nn.Module):
    def __init__(self, width):
        super().__init__()
"""
SETTINGS = [
    "train.steps=3",
    "train.batch=16",
    "train.picture_every=100",
    "method.points.charges=16",
    "runs=runs",
]


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "efm_fast", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("chosen", "written"),
    [
        (["net.backbone=own_parts:Net", "net.width=4"], "backbone: own_parts:Net"),
        (["method.name=own_parts:Method", "method.stretch=2.0"], "stretch: 2.0"),
    ],
    ids=["network", "method"],
)
def test_one_file_is_enough_and_a_run_folder_does_not_import_it(
    tmp_path: Path, chosen: list[str], written: str
) -> None:
    done = command("train", "gaussian_to_mixture", "-q", "--n", "20", *chosen, *SETTINGS)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "gaussian_to_mixture"
    assert written in (folder / "config.yaml").read_text()
    (tmp_path / "own_parts.py").write_text("raise SystemExit('imported')\n" + OWN)
    refused = command("evaluate", str(folder), "--n", "20")
    assert refused.returncode == 1
    assert "is not part of efm_fast: import own_parts first, or give --import own_parts" in refused.stderr
    (tmp_path / "own_parts.py").write_text(OWN)
    for again in (
        ["evaluate", str(folder), "--n", "20"],
        ["resume", str(folder), "train.steps=5", "-q", "--n", "20"],
    ):
        done = command(*again, "--import", "own_parts")
        assert done.returncode == 0, done.stderr


MINIMAL = {"name": "minimal", "plus": {"name": "gaussian"}, "minus": {"name": "moons"}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"net.backbone": "own_parts:Nett"},
            "own_parts:Nett: expected a class derived from Module .* got nothing",
        ),
        ({"net.backbone": "own_parts:OWN"}, "expected a class derived from Module"),
        (
            {"net.backbone": "own_parts:Unfit"},
            r"expected a class with arguments \(geometry, groups, \*, ...\)",
        ),
        (
            {"net.backbone": "own_parts:Net", "net.depth": 3},
            "net.depth: no such setting with backbone = own_parts:Net",
        ),
        ({"net.backbone": "own_parts:Net", "net.width": "a"}, "net.width: expected a valid integer, got 'a'"),
        ({"net.backbone": "no_such_module:Net"}, "expected a module, looked for no_such_module"),
        ({"method.name": "own_parts:Net"}, "own_parts:Net: expected a class derived from Method"),
        (
            {"method.name": "own_parts:Method", "method.stretch": 0.0},
            "method.stretch: expected greater than 0",
        ),
    ],
)
def test_a_part_of_ones_own_that_does_not_fit_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Config.load(MINIMAL, settings)
    assert "\n" not in str(caught.value)


class Line(Source):
    """Points on a line, whose own measure is how far from it samples end."""

    name, shape = "line", (2,)

    def draw(self, n: int, generator: torch.Generator, split: str = "train") -> torch.Tensor:
        x = torch.randn(n, 1, generator=generator)
        return torch.cat([x, x], 1)


@measure.register
def _(goal: Line, outcome: Outcome) -> dict[str, Any]:
    return {"off_line": float((outcome.ends[:, 0] - outcome.ends[:, 1]).abs().mean())}


def test_data_of_ones_own_have_their_own_measures(tmp_path: Path) -> None:
    settings = {
        **MINIMAL,
        "plus": "gaussian",
        "minus": Line(),
        "runs": str(tmp_path),
        "train": {"steps": 2, "batch": 8},
    }
    run = train(settings, progress=False)
    numbers = evaluate(run, n=20).as_dict()["maps"][0]
    assert set(numbers) == {"map", "evaluations", "most_evaluations", "unfinished", "off_line"}
    back = evaluate(run, n=20, reverse=True).as_dict()["maps"][0]
    assert "w2" in back, "the other plate's data have the usual ones"
