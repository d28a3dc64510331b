"""The runs of a folder, and the lines of one: learned ones beside exact ones from the same starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import checks
from ..errors import EfmError, InputError
from ..evaluation import exact_map
from ..lines import Lines
from ..runs import Run, load
from ..runs.run import read_description
from ..sampling import sample, starts
from ..streams import Stream, step_generator
from .scenes import scene, without_repeats

#: Lines and charges per plate that are drawn of a run.
LINES, _CHARGES = 90, 1000


@dataclass(frozen=True)
class Gallery:
    """A folder of runs; what is outside it is out of reach, by links too.

    Attributes:
        folder: where run folders lie.
    """

    folder: Path

    def names(self) -> list[str]:
        """Names of the run folders, the newest first."""
        if not self.folder.is_dir():
            return []
        root = self.folder.resolve()
        found = [path for path in self.folder.iterdir() if (path / "config.yaml").is_file()]
        inside = [path for path in found if path.resolve().parent == root]
        return [path.name for path in sorted(inside, key=lambda path: -path.stat().st_mtime)]

    def rows(self) -> list[dict[str, str]]:
        """Name and description of each run, the newest first; a run that cannot be read has its error there."""
        rows = []
        for name in self.names():
            try:
                told = read_description(self.folder / name)[0].description
            except EfmError as problem:
                told = str(problem)
            rows.append({"name": name, "description": told})
        return rows

    def path(self, name: str) -> Path:
        """The folder of the run ``name``.

        Raises:
            InputError: no run of the folder has that name.
        """
        return self.folder / checks.choice("run", name, self.names())


def run_scene(folder: Path) -> bytes:
    """Charges of a run with its learned lines, and exact ones from the same starts where its method has a field.

    Returns:
        A frame with ``plus``, ``minus`` [M, D], ``learned`` and ``exact`` [K, D+1] and, for each of the two, the points
        of each line as the facts ``learned_counts`` and ``exact_counts``.

    Raises:
        RunError: no run, or a damaged one, or its data are not there.
        InputError: its data have more features than can be drawn.
    """
    run = load(folder, device="cpu")
    shape = run.geometry.shape
    if shape not in ((1,), (2,)):
        raise InputError(
            f"{folder.name}: its data have the shape {list(shape)}; lines are drawn for 1 or 2 features"
        )
    return scene_of(run)


def scene_of(run: Run) -> bytes:
    """The frame of :func:`run_scene` for a run that is loaded, of 1 or 2 features."""
    learned, exact = _both(run)
    plates = [
        source.draw(_CHARGES, step_generator(0, 1 + k, Stream.PICTURES)).numpy()
        for k, source in enumerate((run.plus, run.minus))
    ]
    facts: dict[str, Any] = {"run": run.folder.name, "note": _compared(learned, exact)}
    arrays = {}
    for name, lines in (("learned", learned), ("exact", exact)):
        if lines is not None:
            arrays[name], facts[f"{name}_counts"] = without_repeats(lines)
    return scene(run.config.name, *plates, L=run.geometry.L, charges=_CHARGES, more=arrays, **facts)


def _both(run: Run) -> tuple[Lines, Lines | None]:
    """Learned lines, and exact ones from the same starts with the same random decisions."""
    x0 = starts(run, LINES, seed=0)
    kind = "full" if "full" in run.method.maps else None
    learned = sample(run, x0, map=kind, return_paths=True)
    return learned, exact_map(run, x0, return_paths=True)


def _compared(learned: Lines, exact: Lines | None) -> str:
    """How far the ends of both lie apart, in a sentence."""
    if exact is None:
        return "This method learns no field of charges, so there are no exact lines beside its own."
    both = learned.arrived & exact.arrived
    if not both.any():
        return "No line arrived both on the learned field and on the exact one."
    apart = (learned.end - exact.end).norm(dim=1)[both]
    return (
        f"Of {len(both)} lines from the same starts, {int(both.sum())} arrive on both fields; "
        f"half of their ends lie within {float(torch.quantile(apart, 0.5)):.2g} of each other, "
        f"nine of ten within {float(torch.quantile(apart, 0.9)):.2g}."
    )
