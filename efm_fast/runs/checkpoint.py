"""Checkpoints: one file each, sealed with a checksum, replaced by one rename.

    state-00002000/        takes the place of state.safetensors while a sharded network is trained: see generations.py
    state.safetensors      step, network, average and optimiser of one step: all that resuming and sampling need
    weights.safetensors    only the averaged weights, if a user exported them

Both files are plain safetensors, which other programs can read. Every file is checked when it is read: its checksum,
that all numbers are finite, and that they belong to one step and to the geometry.json in the same folder.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import RunError
from ..extras import extra
from ..processes import Processes
from ..sealed import load_tensors
from ..types import Geometry
from .generations import STATE, generations, prove

with extra("train"):
    from safetensors import SafetensorError, safe_open

WEIGHTS = "weights.safetensors"


def latest(folder: Path) -> Path:
    """The last checkpoint of the run in ``folder``: its file, or the folder of a generation."""
    known = generations(folder)
    path = folder / STATE
    if not known:
        return path
    step = max(known)
    # both exist if a process was killed after it wrote one and before it removed the other
    return path if path.exists() and int(load_tensors(path)["step"]) > step else known[step]


def load_state(folder: Path, geometry: Geometry) -> dict[str, Tensor]:
    """Read the state of the run in ``folder``, and check that all of it belongs to one step and to ``geometry``.

    Raises:
        RunError: the state is missing or damaged, mixes steps, or belongs to another geometry.
    """
    path = latest(folder)
    if path.is_dir():
        from .shards import read_generation

        prove(path, Processes.alone())
        tensors = read_generation(path, None, None)
    else:
        tensors = load_tensors(path)
    check_state(path, tensors, geometry)
    return tensors


def check_state(path: Path, tensors: Mapping[str, Tensor], geometry: Geometry) -> None:
    """Check that the ``tensors`` of the checkpoint ``path`` belong to one step and to ``geometry``.

    Raises:
        RunError: they do not.
    """
    if "step" not in tensors or "average.n_averaged" not in tensors:
        raise RunError(f"{path} holds no training state of efm_fast")
    _check_geometry(path, tensors, geometry)
    counts = [int(v) for k, v in tensors.items() if k.startswith("optimizer.") and k.endswith(".step")]
    steps = {int(tensors["step"]), int(tensors["average.n_averaged"]), max(counts, default=0)}
    if len(steps) > 1:
        raise RunError(f"{path} mixes the steps {', '.join(map(str, sorted(steps)))}; nothing was changed")


def averaged_weights(folder: Path, geometry: Geometry) -> tuple[dict[str, Tensor], int]:
    """The averaged weights of the run in ``folder`` and their step, from its state.

    If the folder holds exported weights and no state, those are read, with a warning.

    Raises:
        RunError: there is neither, or it is damaged.
    """
    state, exported = latest(folder), folder / WEIGHTS
    if state.exists() or not exported.exists():
        tensors = load_state(folder, geometry)
        step = int(tensors["step"])
        _tell_stale(exported, step)
        return under("average.module.", tensors), step
    weights, step = exported_weights(exported, geometry)
    warnings.warn(
        f"{folder} has no {STATE}: it samples with {WEIGHTS}, of step {step}, and cannot be resumed",
        stacklevel=3,
    )
    return weights, step


def exported_weights(
    path: Path, geometry: Geometry, beside: str = "geometry.json"
) -> tuple[dict[str, Tensor], int]:
    """The weights that ``Run.export`` wrote to ``path``, and their step.

    Args:
        path: path of the file.
        geometry: the geometry in the same folder.
        beside: name of the file that holds the geometry.

    Raises:
        RunError: the file is missing, damaged, something else, or belongs to another geometry.
    """
    weights = load_tensors(path)
    _check_geometry(path, weights, geometry, beside)
    weights.pop("geometry", None)
    if "step" not in weights:
        raise RunError(f"{path} holds no exported weights of efm_fast")
    return weights, int(weights.pop("step"))


def numbers(geometry: Geometry) -> Tensor:
    """All numbers of ``geometry`` in one row, float64, which are stored with the weights that were trained for it."""
    values = dataclasses.asdict(geometry).values()
    return torch.tensor(
        [x for v in values for x in (v if isinstance(v, tuple) else (v,))], dtype=torch.float64
    )


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _check_geometry(
    path: Path, tensors: Mapping[str, Tensor], geometry: Geometry, beside: str = "geometry.json"
) -> None:
    trained = tensors.get("geometry")  # version 0.1 did not keep it
    if trained is not None and not torch.equal(trained, numbers(geometry)):
        raise RunError(f"{path} was trained with other lengths than those of {beside}; nothing was changed")


def _tell_stale(exported: Path, step: int) -> None:
    """Warn if exported weights in the folder of a state of ``step`` belong to another step."""
    if not exported.exists():
        return
    try:
        with safe_open(exported, "pt") as file:
            other = f"of step {int(file.get_tensor('step'))}"
    except (SafetensorError, OSError):
        other = "damaged"
    if other != f"of step {step}":
        warnings.warn(
            f"{exported} is {other}; the state beside it, of step {step}, is what is used", stacklevel=4
        )
