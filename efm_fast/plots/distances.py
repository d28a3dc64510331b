"""What the distance between the plates does to exact lines, as curves over L."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from . import style


def plot_distances(
    distances: Sequence[float], curves: Mapping[str, Sequence[float]], marked: float, path: str | Path
) -> Path:
    """Draw one panel per quantity over the distance between the plates.

    Args:
        distances: L, data units, above 0.
        curves: title of each panel and its values, one per distance; not-a-numbers are left out.
        marked: the distance to mark, data units.
        path: of the picture, .png, .pdf or .svg; replaced in one go.

    Returns:
        The path.

    Raises:
        InputError: nothing to draw, a curve of another length, or an unknown kind of picture.
    """
    if not distances or not curves:
        raise InputError("curves: expected at least one curve over at least one distance, got none")
    for title, values in curves.items():
        if len(values) != len(distances):
            raise InputError(f"curves: expected {len(distances)} values of {title!r}, got {len(values)}")
    with style.canvas(2.3 * len(curves), 2.3, layout="constrained") as figure:
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        for k, (axes, (title, values)) in enumerate(zip(panels, curves.items(), strict=True)):
            axes.axvline(marked, color=style.FAINT, linewidth=4)
            axes.plot(distances, values, marker="o", markersize=4, color=style.CURVES[k % len(style.CURVES)])
            axes.set(xscale="log", xlabel="L", ylim=(0, None))
            axes.set_title(title, loc="left")
        return style.save(figure, path)
