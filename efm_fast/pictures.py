"""Pictures and tables of a run: the plot that fits its data, and the files people look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .data import step_generator
from .errors import InputError
from .evaluation import Evaluation
from .files import write_atomically, write_text
from .lines import Lines
from .plots import plot_field_lines_3d, plot_image_grid, plot_image_pairs, plot_transport
from .sampling import ends_of, held_out, sample, starts
from .training.run import Run

_STREAM = 400  # apart from the streams of training, sampling and measuring
_PLANE = 2


def has_picture(run: Run) -> bool:
    """Whether samples of the run can be drawn: points of the plane, and images of one or three channels."""
    shape = run.geometry.shape
    return shape == (_PLANE,) or (len(shape) == 3 and shape[0] in (1, 3))


def plot_samples(run: Run, x0: Tensor, lines: Lines, path: Path, *, reverse: bool = False) -> Path:
    """Draw samples as fits the data: pairs or a grid of images, or points beside their target.

    Raises:
        InputError: data without a picture (see :func:`has_picture`).
    """
    source, goal = ends_of(run, reverse)
    ends, shape = torch.nan_to_num(lines.end.detach().cpu()).flatten(1), run.geometry.shape
    if not has_picture(run):
        raise InputError(f"{path.name}: data of shape {shape} have no picture; write an .npz instead")
    if len(shape) == 3:
        if source.labels("train") is None:
            return plot_image_grid(ends, shape, path)
        return plot_image_pairs(x0.cpu().flatten(1), ends, shape, path, reverse=reverse)
    target = goal.draw(len(ends), step_generator(0, 0, _STREAM), held_out(goal))
    return plot_transport(ends, target, path, reverse=reverse)


def save_samples(run: Run, x0: Tensor, lines: Lines, path: Path, *, reverse: bool = False) -> Path:
    """Write samples to ``path``: a .png picture, or an .npz with inputs, outputs, status and evaluations.

    Raises:
        InputError: another suffix, or data without a picture.
        RunError: the file cannot be written.
    """
    if path.suffix == ".png":
        return plot_samples(run, x0, lines, path, reverse=reverse)
    if path.suffix != ".npz":
        raise InputError(f"out: expected a .png or an .npz file, got {str(path)!r}")
    arrays = {
        "inputs": x0,
        "outputs": lines.end,
        "status": lines.status,
        "evaluations": lines.evaluations,
    }

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{k: v.cpu().numpy() for k, v in arrays.items()})

    write_atomically(path, write)
    return path


def write_evaluation(run: Run, result: Evaluation) -> list[Path]:
    """Write evaluation.json and the pictures of a run into its folder; returns their paths.

    Those of the maps from Q to P have names of their own. There is no picture of lines of which none arrived.
    """
    way = "_reverse" if result.reverse else ""
    table, samples = run.folder / f"evaluation{way}.json", run.folder / "samples"
    write_text(table, json.dumps(result.as_dict(), indent=1))
    paths = [table]
    if result.maps[0].problem:
        return paths
    if has_picture(run):
        picture = samples / f"evaluation{way}.png"
        paths.append(plot_samples(run, result.inputs, result.lines, picture, reverse=result.reverse))
    if run.geometry.shape == (_PLANE,):
        paths.append(plot_lines(run, samples / f"field_lines{way}.png", reverse=result.reverse))
    return paths


def plot_lines(run: Run, path: Path, n: int = 160, *, reverse: bool = False) -> Path:
    """Draw ``n`` learned field lines between the plates in 3-D; the data must lie in the plane."""
    x0 = starts(run, n, seed=0, reverse=reverse)
    lines = sample(run, x0, map="full", return_paths=True, reverse=reverse)
    plates = [s.draw(1000, step_generator(0, 1 + k, _STREAM)) for k, s in enumerate((run.plus, run.minus))]
    assert lines.paths is not None
    return plot_field_lines_3d(lines.paths.cpu(), plates[0], plates[1], run.geometry.L, path)
