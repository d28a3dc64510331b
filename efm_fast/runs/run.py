"""A run: a trained model in a folder.

    config.yaml              every setting as resolved
    geometry.json            the lengths for which the network was built
    support.json             the discs that hold the charges, which the full map needs
    versions.json            versions of the programs that trained it
    state.safetensors        the checkpoint: network, average (what sampling uses), optimiser and step
    state-00002000/          the same in shards, while a sharded network is trained
    metrics.jsonl            one row per log step
    samples/                 pictures from training, and the files of `sample` and `evaluate`

The folder appears with its first checkpoint, and every file is written atomically. Nothing is pickled, so a run folder
from an untrusted place is safe to open.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__, checks
from ..config import Config
from ..data import Source
from ..data.autoencoder import Autoencoder
from ..errors import EfmError, InputError, RunError
from ..files import write_text
from ..lines import Support
from ..methods import LearnedField, Method, Problem, make_method
from ..nets import build_backbone
from ..sealed import save_tensors
from ..types import Geometry
from .checkpoint import averaged_weights, latest, numbers
from .measure import measure_support
from .sources import autoencoder_of, sources_if_there, with_data


@dataclass(frozen=True, repr=False)
class Run:
    """A trained model, or one in training, and its folder.

    Attributes:
        folder: the run folder.
        config: its settings.
        geometry: its lengths, data units.
        method: the method by which it was trained and by which its samples travel.
        field: the learned field with averaged weights, in evaluation mode, on the run's device.
        plus: source of the data on the plate z = 0.
        minus: source of the data on the plate z = L.
        step: number of optimiser steps of the weights.
        support: discs that hold the charges of both plates.
        autoencoder: the autoencoder between images and latents if the field is one of latents; otherwise None.
    """

    folder: Path
    config: Config
    geometry: Geometry
    method: Method
    field: LearnedField
    plus: Source
    minus: Source
    step: int
    support: Support
    autoencoder: Autoencoder | None = None

    @property
    def device(self) -> torch.device:
        """The device of the field's weights."""
        return next(self.field.parameters()).device

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.config.name}, step {self.step}, on {self.device})"

    def _repr_html_(self) -> str:
        from ..plots.notebook import card, file_png

        made = [*self.folder.glob("samples/*.png"), *self.folder.glob("curves.png")]
        latest = max(
            made, key=lambda path: (path.parent.name == "samples", path.stat().st_mtime), default=None
        )
        weights = sum(p.numel() for p in self.field.parameters())
        numbers = {
            "folder": self.folder,
            "step": f"{self.step} of {self.config.train.steps}",
            "data": f"{self.config.plus.get('name')} to {self.config.minus.get('name')}, {list(self.geometry.shape)}",
            "L": f"{self.geometry.L:.4g} ({self.geometry.L / self.geometry.s:.3g} s)",
            "method": self.config.method.name,
            "network": f"{self.config.net.model_dump()['backbone']}, {weights} weights",
            "device": self.device,
        }
        return card(f"Run {self.config.name}", numbers, None if latest is None else file_png(latest))

    def export(self, path: str | Path) -> Path:
        """Write only the averaged weights, a quarter of the state, for other programs or for sampling elsewhere.

        ``load`` opens a folder with them as ``weights.safetensors`` and copies of config.yaml and geometry.json.

        Args:
            path: path of the file, ending in .safetensors; it is replaced atomically.

        Returns:
            The path.

        Raises:
            InputError: the suffix is another one.
            RunError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise InputError(f"path: expected a name ending in .safetensors, got {str(path)!r}")
        tensors = {"step": torch.tensor(self.step), "geometry": numbers(self.geometry)}
        save_tensors(path, "weights", tensors | self.field.state_dict())
        return path

    def save_pretrained(self, folder: str | Path, *, license: str | None = None) -> Path:
        """Write the run as a folder for the Hugging Face hub, see :func:`efm_fast.hub.save_pretrained`."""
        from ..hub import save_pretrained

        return save_pretrained(self, folder, license=license)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the run to the Hugging Face hub, see :func:`efm_fast.hub.push_to_hub`."""
        from ..hub import push_to_hub

        return push_to_hub(self, repo_id, **options)


