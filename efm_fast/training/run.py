"""A run: its folder, its settings, its learned field.

    config.yaml              every setting as resolved
    geometry.json            the lengths the network was built for
    versions.json            what it ran on
    state.safetensors        the checkpoint: network, average (what sampling uses), optimiser and step
    metrics.jsonl            one row per log step
    samples/                 pictures while training, and what `sample` and `evaluate` write

The folder appears with its first checkpoint, and every file is written atomically. Nothing is pickled, so a run
folder from anywhere is safe to open.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import __version__
from ..config import Config
from ..data import Source, make_source
from ..errors import EfmError, InputError, RunError
from ..files import write_text
from ..nets import Geometry, LearnedField, build_field
from .checkpoint import STATE, averaged_weights, numbers, save_tensors


@dataclass(frozen=True)
class Run:
    """A trained, or still training, model and where it lives.

    Attributes:
        folder: the run folder.
        config: its settings.
        geometry: its lengths, data units.
        field: the learned field with averaged weights, in evaluation mode, on the run's device.
        plus: source of the data on the plate z = 0.
        minus: source of the data on the plate z = L.
        step: optimiser steps the weights have seen.
    """

    folder: Path
    config: Config
    geometry: Geometry
    field: LearnedField
    plus: Source
    minus: Source
    step: int

    @property
    def device(self) -> torch.device:
        """Where the field's weights live."""
        return next(self.field.parameters()).device

    def export(self, path: str | Path) -> Path:
        """Write the averaged weights alone, a quarter of the state, for other programs or for sampling elsewhere.

        As ``weights.safetensors`` beside copies of config.yaml and geometry.json they can be opened with ``load``.

        Args:
            path: of the file, ending in .safetensors; replaced in one go.

        Returns:
            The path.

        Raises:
            InputError: another suffix.
            RunError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise InputError(f"path: expected a name ending in .safetensors, got {str(path)!r}")
        tensors = {"step": torch.tensor(self.step), "geometry": numbers(self.geometry)}
        save_tensors(path, "weights", tensors | self.field.state_dict())
        return path


def resolve_device(name: str) -> torch.device:
    """The torch device that ``name`` means: "auto" is CUDA where there is one, else the CPU.

    Raises:
        InputError: not a device, or one that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device: {name!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices;"
            " use device=cpu or device=auto"
        )
    return device


def free_folder(config: Config) -> Path:
    """Where the folder of a new run is to be made.

    Raises:
        RunError: it is already there, or something that is no folder stands in the way.
    """
    folder = Path(config.runs) / config.name
    if os.path.lexists(folder):
        advice = f"continue it with `efm-fast resume {folder}`" if (folder / STATE).exists() else "remove it"
        raise RunError(f"run folder {folder} is already there: {advice}, or choose another name=...")
    there = next(parent for parent in folder.parents if os.path.lexists(parent))
    if not there.is_dir():
        kind = "a link that leads nowhere" if there.is_symlink() else "not a folder"
        raise RunError(f"cannot make the run folder {folder}: {there} is {kind}")
    return folder


def write_description(folder: Path, config: Config, geometry: Geometry) -> None:
    """Write what a run is: its settings, its lengths and the versions it runs on."""
    versions = {
        "efm_fast": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cuda": torch.version.cuda,
    }
    write_text(folder / "config.yaml", config.to_yaml())
    write_text(folder / "geometry.json", json.dumps(dataclasses.asdict(geometry), indent=1))
    write_text(folder / "versions.json", json.dumps(versions, indent=1))


def read_description(folder: Path) -> tuple[Config, Geometry]:
    """Read the settings and lengths of the run in ``folder``.

    Raises:
        RunError: not a run folder.
    """
    if not (folder / "config.yaml").is_file() or not (folder / "geometry.json").is_file():
        raise RunError(f"{folder} is not a run folder: expected config.yaml and geometry.json in it")
    try:
        config = Config.load(folder / "config.yaml")
        raw = json.loads((folder / "geometry.json").read_text(encoding="utf-8"))
        raw["shape"], raw["centre"] = tuple(raw["shape"]), tuple(raw["centre"])
        return config, _checked(Geometry(**raw))
    except (EfmError, OSError, ValueError, TypeError, KeyError) as problem:
        raise RunError(f"{folder} does not describe a run of this version: {problem}") from None
    except RecursionError:
        raise RunError(
            f"{folder} does not describe a run: config.yaml or geometry.json is nested too deep"
        ) from None


def _checked(geometry: Geometry) -> Geometry:
    """``geometry`` if it is made of numbers that a measurement could have given, else ValueError."""
    sizes, lengths = geometry.shape, dataclasses.asdict(geometry)
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"geometry.json: shape: expected sizes above 0, got {sizes}")
    if len(geometry.centre) != math.prod(sizes):
        raise ValueError(
            f"geometry.json: centre: expected {math.prod(sizes)} numbers, got {len(geometry.centre)}"
        )
    for name, value in lengths.items():
        row = value if isinstance(value, tuple) else (value,)
        if not all(type(number) in (int, float) and math.isfinite(number) for number in row):
            raise ValueError(f"geometry.json: {name}: expected finite numbers, got {value!r}")
    for name in ("L", "s", "nearest", "scale"):
        if not lengths[name] > 0:
            raise ValueError(f"geometry.json: {name}: expected a number above 0, got {lengths[name]!r}")
    return geometry


def fill(field: LearnedField, weights: dict[str, Tensor], origin: Path) -> None:
    """Load ``weights`` into ``field``.

    Raises:
        RunError: they belong to another network.
    """
    try:
        field.load_state_dict(weights)
    except RuntimeError as problem:
        detail = " ".join(str(problem).split())[:200]
        raise RunError(f"{origin} does not fit the network of its config.yaml: {detail}") from None


def load(folder: str | Path, *, device: str = "auto") -> Run:
    """Open a run folder for sampling.

    Args:
        folder: what ``train`` wrote.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The run, with its averaged weights.

    Raises:
        RunError: no run there, or its checkpoint is damaged, foreign or not of one step.
        InputError: the device, or the run's data set, is not there.
    """
    folder = Path(folder)
    where = resolve_device(device)
    config, geometry = read_description(folder)
    weights, step = averaged_weights(folder, geometry)
    field = build_field(config, geometry)
    fill(field, weights, folder)
    field = field.to(where).eval()
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    return Run(folder, config, geometry, field, plus, minus, step)
