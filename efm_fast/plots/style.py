"""One look for every picture: colours, type, and files that are either whole or not there."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..extras import extra
from ..files import naming, write_bytes

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# a vermilion and a blue that stay apart for every kind of colour blindness, and in grey
PLUS = "#D1495B"
MINUS = "#1F6FB2"
BETWEEN = "#B9A5C4"
INK = "#20242B"
MUTED = "#7C8591"
FAINT = "#DDE1E6"
PAPER = "#FFFFFF"
CURVES = ("#1F6FB2", "#D1495B", "#2A9D8F", "#E09F3E", "#7B5EA7", "#5C6773")

DOTS_PER_INCH = 160

_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so pictures look the same everywhere
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.0,
    "axes.titlepad": 8.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


@contextmanager
def canvas(width: float, height: float, **options: Any) -> Iterator[Figure]:
    """A figure in the house style, apart from pyplot and any window.

    Args:
        width: inches.
        height: inches.
        options: passed on to :class:`matplotlib.figure.Figure`.

    Yields:
        The figure; matplotlib's settings are the house's until the block ends.
    """
    with extra("train"):
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, **options)
        FigureCanvasAgg(figure)
        yield figure


def charge_map() -> Colormap:
    """Colours from the positive plate (0) to the negative one (1)."""
    with extra("train"):
        from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("charge", [PLUS, BETWEEN, MINUS])


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, PDF or SVG, whichever ``path`` ends in; see :func:`write`."""
    target = Path(path)
    kind = target.suffix.lstrip(".").lower()
    if kind not in ("png", "pdf", "svg"):
        raise InputError(f"path: expected a name ending in .png, .pdf or .svg, got {str(path)!r}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH)
    return write(buffer.getvalue(), target)


def write(content: bytes, path: str | Path) -> Path:
    """Write a file in one go: readers see the old one or the new one, never half of it.

    Args:
        content: of the file.
        path: where; its folder is made if need be.

    Returns:
        The path.

    Raises:
        RunError: the disk is full or the place not writable; what was there is untouched.
    """
    target = Path(path)
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, content)
    return target
