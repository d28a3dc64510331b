"""Pictures of a run and its samples: the plot that fits the data, and the files people look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .files import write_atomically
from .lines import Lines
from .plots import plot_field_lines_3d, plot_image_grid, plot_image_pairs, plot_transport
from .runs import Run
from .sampling import end_shape, ends_of, held_out, sample, starts
from .streams import Stream, step_generator

_PLANE = 2


def has_picture(run: Run, *, reverse: bool = False) -> bool:
    """Whether samples of the run can be drawn: points of the plane, and images of one or three channels."""
    shape = end_shape(run, reverse=reverse)
    return shape == (_PLANE,) or (len(shape) == 3 and shape[0] in (1, 3))


def plot_samples(run: Run, x0: Tensor, lines: Lines, path: Path, *, reverse: bool = False) -> Path:
    """Draw samples as fits the data: pairs or a grid of images, or points beside their target.

    Raises:
        InputError: data without a picture (see :func:`has_picture`).
    """
    source, goal = ends_of(run, reverse)
    ends, shape = torch.nan_to_num(lines.end.detach().cpu()).flatten(1), end_shape(run, reverse=reverse)
    if not has_picture(run, reverse=reverse):
        raise InputError(f"{path.name}: data of shape {shape} have no picture; write an .npz instead")
    if len(shape) == 3:
        # noise among latents has no picture beside the image that it becomes
        if x0.flatten(1).shape != ends.shape or source.labels("train") is None:
            return plot_image_grid(ends, shape, path)
        return plot_image_pairs(x0.cpu().flatten(1), ends, shape, path, reverse=reverse)
    target = goal.draw(len(ends), step_generator(0, 0, Stream.PICTURES), held_out(goal))
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


def plot_lines(run: Run, path: Path, n: int = 160, *, reverse: bool = False) -> Path:
    """Draw ``n`` learned field lines between the plates in 3-D; the data must lie in the plane."""
    x0 = starts(run, n, seed=0, reverse=reverse)
    kind = "full" if "full" in run.method.maps else None
    lines = sample(run, x0, map=kind, return_paths=True, reverse=reverse)
    plates = [
        s.draw(1000, step_generator(0, 1 + k, Stream.PICTURES)) for k, s in enumerate((run.plus, run.minus))
    ]
    assert lines.paths is not None
    return plot_field_lines_3d(lines.paths.cpu(), plates[0], plates[1], run.geometry.L, path)
