"""Whatever is given to a public function, what it says of it is one short line that names the argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import efm_fast
from efm_fast.errors import EfmError
from efm_fast.training import Run

TINY = {
    "train.steps": 2,
    "train.batch": 8,
    "method.points.charges": 16,
    "net.width": 8,
    "net.depth": 1,
    "train.picture_every": 10_000,
    "name": "tiny",
}
RING: dict[str, Any] = {}
RING["plus"] = RING
WRONG: dict[str, Any] = {
    "none": None,
    "minus one": -1,
    "zero": 0,
    "half": 1.5,
    "nan": float("nan"),
    "huge": 10**400,
    "true": True,
    "path": "path",
    "null byte": "a\0b",
    "long": "x" * 100_000,
    "bytes": b"path",
    "list": [1.0] * 100_000,
    "dict": {"train.steps": "x" * 100_000, 3: 4},
    "ring": RING,
    "tensor": torch.zeros(100, 100, 100),
    "meta": torch.zeros(3, 2, device="meta"),
    "bool tensor": torch.zeros(3, 2, dtype=torch.bool),
    "complex": torch.zeros(3, 2, dtype=torch.complex64),
    "array": np.zeros((100, 100)),
    "object": object(),
    "class": int,
    "folder": Path("/nowhere/at/all"),
}
# what an argument does take, of the above
FITS = {
    "overrides": {"none"},
    "strategy": {"none", "class"},
    "progress": {"true"},
    "x0": {"none"},
    "n": {"none"},
    "map": {"none"},
    "steps": {"none"},
    "max_steps": {"none"},
    "plus": {"none"},
    "minus": {"none"},
    "reverse": {"true"},
    "return_paths": {"true"},
    "seed": {"zero", "huge"},
    "distances": {"list"},
}
FUNCTIONS = ("train", "resume", "load", "sample", "evaluate", "diagnose")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs = str(tmp_path_factory.mktemp("runs"))
    return efm_fast.train("gaussian_to_mixture", {**TINY, "runs": runs}, progress=False)


def good(function: str, run: Run, folder: Path) -> dict[str, Any]:
    """Arguments with which the function works; all others have defaults."""
    return {
        "train": {
            "cfg": "gaussian_to_mixture",
            "overrides": {**TINY, "runs": str(folder)},
            "progress": False,
        },
        "resume": {"folder": run.folder, "progress": False},
        "load": {"folder": run.folder},
        "sample": {"run": run, "x0": torch.zeros(3, 2)},
        "evaluate": {"run": run, "n": 4},
        "diagnose": {"cfg": "gaussian_to_mixture", "charges": 8, "lines": 2},
    }[function]


@pytest.mark.parametrize(
    ("function", "argument"),
    [(name, key) for name in FUNCTIONS for key in inspect.signature(getattr(efm_fast, name)).parameters],
)
def test_a_wrong_argument_is_one_short_line(
    function: str, argument: str, tiny: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call: Callable[..., Any] = getattr(efm_fast, function)
    for kind, value in WRONG.items():
        if kind in FITS.get(argument, ()):
            continue
        arguments = {**good(function, tiny, tmp_path), argument: value}
        if argument == "n" and function == "sample":
            del arguments["x0"]
        if argument == "steps":
            arguments["map"] = "forward"
        with pytest.raises(EfmError) as caught:
            pytest.fail(f"{kind} was taken: {call(**arguments)}")
        message = str(caught.value)
        assert len(message) < 300, (kind, message)
        assert "\n" not in message, (kind, message)
    assert list(tmp_path.iterdir()) == [], "a wrong argument must leave nothing behind"
