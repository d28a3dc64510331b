"""Curves of a run's metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray[Any, Any]


def plot_curves(
    metrics_rows: Iterable[Mapping[str, Any]], path: str | Path, *, keys: Sequence[str] | None = None
) -> Path:
    """Draw each metric of a run over the training steps, in a panel of its own.

    Dense curves are drawn faintly, with their running mean on top; positive ones that span more than a factor
    of thirty get a logarithmic axis.

    Args:
        metrics_rows: rows with a ``step`` and any numbers, such as the lines of a metrics file; rows need not
            all have the same keys, and values that are no finite numbers are left out.
        path: of the picture, .png, .pdf or .svg; replaced in one go.
        keys: metrics to draw, in this order; all that occur by default.

    Returns:
        The path.

    Raises:
        InputError: no row has a step and one of the metrics, or an unknown kind of picture.
    """
    curves = curves_of(metrics_rows)
    wanted = [key for key in (curves if keys is None else keys) if key in curves]
    if not wanted:
        asked = "numbers" if keys is None else ", ".join(keys)
        raise InputError(f"metrics_rows: expected rows with a step and {asked}, got none")
    columns = min(3, len(wanted))
    rows = math.ceil(len(wanted) / columns)
    with style.canvas(3.1 * columns, 2.1 * rows + 0.15, layout="constrained") as figure:
        panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
        for k, axes in enumerate(panels):
            if k >= len(wanted):
                axes.set_axis_off()
                continue
            _curve(axes, *curves[wanted[k]], style.CURVES[k % len(style.CURVES)])
            axes.set_title(wanted[k].replace("_", " "), loc="left")
            if k + columns >= len(wanted):
                axes.set_xlabel("step")
        return style.save(figure, path)


def curves_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Array, Array]]:
    """Steps and values of each metric in ``rows``, in step order; what is no finite number is left out."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        step = row.get("step")
        if not _is_number(step):
            continue
        for key, value in row.items():
            if key != "step" and _is_number(value):
                found.setdefault(key, []).append((float(step), float(value)))  # type: ignore[arg-type]
    sorted_pairs = {key: np.array(sorted(pairs)) for key, pairs in found.items()}
    return {key: (pairs[:, 0], pairs[:, 1]) for key, pairs in sorted_pairs.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value))


def _curve(axes: Axes, step: Array, value: Array, colour: str) -> None:
    dense = len(step) > 60
    if dense:
        axes.plot(step, value, color=colour, alpha=0.25, linewidth=0.7)
        axes.plot(step, running_mean(value, max(3, len(step) // 40)), color=colour, linewidth=1.6)
    else:
        marker = "o" if len(step) < 25 else None
        axes.plot(step, value, color=colour, linewidth=1.6, marker=marker, markersize=3.2)
    if is_logarithmic(value):
        axes.set_yscale("log")
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.02)
    axes.tick_params(length=0)
    axes.tick_params(which="minor", length=0)
    axes.annotate(
        f"{value[-1]:.3g}",
        (1, 1),
        xycoords="axes fraction",
        ha="right",
        va="bottom",
        fontsize=9,
        color=colour,
        xytext=(0, 4),
        textcoords="offset points",
    )


def is_logarithmic(value: Array) -> bool:
    """Whether a curve is drawn on a logarithmic axis: positive, over more than a factor of thirty."""
    return bool(value.min() > 0 and value.max() > 30 * value.min())


def running_mean(value: Array, width: int) -> Array:
    """Mean over ``width`` neighbours, over those that exist near the ends."""
    kernel = np.ones(width)
    return np.asarray(np.convolve(value, kernel, "same") / np.convolve(np.ones_like(value), kernel, "same"))
