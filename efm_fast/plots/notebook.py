"""Small cards for notebooks: a picture and a few numbers, in one piece of HTML."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..extras import extra
from . import style
from .pictures import image_sheet
from .points import frame_of, plane

if TYPE_CHECKING:
    from PIL.Image import Image

_WIDTH = 420  # pixels
_MOST_IMAGES = 36


def card(title: str, numbers: Mapping[str, object], picture: bytes | None) -> str:
    """HTML of a title, a table of numbers, and a PNG beside it."""
    rows = "".join(
        f"<tr><td style='text-align:left;color:{style.MUTED}'>{html.escape(name)}</td>"
        f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
        for name, value in numbers.items()
    )
    image = ""
    if picture is not None:
        data = base64.b64encode(picture).decode("ascii")
        image = f"<img alt='' style='max-width:{_WIDTH}px' src='data:image/png;base64,{data}'>"
    return (
        "<div style='display:flex;gap:1.5em;align-items:center'>"
        f"<div><b>{html.escape(title)}</b><table>{rows}</table></div>{image}</div>"
    )


def samples_png(samples: Tensor) -> bytes | None:
    """Samples as a small PNG: points of the plane, [N, 2], or images, [N, C, H, W]; None for all else."""
    with extra("train"):
        from PIL import Image

    rows = samples.detach().cpu()
    rows = rows[torch.isfinite(rows).flatten(1).all(1)]
    if len(rows) == 0:
        return None
    if rows.ndim == 4 and rows.shape[1] in (1, 3):
        shown = rows[:_MOST_IMAGES]
        return _small(Image.fromarray(image_sheet(shown.flatten(1), tuple(shown.shape[1:]))))
    return _dots(rows) if rows.shape[1:] == (2,) else None


def file_png(path: Path) -> bytes | None:
    """A picture file as a small PNG; None if it cannot be read."""
    with extra("train"):
        from PIL import Image

    try:
        with Image.open(path) as picture:
            return _small(picture)
    except (OSError, ValueError):
        return None


def _dots(rows: Tensor) -> bytes:
    points = plane("samples", rows)
    left, right, bottom, top = frame_of(points)
    with style.canvas(2.2, 2.2, layout="constrained") as figure:
        axes = figure.subplots()
        axes.scatter(points[:4000, 0], points[:4000, 1], s=2, color=style.INK, alpha=0.6, linewidths=0)
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _small(picture: Image) -> bytes:
    shown = picture.convert("RGB")
    shown.thumbnail((_WIDTH, _WIDTH))
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
