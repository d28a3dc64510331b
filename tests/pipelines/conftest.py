"""Runs of a few steps, one for each way in which samples travel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import efm_fast
from efm_fast import Run

TINY = {"train.steps": 8, "train.batch": 16, "train.picture_every": 10**6}
NET = {"backbone": "mlp", "width": 16, "depth": 1}
SHAPE = (3, 8, 8)
FEW = {"strategy": "flux", "charges": 32, "nearest": "0.01 s"}


def field_matching(**more: Any) -> dict[str, Any]:
    sample = {"map": "forward", "forward_steps": 2, **more.pop("sample", {})}
    return {"name": "field_matching", "points": FEW, "sample": sample, **more}


METHODS: dict[str, dict[str, Any]] = {
    "means, midpoint": field_matching(sample={"landing": 0.015}),
    "means, heun, uniform": field_matching(sample={"solver": "heun", "spacing": "uniform"}),
    "means, multistep, rho": field_matching(
        sample={"solver": "multistep", "spacing": "rho", "forward_steps": 4}
    ),
    "direct": field_matching(parametrisation="direct", sample={"solver": "euler"}),
    "flow": {"name": "flow_matching", "sample": {"steps": 4}},
    "flow, multistep": {"name": "flow_matching", "sample": {"steps": 4, "solver": "multistep"}},
    "tubes": {"name": "interaction_field", "sample": {"steps": 4}},
    "tubes, piecewise": {
        "name": "interaction_field",
        "tube": {"form": "piecewise", "end": 0.2},
        "sample": {"steps": 4, "solver": "midpoint"},
    },
    "tubes, published": {
        "name": "interaction_field",
        "form": "published",
        "sample": {"steps": 4, "solver": "heun"},
    },
    "pfgm++": {"name": "pfgm++", "sample": {"steps": 5}},
    "diffusion": {
        "name": "pfgm++",
        "d": "inf",
        "sample": {"steps": 5, "solver": "multistep", "spacing": "log"},
    },
    "pfgm++, one step": {"name": "pfgm++", "sample": {"steps": 1}},
    "pfgm": {"name": "pfgm", "sample": {"steps": 5, "solver": "exponential"}},
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def run(method: str, preset: str = "digits_3_to_2", net: dict[str, Any] | None = None) -> Run:
        key = f"{method}-{preset}-{net}"
        if key not in made:
            settings = {"method": METHODS[method], "net": net or NET, "name": f"run{len(made)}"}
            made[key] = efm_fast.train(preset, {**TINY, **settings, "runs": str(folder)}, progress=False)
        return made[key]

    return run


@pytest.fixture
def images() -> torch.Tensor:
    """Four images, [4, 3, 8, 8], in [0, 1] and steps of 1 / 255."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (4, *SHAPE), generator=generator).float() / 255


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def folder_of(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
