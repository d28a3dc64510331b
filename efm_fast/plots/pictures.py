"""Contact sheets: images in a grid, and images beside what they were turned into."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..data.tools import to_images
from ..errors import InputError
from ..extras import extra
from . import style

Array = np.ndarray[Any, Any]

# small images are enlarged, pixel by pixel, to about this side
_SIDE = 64
_GAP = 6
_PAPER = 255


def plot_image_grid(x: Tensor, shape: Sequence[int], path: str | Path, *, columns: int | None = None) -> Path:
    """Lay images out in a grid.

    Args:
        x: rows with values in [-1, 1], [N, D]; clipped outside.
        shape: (C, H, W), C 1 or 3.
        path: of the PNG; replaced in one go.
        columns: images per row; about a square by default.

    Returns:
        The path.

    Raises:
        InputError: no images, a shape that does not fit, or another kind of picture.
    """
    return _save(image_sheet(x, shape, columns=columns), path)


def image_sheet(x: Tensor, shape: Sequence[int], *, columns: int | None = None) -> Array:
    """The pixels of :func:`plot_image_grid`, [H', W', 3] bytes."""
    tiles = _tiles("x", x, shape)
    across = math.ceil(math.sqrt(len(tiles))) if columns is None else _whole("columns", columns)
    rows = [_row(tiles[k : k + across], across) for k in range(0, len(tiles), across)]
    return _stack(rows, _GAP)


def plot_image_pairs(
    inputs: Tensor,
    outputs: Tensor,
    shape: Sequence[int],
    path: str | Path,
    *,
    columns: int = 12,
    reverse: bool = False,
) -> Path:
    """Lay images out above what they were turned into, marked with a red bar and a blue one.

    Args:
        inputs: rows with values in [-1, 1], [N, D]; clipped outside.
        outputs: the same rows after the map, [N, D].
        shape: (C, H, W), C 1 or 3.
        path: of the PNG; replaced in one go.
        columns: pairs per row.
        reverse: the map went from Q to P, so the blue bar comes first.

    Returns:
        The path.

    Raises:
        InputError: no images, different numbers of rows, a shape that does not fit, or another kind of picture.
    """
    above, below = _tiles("inputs", inputs, shape), _tiles("outputs", outputs, shape)
    if len(above) != len(below):
        raise InputError(f"outputs: expected {len(above)} rows as in inputs, got {len(below)}")
    across = min(_whole("columns", columns), len(above))
    colours = (style.MINUS, style.PLUS) if reverse else (style.PLUS, style.MINUS)
    blocks = []
    for k in range(0, len(above), across):
        pair = [
            _marked(_row(part[k : k + across], across), colour)
            for part, colour in zip((above, below), colours, strict=True)
        ]
        blocks.append(_stack(pair, _GAP // 2))
    return _save(_stack(blocks, 3 * _GAP), path)


def _tiles(name: str, x: Tensor, shape: Sequence[int]) -> Array:
    """Images [N, H', W', 3] of bytes, enlarged to about one size."""
    images = to_images(x, shape).nan_to_num(0.5)
    if len(images) == 0 or images.shape[1] not in (1, 3):
        raise InputError(f"{name}: expected images with 1 or 3 channels, got {len(images)} of {tuple(shape)}")
    tiles = (images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1) * 255).round().byte().numpy()
    times = max(1, _SIDE // max(tiles.shape[1:3]))
    return np.asarray(tiles.repeat(times, axis=1).repeat(times, axis=2))


def _whole(name: str, value: int) -> int:
    if value < 1:
        raise InputError(f"{name}: expected at least 1, got {value!r}")
    return value


def _row(tiles: Array, across: int) -> Array:
    """Tiles side by side on paper, [H', width, 3], blank where there are fewer than ``across``."""
    height, width = tiles.shape[1:3]
    row = np.full((height, across * (width + _GAP) - _GAP, 3), _PAPER, np.uint8)
    for k, tile in enumerate(tiles):
        row[:, k * (width + _GAP) : k * (width + _GAP) + width] = tile
    return row


def _stack(rows: list[Array], gap: int) -> Array:
    paper = np.full((gap, rows[0].shape[1], 3), _PAPER, np.uint8)
    return np.concatenate([part for row in rows for part in (paper, row)][1:])


def _marked(row: Array, colour: str) -> Array:
    """A bar of that colour, then the row."""
    bar = np.full((len(row), _GAP, 3), _PAPER, np.uint8)
    bar[:, : _GAP // 2] = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return np.concatenate([bar, np.full_like(bar, _PAPER)[:, : _GAP // 2], row], axis=1)


def _save(sheet: Array, path: str | Path) -> Path:
    with extra("train"):
        from PIL import Image

    if Path(path).suffix.lower() != ".png":
        raise InputError(f"path: expected a name ending in .png, got {str(path)!r}")
    framed = np.pad(sheet, ((2 * _GAP, 2 * _GAP), (2 * _GAP, 2 * _GAP), (0, 0)), constant_values=_PAPER)
    buffer = io.BytesIO()
    Image.fromarray(framed).save(buffer, format="PNG", optimize=True)
    return style.write(buffer.getvalue(), path)
