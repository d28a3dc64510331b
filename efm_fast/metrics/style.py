"""How much of a font's style a translation of glyphs keeps. The true answer is the other character of the same font."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..data.colour import paint, rgb_to_hue
from ..data.glyphs import GlyphShapes
from ..data.tools import to_images
from ..errors import InputError
from .strokes import stroke_colour


@dataclass(frozen=True)
class StyleReport:
    """Numbers that say how well outputs fit the fonts of their inputs.

    Attributes:
        style_mean: mean rank of the font's true character among those of all fonts of the split, by grey distance to
            the output, in [0, 1]: 0 if the true one is always the nearest, 0.5 if no style is kept. A character that is
            near to many outputs does not improve it.
        style_median: median of the same.
        distance_to_truth: mean grey distance of the outputs to the true characters, divided by that to characters of
            random fonts.
        ink: mean brightness of the outputs divided by that of the true characters; 1 for real ones.
    """

    style_mean: float
    style_median: float
    distance_to_truth: float
    ink: float

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name, ready for JSON."""
        return asdict(self)


def style_report(
    inputs: Tensor, outputs: Tensor, source: GlyphShapes, goal: GlyphShapes, *, split: str = "test"
) -> StyleReport:
    """Measure how much of its font's style each output keeps.

    Args:
        inputs: glyphs of ``source``'s ``split`` as they were drawn, [N, 3 H W], values in [-1, 1].
        outputs: the same rows after the map; values outside [-1, 1] are clipped.
        source: the glyphs from which the map starts.
        goal: the glyphs of the same fonts at which it should arrive.
        split: split of both.

    Raises:
        InputError: numbers of rows differ, rows are no glyphs of ``source``, or ``goal`` lacks a font.
    """
    before, after = _grey("inputs", inputs, source), _grey("outputs", outputs, goal)
    if len(before) != len(after):
        raise InputError(f"outputs: expected {len(before)} rows as in inputs, got {len(after)}")
    truth = _partners(before, source, goal, split)
    real = goal.shapes(split).flatten(1).double()
    apart = torch.cdist(after, real)
    own = apart.gather(1, truth[:, None])
    rank = (apart < own).double().sum(1) / max(1, len(real) - 1)
    return StyleReport(
        style_mean=rank.mean().item(),
        style_median=rank.median().item(),
        distance_to_truth=(own.mean() / apart.mean()).item(),
        ink=(after.mean() / real[truth].mean()).item(),
    )


def true_glyphs(inputs: Tensor, source: GlyphShapes, goal: GlyphShapes, *, split: str = "test") -> Tensor:
    """The answers that a translation of glyphs should give: the same fonts' characters of ``goal``, in the same hues.

    Measured as if they were outputs, they say what a perfect map would get in every number: a reader does not read
    every real character of an unseen font, and such fonts do not resemble all training fonts.

    Args:
        inputs: glyphs of ``source``'s ``split`` as they were drawn, [N, 3 H W], values in [-1, 1].
        source: the glyphs from which the map starts.
        goal: the glyphs of the same fonts at which it should arrive.
        split: split of both.

    Returns:
        Rows of ``goal``, [N, 3 H W], values in [-1, 1].

    Raises:
        InputError: rows are no glyphs of ``source``, or ``goal`` lacks a font.
    """
    truth = _partners(_grey("inputs", inputs, source), source, goal, split)
    hue = rgb_to_hue(stroke_colour(to_images(inputs, source.shape).flatten(2)))
    return paint(goal.shapes(split)[truth], hue)


def _partners(before: Tensor, source: GlyphShapes, goal: GlyphShapes, split: str) -> Tensor:
    """The row in ``goal``'s split of the font of every grey input."""
    fonts = source.fonts(split)[_found(before, source.shapes(split).flatten(1).double())]
    place = {font: row for row, font in enumerate(goal.fonts(split).tolist())}
    lacking = sorted({font for font in fonts.tolist() if font not in place})
    if lacking:
        raise InputError(f"goal: expected the fonts of source, got none of number {lacking[0]}")
    return torch.tensor([place[font] for font in fonts.tolist()])


def _grey(name: str, rows: Tensor, source: GlyphShapes) -> Tensor:
    checks.finite(name, checks.tensor(name, rows, ndim=2, columns=source.dimension))
    if len(rows) == 0:
        raise InputError(f"{name}: expected at least one row, got none")
    return to_images(rows, source.shape).amax(1).flatten(1).double()


def _found(grey: Tensor, shapes: Tensor) -> Tensor:
    """The index of the shape of each coloured picture, whose brightest channel is the shape itself."""
    distance, index = torch.cdist(grey, shapes).min(1)
    if (distance > 1e-3).any():
        raise InputError(
            f"inputs: expected glyphs of the source's split as they were drawn, got row {int(distance.argmax())}"
            f" at distance {distance.max():.3g} from the nearest"
        )
    return index
