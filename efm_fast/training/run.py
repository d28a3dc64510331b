"""A run: its folder, its settings, its learned field.

    config.yaml              every setting as resolved
    geometry.json            the lengths the network was built for
    versions.json            what it ran on
    weights.safetensors      averaged (EMA) weights, what sampling uses
    state.safetensors        network, average, optimiser and step: all that resume needs
    metrics.jsonl            one row per log step
    samples/                 pictures while training, and what `sample` and `evaluate` write

Every file is written atomically. Nothing is pickled, so a run folder from anywhere is safe to open.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .. import __version__, checks
from ..config import Config
from ..data import Source, make_source
from ..errors import EfmError, InputError, RunError
from ..nets import Geometry, LearnedField, build_field
from .files import write_atomically, write_text


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.config.name}, step {self.step}, on {self.device})"

    def _repr_html_(self) -> str:
        from ..plots.notebook import card, file_png

        made = [*self.folder.glob("samples/*.png"), *self.folder.glob("curves.png")]
        latest = max(
            made, key=lambda path: (path.parent.name == "samples", path.stat().st_mtime), default=None
        )
        numbers = {
            "folder": self.folder,
            "step": f"{self.step} of {self.config.train.steps}",
            "data": f"{_named(self.config.plus)} to {_named(self.config.minus)}, {list(self.geometry.shape)}",
            "L": f"{self.geometry.L:.4g} ({self.geometry.L / self.geometry.s:.3g} s)",
            "network": f"{self.config.net.backbone}, {sum(p.numel() for p in self.field.parameters())} weights",
            "device": self.device,
        }
        return card(f"Run {self.config.name}", numbers, None if latest is None else file_png(latest))

    def export(self, path: str | Path) -> Path:
        """Write the averaged weights alone, for other programs.

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
        tensors = {"step": torch.tensor(self.step)} | self.field.state_dict()
        save_tensors(path, tensors, {"format": "efm_fast.weights"})
        return path


def _named(data: object) -> str:
    return str(data.get("name", "data")) if isinstance(data, Mapping) else type(data).__name__


def resolve_device(name: str) -> torch.device:
    """The torch device that ``name`` means: "auto" is CUDA where there is one, else the CPU.

    Raises:
        InputError: not a device, or one that is not there.
    """
    checks.instance("device", name, str, "auto, cpu, cuda or cuda:N")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device: expected auto, cpu, cuda or cuda:N, got {checks.describe(name)}") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device: {name!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices;"
            " use device=cpu or device=auto"
        )
    return device


def new_folder(config: Config) -> Path:
    """Make the folder of a new run.

    Raises:
        RunError: it is already there, or cannot be made.
    """
    folder = Path(config.runs) / config.name
    try:
        folder.mkdir(parents=True)
        (folder / "samples").mkdir()
    except FileExistsError:
        raise RunError(
            f"run folder {folder} is already there: continue it with `efm-fast resume {folder}`,"
            " or choose another name=..."
        ) from None
    except OSError as problem:
        raise RunError(f"cannot make the run folder {folder}: {problem.strerror}") from None
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


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write named tensors as safetensors, atomically."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_atomically(path, lambda temporary: save_file(plain, temporary, metadata))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        RunError: the file is missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise RunError(f"no checkpoint at {path}") from None
    except (SafetensorError, OSError) as problem:
        raise RunError(f"{path} is not a whole safetensors file ({problem}); nothing was changed") from None


def read_description(folder: Path) -> tuple[Config, Geometry]:
    """Read the settings and lengths of the run in ``folder``.

    Raises:
        RunError: not a run folder.
    """
    # os.path, for pathlib raises where a name is too long
    if not all(os.path.isfile(folder / name) for name in ("config.yaml", "geometry.json")):  # noqa: PTH113
        raise RunError(
            f"{checks.place(folder)} is not a run folder: expected config.yaml and geometry.json in it"
        )
    try:
        config = Config.load(folder / "config.yaml")
        raw = json.loads((folder / "geometry.json").read_text(encoding="utf-8"))
        raw["shape"], raw["centre"] = tuple(raw["shape"]), tuple(raw["centre"])
        return config, Geometry(**raw)
    except (EfmError, ValueError, TypeError, KeyError) as problem:
        raise RunError(f"{folder} does not describe a run of this version: {problem}") from None


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
        RunError: no run there, or a truncated or foreign checkpoint.
        InputError: the device, or the run's data set, is not there.
    """
    folder = checks.folder("folder", folder)
    where = resolve_device(device)
    config, geometry = read_description(folder)
    weights = load_tensors(folder / "weights.safetensors")
    step = int(weights.pop("step", torch.tensor(0)))
    field = build_field(config, geometry)
    fill(field, weights, folder / "weights.safetensors")
    field = field.to(where).eval()
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    return Run(folder, config, geometry, field, plus, minus, step)
