"""Field lines between the plates in space, still and moving (for D = 2, so that z is the third axis)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..extras import extra
from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

Array = np.ndarray[Any, Any]

# room shown around the plates, in plate widths sideways and in L behind each plate
_SIDEWAYS, _BEHIND = 1.5, 0.45
_MOST_CHARGES = 700
GIF_BYTES = 2_000_000


@dataclass(frozen=True)
class _Stage:
    """The box that is shown: plates of half width ``half`` about ``centre``, at z = 0 and z = L."""

    centre: Array
    half: float
    L: float

    def inside(self, points: Array) -> Array:
        """Which points [..., 3] lie in the box (NaN does not)."""
        sideways = np.abs(points[..., :2] - self.centre).max(-1) <= _SIDEWAYS * self.half
        z = points[..., 2]
        return np.asarray(sideways & (z >= -_BEHIND * self.L) & (z <= (1 + _BEHIND) * self.L))


def plot_field_lines_3d(
    paths: Tensor, plus: Tensor, minus: Tensor, L: float, path: str | Path, *, most: int = 160
) -> Path:
    """Draw field lines in space, from the positive plate on the left to the negative one on the right.

    Lines are cut where they leave the box around the plates; what travels far comes back into it.

    Args:
        paths: points (x, z) of N lines, [T, N, 3], NaN where a line has ended.
        plus: positive charges, [M, 2], on the plate z = 0.
        minus: negative charges, [M', 2], on the plate z = L.
        L: distance between the plates, data units.
        path: of the picture, .png, .pdf or .svg; replaced in one go.
        most: lines to draw, evenly picked from all.

    Returns:
        The path.

    Raises:
        InputError: other shapes, no charges, L not above 0, or an unknown kind of picture.
    """
    stage, lines, charges = _scene(paths, plus, minus, L, most)
    with style.canvas(7.6, 4.3) as figure:
        axes = _space(figure, stage, charges)
        _draw(axes, stage, lines, width=0.75, alpha=0.6)
        return style.save(figure, path)


def animate_lines(
    paths: Tensor,
    plus: Tensor,
    minus: Tensor,
    L: float,
    path: str | Path,
    *,
    most: int = 110,
    frames: int = 56,
    seconds: float = 4.5,
) -> Path:
    """Animate samples that travel along field lines from plate to plate, as a GIF under 2 MB.

    All lines take the same time, whatever their length; the part behind a traveller stays visible.

    Args:
        paths: points (x, z) of N lines, [T, N, 3], NaN where a line has ended.
        plus: positive charges, [M, 2], on the plate z = 0.
        minus: negative charges, [M', 2], on the plate z = L.
        L: distance between the plates, data units.
        path: of the .gif; replaced in one go.
        most: lines to draw, evenly picked from all.
        frames: pictures in the animation.
        seconds: duration, the pause at the end not counted.

    Returns:
        The path.

    Raises:
        InputError: other shapes, no charges, L not above 0, fewer than 2 frames, or a name without .gif.
    """
    if Path(path).suffix.lower() != ".gif":
        raise InputError(f"path: expected a name ending in .gif, got {str(path)!r}")
    if frames < 2 or not seconds > 0:
        raise InputError(f"frames, seconds: expected at least 2 and above 0, got {frames!r} and {seconds!r}")
    stage, lines, charges = _scene(paths, plus, minus, L, most)
    travelled = [_timed(line, frames) for line in lines]
    shots = []
    for k in range(frames):
        with style.canvas(7.2, 4.0) as figure:
            axes = _space(figure, stage, charges)
            _draw(
                axes,
                stage,
                [line[: cut[k] + 1] for line, cut in zip(lines, travelled, strict=True)],
                0.7,
                0.5,
            )
            heads = np.array([line[cut[k]] for line, cut in zip(lines, travelled, strict=True)])
            _heads(axes, stage, heads)
            shots.append(_shot(figure))
    return style.write(_gif(shots, seconds), path)


def _scene(
    paths: Tensor, plus: Tensor, minus: Tensor, L: float, most: int
) -> tuple[_Stage, list[Array], tuple[Array, Array]]:
    """Box, lines [T_k, 3] without padding, and the charges of both plates."""
    checks.tensor("paths", paths, ndim=3, columns=3)
    length = checks.positive("L", L)
    if most < 1:
        raise InputError(f"most: expected at least 1, got {most!r}")
    charges = [
        checks.finite(name, checks.tensor(name, value, ndim=2, columns=2)).detach().cpu().double().numpy()
        for name, value in (("plus", plus), ("minus", minus))
    ]
    if min(map(len, charges)) == 0:
        raise InputError(
            f"plus, minus: expected charges on both plates, got {len(charges[0])} and {len(charges[1])}"
        )
    every = np.concatenate(charges)
    low, high = np.quantile(every, 0.002, axis=0), np.quantile(every, 0.998, axis=0)
    stage = _Stage((low + high) / 2, max(float((high - low).max()) * 0.55, 1e-9), length)
    points = paths.detach().cpu().double().numpy()
    picked = np.unique(np.linspace(0, points.shape[1] - 1, min(most, points.shape[1])).astype(int))
    lines = [points[:, k][np.isfinite(points[:, k]).all(-1)] for k in picked]
    plus_shown, minus_shown = (c[:: max(1, len(c) // _MOST_CHARGES)] for c in charges)
    return stage, [line for line in lines if len(line) > 1], (plus_shown, minus_shown)


def _timed(line: Array, frames: int) -> Array:
    """Index of the last point reached in each frame, by arc length, slowly at both ends."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    # a far excursion counts with its logarithm, or its visible ends would pass in a single frame
    scale = max(float(np.median(steps)), 1e-12)
    clock = np.concatenate([[0], np.cumsum(np.log1p(steps / scale))])
    share = np.linspace(0, 1, frames)
    eased = share * share * (3 - 2 * share)
    return np.asarray(np.searchsorted(clock, eased * clock[-1] * (1 - 1e-12), side="left"))


def _space(figure: Figure, stage: _Stage, charges: tuple[Array, Array]) -> Any:
    """Axes of the box with both plates and their charges; the axes' own x is the capacitor's z."""
    with extra("train"):
        from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    axes: Any = figure.add_axes((-0.16, -0.30, 1.32, 1.60), projection="3d", computed_zorder=False)
    axes.set_axis_off()
    reach = _SIDEWAYS * stage.half
    (cx, cy), far = stage.centre, _BEHIND * stage.L
    axes.set(xlim=(-far, stage.L + far), ylim=(cx - reach, cx + reach), zlim=(cy - reach, cy + reach))
    axes.set_box_aspect((1.9, 1, 1))
    axes.view_init(elev=17, azim=-66)
    corners = stage.half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) + stage.centre
    for z, points, colour, sign in (
        (0.0, charges[0], style.PLUS, "+"),
        (stage.L, charges[1], style.MINUS, "\u2212"),
    ):
        order = 1 if z == 0 else 3
        sheet = np.column_stack([np.full(4, z), corners])
        axes.add_collection3d(
            Poly3DCollection(
                [sheet], facecolor=colour, edgecolor=colour, alpha=0.10, linewidth=0.8, zorder=order
            )
        )
        axes.scatter(
            np.full(len(points), z),
            points[:, 0],
            points[:, 1],
            s=2.6,
            color=colour,
            alpha=0.8,
            linewidths=0,
            depthshade=False,
            zorder=order + 1,
        )
        name = "P,  z = 0" if z == 0 else f"Q,  z = L = {stage.L:g}"
        axes.text(z, cx, cy + 1.16 * stage.half, f"{sign}  {name}", color=colour, ha="center", fontsize=9)
    return axes


def _draw(axes: Any, stage: _Stage, lines: Sequence[Array], width: float, alpha: float) -> None:
    """Lines as segments coloured by height, cut where they leave the box."""
    with extra("train"):
        from mpl_toolkits.mplot3d.art3d import Line3DCollection

    pieces = [_visible(line, stage) for line in lines if len(line) > 1]
    segments = np.concatenate(pieces) if pieces else np.zeros((0, 2, 3))
    if len(segments) == 0:
        return
    height = np.clip(segments[:, :, 2].mean(1) / stage.L, 0, 1)
    axes.add_collection3d(
        Line3DCollection(
            segments[:, :, [2, 0, 1]],
            colors=style.charge_map()(height),
            linewidths=width,
            alpha=alpha,
            zorder=2.5,
            capstyle="round",
        )
    )


def _visible(line: Array, stage: _Stage) -> Array:
    """Segments [K, 2, 3] with both ends in the box; a leap from outside to outside stays unseen."""
    inside = stage.inside(line)
    pairs = np.stack([line[:-1], line[1:]], 1)
    return np.asarray(pairs[inside[:-1] & inside[1:]])


def _heads(axes: Any, stage: _Stage, heads: Array) -> None:
    shown = heads[stage.inside(heads)]
    axes.scatter(
        shown[:, 2],
        shown[:, 0],
        shown[:, 1],
        s=11,
        color=style.charge_map()(np.clip(shown[:, 2] / stage.L, 0, 1)),
        edgecolors=style.PAPER,
        linewidths=0.4,
        depthshade=False,
        zorder=6,
    )


def _shot(figure: Figure) -> Image.Image:
    with extra("train"):
        from PIL import Image

    figure.set_dpi(100)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _gif(shots: Sequence[Image.Image], seconds: float) -> bytes:
    """Frames as one GIF, made smaller until it fits."""
    with extra("train"):
        from PIL import Image

    durations = [round(1000 * seconds / len(shots))] * len(shots)
    durations[-1] = 1600
    for scale in (1.0, 0.85, 0.7, 0.55, 0.4, 0.25):
        size = (round(shots[0].width * scale), round(shots[0].height * scale))
        sized = [shot if scale == 1 else shot.resize(size, Image.Resampling.LANCZOS) for shot in shots]
        palette = sized[-1].quantize(64)  # the last frame has every colour; one palette keeps the paper still
        indexed = [shot.quantize(palette=palette, dither=Image.Dither.NONE) for shot in sized]
        buffer = io.BytesIO()
        indexed[0].save(
            buffer,
            format="GIF",
            save_all=True,
            append_images=indexed[1:],
            duration=durations,
            loop=0,
            optimize=True,
        )
        if buffer.tell() < GIF_BYTES:
            break
    return buffer.getvalue()
