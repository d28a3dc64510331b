"""Run folders that an earlier version wrote are sampled and resumed as if nothing had changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from efm_fast import load, resume, sample

FOLDER = Path(__file__).parent / "version_0_1"


@pytest.mark.parametrize("name", ["flux", "per_plate", "lines"])
def test_a_run_of_version_0_1_goes_on(tmp_path: Path, name: str) -> None:
    """``name`` holds step 10 of a run, and the file beside it the averaged weights that version 0.1 had at step 20."""
    folder = tmp_path / name
    shutil.copytree(FOLDER / name, folder)
    assert sample(load(folder), n=5).end.shape == (5, 2)
    run = resume(folder, {"train.steps": 20}, progress=False)
    weights, wanted = (
        load_file(run.export(tmp_path / "weights.safetensors")),
        load_file(FOLDER / f"{name}-20.safetensors"),
    )
    assert weights.keys() == wanted.keys()
    for key, value in wanted.items():
        # bitwise on the machine that wrote them; another's products differ in their last digits
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-6)
    assert load(folder).step == 20, "and the folder that was written anew is read again"
