"""Pictures of samples in the plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from .. import checks
from ..errors import InputError
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, Any]

# a panel with more dots than this is a blob
_MOST_DOTS = 4000


def plot_transport(
    samples: Tensor,
    target: Tensor,
    path: str | Path,
    *,
    inputs: Tensor | None = None,
    note: str = "",
    reverse: bool = False,
) -> Path:
    """Draw transported samples beside their target, on one scale.

    Args:
        samples: where the map took its inputs, [N, 2], data units.
        target: real samples, [M, 2].
        path: of the picture, .png, .pdf or .svg; replaced in one go.
        inputs: what the map started from, [N, 2]; drawn first.
        note: a line below the picture, such as the measured distance.
        reverse: the map went from Q to P, so the target is P.

    Returns:
        The path.

    Raises:
        InputError: other shapes, an empty target, or an unknown kind of picture.
    """
    real = plane("target", target)
    if len(real) == 0:
        raise InputError("target: expected at least one row, got none")
    moved = plane("samples", samples)
    plus, minus = ("P", style.PLUS), ("Q", style.MINUS)
    (start, start_colour), (goal, goal_colour) = (minus, plus) if reverse else (plus, minus)
    panels = [("transported", moved, style.INK), (f"target {goal}", real, goal_colour)]
    if inputs is not None:
        panels.insert(0, (f"source {start}", plane("inputs", inputs), start_colour))
    # the frame fits what is real: one stray sample must not shrink the picture to a dot
    frame = frame_of(real if inputs is None else np.concatenate([real, panels[0][1]]))
    width = 2.75 * len(panels)
    with style.canvas(width, 3.2 if note else 2.95, layout="constrained") as figure:
        for axes, (title, points, colour) in zip(
            np.ravel(figure.subplots(1, len(panels))), panels, strict=True
        ):
            if title == "transported":
                _dots(axes, real, style.FAINT)
            _dots(axes, points, colour)
            axes.set_title(title)
            _bare(axes, frame)
            outside = len(points) - int(_within(points, frame).sum())
            if outside:
                axes.text(
                    0.5,
                    0.01,
                    f"{outside} outside the frame",
                    transform=axes.transAxes,
                    ha="center",
                    va="bottom",
                    fontsize=7.5,
                    color=style.PLUS,
                )
        if note:
            figure.supxlabel(note, fontsize=8.5, color=style.MUTED)
        return style.save(figure, path)


def plane(name: str, value: Tensor) -> Array:
    """``value`` [N, 2] as float64 points."""
    return np.asarray(
        checks.tensor(name, value, ndim=2, columns=2).detach().to("cpu").double().numpy(), dtype=np.float64
    )


def frame_of(points: Array) -> tuple[float, float, float, float]:
    """Left, right, bottom, top of a square that holds all but the outermost points, with a margin."""
    low, high = np.nanquantile(points, 0.001, axis=0), np.nanquantile(points, 0.999, axis=0)
    centre, half = (low + high) / 2, max(float((high - low).max()) / 2 * 1.12, 1e-9)
    return centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half


def _within(points: Array, frame: tuple[float, float, float, float]) -> Array:
    left, right, bottom, top = frame
    x, y = points.T
    return np.asarray((left <= x) & (x <= right) & (bottom <= y) & (y <= top))


def _dots(axes: Axes, points: Array, colour: str) -> None:
    shown = points[:: max(1, len(points) // _MOST_DOTS)]
    size = float(np.clip(6000 / max(len(shown), 1), 1.2, 9.0))
    axes.scatter(shown[:, 0], shown[:, 1], s=size, color=colour, alpha=0.75, linewidths=0, rasterized=True)


def _bare(axes: Axes, frame: tuple[float, float, float, float]) -> None:
    axes.set(xlim=frame[:2], ylim=frame[2:], aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
