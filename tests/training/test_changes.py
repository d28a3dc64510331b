"""A run may be resumed with other settings, as far as that keeps it what its config.yaml says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from efm_fast.config import Config
from efm_fast.errors import InputError, RunError
from efm_fast.training import Run, resume, train
from efm_fast.training.changes import _MAY_CHANGE, _flat
from efm_fast.training.report import read_metrics

SETTINGS = {
    "train.steps": 60,
    "train.batch": 32,
    "train.log_every": 1,
    "train.picture_every": 10_000,
    "method.points.charges": 64,
    "net.width": 16,
    "net.depth": 1,
    "name": "short",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return train("gaussian_to_swissroll", {**SETTINGS, "runs": str(folder)}, progress=False).folder


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "short"))


def test_a_finished_run_goes_on_to_more_steps(run_folder: Path) -> None:
    run = resume(
        run_folder, {"train.steps": 80, "train.log_every": 2, "method.sample.map": "forward"}, progress=False
    )
    assert run.step == 80
    assert [row["step"] for row in read_metrics(run_folder)] == [*range(1, 61), *range(62, 81, 2)]
    written = Config.load(run_folder / "config.yaml")
    assert written == run.config
    assert (written.train.steps, written.method.sample.map) == (80, "forward")
    assert resume(run_folder, progress=False).step == 80


def test_an_extended_run_is_one_that_was_interrupted_with_the_new_settings(
    run_folder: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(run_folder, tmp_path / "other"))
    config = Config.load(other / "config.yaml", {"train.steps": 80})
    (other / "config.yaml").write_text(config.to_yaml())
    resume(other, progress=False)
    resume(run_folder, {"train.steps": 80}, progress=False)
    assert (other / "state.safetensors").read_bytes() == (run_folder / "state.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("name", "other", "rename the folder"),
        ("runs", "elsewhere", "move the folder"),
        ("net.width", 32, "that network"),
        ("plus", {"name": "gaussian", "dimension": 2, "shift": 1.0}, "start a new run"),
        ("method.L", 3.0, "start a new run"),
        ("seed", 1, "start a new run"),
        ("train.lr", 0.1, "start a new run"),
        ("method.points.nearest", 0.1, "start a new run"),
        ("method.points.charges", 3, "start a new run"),
        ("train.steps", 59, "at least 60"),
        ("train.step", 90, "no such setting"),
        ("method.points.noise", 0.1, "no such setting with strategy = flux"),
        ("method.sample.steps", 9, "sample.max_steps for the full map"),
        ("plus", np.zeros((9, 2)), "start a new run"),
    ],
)
def test_what_cannot_change_is_refused_by_name_and_nothing_is_touched(
    run_folder: Path, key: str, value: object, part: str
) -> None:
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as caught:
        resume(run_folder, {key: value}, progress=False)
    assert str(caught.value).startswith(f"{key}:"), caught.value
    assert part in str(caught.value)
    assert {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()} == before


def test_data_in_memory_are_given_again_beside_the_changes(tmp_path: Path) -> None:
    data = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    settings = {**SETTINGS, "runs": str(tmp_path), "train.steps": 5}
    folder = train("gaussian_to_swissroll", settings, plus=data, progress=False).folder
    before = (folder / "config.yaml").read_text()
    with pytest.raises(RunError, match="its plus data were in memory"):
        resume(folder, {"train.steps": 7}, progress=False)
    assert (folder / "config.yaml").read_text() == before
    assert resume(folder, {"train.steps": 7}, plus=data, progress=False).step == 7
    assert (folder / "config.yaml").read_text() == before.replace("steps: 5\n", "steps: 7\n")
    with pytest.raises(InputError, match=r"given again as resume\(folder, plus=...\)"):
        resume(folder, {"plus": data}, progress=False)


def test_a_setting_that_stays_as_it_was_is_no_change(run_folder: Path) -> None:
    assert resume(run_folder, {"seed": 0, "net.width": 16}, progress=False).step == 60


def test_what_may_change_are_settings(run_folder: Path) -> None:
    known = _flat(Config.load(run_folder / "config.yaml").model_dump())
    assert set(known) >= _MAY_CHANGE
    assert isinstance(resume(run_folder, {}, progress=False), Run)