def resolve_device(name: str) -> torch.device:
    """The torch device called ``name``; "auto" is a CUDA device if there is one, otherwise the CPU.

    Raises:
        InputError: ``name`` is not a device, or there is no such device.
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


def free_folder(config: Config) -> Path:
    """The path of the folder of a new run.

    Raises:
        RunError: it already exists, or one of its parents is not a folder.
    """
    folder = Path(config.runs) / config.name
    if os.path.lexists(folder):
        advice = f"continue it with `efm-fast resume {folder}`" if latest(folder).exists() else "remove it"
        raise RunError(f"run folder {folder} is already there: {advice}, or choose another name=...")
    there = next(parent for parent in folder.parents if os.path.lexists(parent))
    if not there.is_dir():
        kind = "a link that leads nowhere" if there.is_symlink() else "not a folder"
        raise RunError(f"cannot make the run folder {folder}: {there} is {kind}")
    return folder


def description(config: Config, geometry: Geometry, support: Support) -> dict[str, str]:
    """The texts of a run's files: settings, lengths, support, and versions of programs.

    Raises:
        InputError: a setting of a source cannot be written.
    """
    versions = {
        "efm_fast": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cuda": torch.version.cuda,
    }
    return {
        "config.yaml": config.to_yaml(),
        "geometry.json": json.dumps(dataclasses.asdict(geometry), indent=1),
        "support.json": json.dumps(support_numbers(support)),
        "versions.json": json.dumps(versions, indent=1),
    }


def support_numbers(support: Support) -> dict[str, Any]:
    """``support`` as plain data."""
    centers = {"plus_center": support.plus_center.tolist(), "minus_center": support.minus_center.tolist()}
    return {**vars(support), **centers}


def support_from(raw: dict[str, Any]) -> Support:
    """The support of its :func:`support_numbers`. Raises ValueError, TypeError or KeyError if they are wrong."""
    centers = {key: torch.tensor(raw[key], dtype=torch.float64) for key in ("plus_center", "minus_center")}
    return Support(**{**raw, **centers})


def write_description(folder: Path, files: dict[str, str]) -> None:
    """Write the files of :func:`description` into the run folder."""
    for name, text in files.items():
        write_text(folder / name, text)


def read_description(folder: Path) -> tuple[Config, Geometry]:
    """Read the settings and lengths of the run in ``folder``.

    Raises:
        RunError: not a run folder.
    """
    # os.path, because pathlib raises if a name is too long
    if not all(os.path.isfile(folder / name) for name in ("config.yaml", "geometry.json")):  # noqa: PTH113
        raise RunError(
            f"{checks.place(folder)} is not a run folder: expected config.yaml and geometry.json in it"
        )
    try:
        config = Config.read(folder / "config.yaml")
        raw = json.loads((folder / "geometry.json").read_text(encoding="utf-8"))
        return config, geometry_from(raw, "geometry.json")
    except (EfmError, OSError, ValueError, TypeError, KeyError) as problem:
        raise RunError(f"{folder} does not describe a run of this version: {problem}") from None
    except RecursionError:
        raise RunError(
            f"{folder} does not describe a run: config.yaml or geometry.json is nested too deep"
        ) from None


def geometry_from(raw: dict[str, Any], file: str) -> Geometry:
    """The geometry that ``file`` holds as plain data, checked.

    Raises:
        ValueError, TypeError, KeyError: a number is missing, superfluous or impossible.
    """
    geometry = Geometry(**{**raw, "shape": tuple(raw["shape"]), "centre": tuple(raw["centre"])})
    sizes, lengths = geometry.shape, dataclasses.asdict(geometry)
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"{file}: shape: expected sizes above 0, got {sizes}")
    if len(geometry.centre) != math.prod(sizes):
        raise ValueError(f"{file}: centre: expected {math.prod(sizes)} numbers, got {len(geometry.centre)}")
    for name, value in lengths.items():
        row = value if isinstance(value, tuple) else (value,)
        if not all(type(number) in (int, float) and math.isfinite(number) for number in row):
            raise ValueError(f"{file}: {name}: expected finite numbers, got {checks.describe(value)}")
    for name in ("L", "s", "nearest", "scale"):
        if not lengths[name] > 0:
            raise ValueError(
                f"{file}: {name}: expected a number above 0, got {checks.describe(lengths[name])}"
            )
    return geometry


def read_support(folder: Path, config: Config, plus: Source, minus: Source) -> Support:
    """Read the support of the run in ``folder``, or measure it if an earlier version wrote none.

    Raises:
        RunError: the file is damaged, or there is neither the file nor the data.
    """
    path = folder / "support.json"
    if not path.is_file():
        return measure_support(config, plus, minus)
    try:
        return support_from(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as problem:
        raise RunError(f"{path} does not hold the support of a run: {problem}") from None


def untrained(config: Config, method: Method) -> LearnedField:
    """The field of ``method`` with the untrained network of ``config``, on the CPU.

    Raises:
        InputError: the network cannot serve the data's shape, or needs a library that is not installed.
    """
    groups = method.parametrisation.groups
    return method.field(build_backbone(config.net, method.problem.geometry, groups))


def fill(field: LearnedField, weights: dict[str, Tensor], origin: Path) -> None:
    """Load ``weights`` into ``field``.

    Raises:
        RunError: the weights belong to another network.
    """
    try:
        field.load_state_dict(weights)
    except RuntimeError as problem:
        detail = " ".join(str(problem).split())[:200]
        raise RunError(f"{origin} does not fit the network of its config.yaml: {detail}") from None


def load(folder: str | Path, *, plus: object = None, minus: object = None, device: str = "auto") -> Run:
    """Open a run folder for sampling.

    Sampling from starts ``x0`` needs no data. If data are needed and missing, the error says which.

    Args:
        folder: a folder that ``train`` or ``save_pretrained`` wrote.
        plus: the same data on the plate z = 0, if they were in memory in training.
        minus: the same data on the plate z = L, if they were in memory in training.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The run, with its averaged weights.

    Raises:
        RunError: there is no run, or its checkpoint is damaged, belongs to another run, or mixes steps.
        InputError: there is no such device, the data are not those of the run, or its autoencoder is missing or has
            changed.
    """
    folder = checks.folder("folder", folder)
    # os.path returns False where pathlib raises, such as for a name that is too long
    if os.path.isfile(folder / "config.json") and not os.path.exists(folder / "config.yaml"):  # noqa: PTH110, PTH113
        from ..hub import from_pretrained

        return from_pretrained(folder, plus=plus, minus=minus, device=device)
    where = resolve_device(device)
    config, geometry = read_description(folder)
    weights, step = averaged_weights(folder, geometry)
    config = with_data(folder, config, plus, minus)
    autoencoder = autoencoder_of(config, str(where))
    sources = sources_if_there(folder, config, geometry, "load", autoencoder)
    method = make_method(config.method, Problem(geometry, *sources, config.seed))
    field = untrained(config, method)
    fill(field, weights, folder)
    field = field.to(where).eval()
    support = read_support(folder, config, *sources)
    return Run(folder, config, geometry, method, field, *sources, step, support, autoencoder)
