"""Reports on coloured digits: translation between two classes, and generation of all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..data.colour import ColouredShapes, paint, rgb_to_hue
from ..data.tools import to_images
from ..errors import InputError
from .reader import DigitReader
from .shape_reader import ShapeReader
from .strokes import hue_difference, nearest_shape, painted_distances, stroke_colour

# held-out shapes are painted in so many evenly spaced hues, so that the reference does not depend on random hues
_HUES = 12


@dataclass(frozen=True)
class TranslationReport:
    """Numbers of a map from digits of one class to another that should keep the colour.

    Attributes:
        samples: number of pairs.
        read_as_wanted: share of outputs that the reader takes for the wanted class, in [0, 1].
        reader_accuracy: share of held-out real digits that the reader reads correctly, in [0, 1].
        hue_error_mean: mean angle between the hues of input and output, degrees (random pairs: 90).
        hue_error_median: median of the same, degrees.
        colour_error: mean Euclidean distance between the stroke colours of input and output, RGB in [0, 1].
        colour_floor: the same for held-out real shapes of the wanted class in exactly the inputs' hues, RGB in [0, 1].
            It is above 0 because other shapes have other shares of half-lit pixels.
        like_real: median distance of the outputs to the nearest training shape of the wanted class in its
            best colour, root of summed squares in [0, 1] image units.
        real_like_real: the same for held-out real digits of the wanted class, each in 12 hues.
        like_real_ratio: like_real / real_like_real; 1 means as far as real digits, near 0 means copies of training
            shapes.
        coverage: distinct training shapes that are nearest to some output / number of outputs, in (0, 1].
        ideal_coverage: coverage expected of as many i.i.d. draws of the training shapes, in (0, 1].
    """

    samples: int
    read_as_wanted: float
    reader_accuracy: float
    hue_error_mean: float
    hue_error_median: float
    colour_error: float
    colour_floor: float
    like_real: float
    real_like_real: float
    like_real_ratio: float
    coverage: float
    ideal_coverage: float

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class GenerationReport:
    """Numbers of generated coloured digits: how real they look, and how many different ones there are.

    Attributes:
        samples: number of outputs.
        recognised: share of outputs that are read as clearly as 95 % of held-out real digits and lie as near
            to some training shape as 99 % of them, in [0, 1] (real: about .94).
        reader_accuracy: share of held-out real digits that the reader reads correctly, in [0, 1].
        class_shares: share of outputs read as each class, in the order of the classes; adds up to 1.
        class_gap: total variation distance between ``class_shares`` and the training set's, in [0, 1].
        like_real: median distance of the outputs to the nearest training shape in its best colour, root of
            summed squares in [0, 1] image units.
        real_like_real: the same for held-out real digits, each in 12 hues.
        like_real_ratio: like_real / real_like_real; 1 is as real as real ones, near 0 are copies.
        saturation: median saturation of the stroke colour, in [0, 1] (real: 1).
        hue_gap: Kolmogorov distance between the outputs' hues and uniform ones, in [0, 1] (real: near 0).
        coverage: distinct training shapes that are nearest to some output / number of outputs, in (0, 1].
        ideal_coverage: coverage expected of as many i.i.d. draws of the training shapes, in (0, 1].
    """

    samples: int
    recognised: float
    reader_accuracy: float
    class_shares: tuple[float, ...]
    class_gap: float
    like_real: float
    real_like_real: float
    like_real_ratio: float
    saturation: float
    hue_gap: float
    coverage: float
    ideal_coverage: float

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name, ready for JSON."""
        return asdict(self)


def translation_report(
    inputs: Tensor,
    outputs: Tensor,
    target: ColouredShapes,
    wanted_label: int,
    *,
    reader: DigitReader | ShapeReader | None = None,
) -> TranslationReport:
    """Measure a translation of coloured digits, row by row.

    Args:
        inputs: held-out digits before the map, [N, 3 H W], values in [-1, 1].
        outputs: the same rows after the map; values outside [-1, 1] are clipped, as when they are displayed.
        target: the coloured set; outputs are compared with its shapes of the wanted class.
        wanted_label: class that the outputs should have.
        reader: a reader trained on ``target``'s set, so that none needs to be trained.

    Returns:
        The report.

    Raises:
        InputError: numbers of rows differ, rows have another size, there are none, they hold NaN or infinity, or the
            class is unknown.
    """
    every = _coloured(target).every_class()
    before, after = _seen("inputs", inputs, every), _seen("outputs", outputs, every)
    if len(before) != len(after):
        raise InputError(f"outputs: expected {len(before)} rows as in inputs, got {len(after)}")
    train, held_out = (_class_shapes(every, split, wanted_label) for split in ("train", "test"))
    judge = DigitReader(every) if reader is None else reader
    colours = stroke_colour(before), stroke_colour(after)
    turns = hue_difference(rgb_to_hue(colours[0]), rgb_to_hue(colours[1]))
    repainted = _painted(held_out[torch.arange(len(before)) % len(held_out)], rgb_to_hue(colours[0]), every)
    distance, index = nearest_shape(after, train.flatten(1))
    real = _real_distances(train, held_out, every.name).median().item()
    return TranslationReport(
        samples=len(after),
        read_as_wanted=(judge.read(outputs) == wanted_label).double().mean().item(),
        reader_accuracy=judge.accuracy,
        hue_error_mean=turns.mean().item(),
        hue_error_median=turns.median().item(),
        colour_error=(colours[1] - colours[0]).norm(dim=1).mean().item(),
        colour_floor=(stroke_colour(repainted) - colours[0]).norm(dim=1).mean().item(),
        like_real=distance.median().item(),
        real_like_real=real,
        like_real_ratio=distance.median().item() / real,
        coverage=len(index.unique()) / len(after),
        ideal_coverage=_ideal_coverage(len(train), len(after)),
    )


def generation_report(
    outputs: Tensor, target: ColouredShapes, *, reader: DigitReader | ShapeReader | None = None
) -> GenerationReport:
    """Measure generated coloured digits against the set from which they were learned.

    Args:
        outputs: generated rows, [N, 3 H W], values in [-1, 1] (clipped outside).
        target: the coloured set that was learned, all classes or one.
        reader: a reader trained on ``target``'s set, to save training it again.

    Returns:
        The report.

    Raises:
        InputError: rows of another size, no rows, NaN or infinity.
    """
    after = _seen("outputs", outputs, _coloured(target))
    judge = DigitReader(target) if reader is None else reader
    classes = target.every_class().labels("train").unique()
    shares = _shares(judge.read(outputs), classes)
    colour = stroke_colour(after)
    hue = rgb_to_hue(colour).sort().values
    steps = torch.arange(len(hue) + 1, dtype=hue.dtype) / len(hue)
    hue_gap = torch.maximum((hue - steps[:-1]).abs().max(), (hue - steps[1:]).abs().max())
    distance, index = nearest_shape(after, target.shapes("train").flatten(1))
    real_distance = _real_distances(target.shapes("train"), target.shapes("test"), target.name)
    real = real_distance.median().item()
    return GenerationReport(
        samples=len(after),
        recognised=(judge.is_sure(outputs) & (distance <= real_distance.quantile(0.99)))
        .double()
        .mean()
        .item(),
        reader_accuracy=judge.accuracy,
        class_shares=tuple(shares.tolist()),
        class_gap=(shares - _shares(target.labels("train"), classes)).abs().sum().item() / 2,
        like_real=distance.median().item(),
        real_like_real=real,
        like_real_ratio=distance.median().item() / real,
        saturation=(1 - colour.amin(1) / colour.amax(1).clamp_min(1e-12)).median().item(),
        hue_gap=hue_gap.item(),
        coverage=len(index.unique()) / len(after),
        ideal_coverage=_ideal_coverage(target.size("train"), len(after)),
    )


def _coloured(target: object) -> ColouredShapes:
    if not isinstance(target, ColouredShapes):
        raise InputError(f"target: expected a coloured set such as digits, got {type(target).__name__}")
    return target


def _seen(name: str, rows: Tensor, source: ColouredShapes) -> Tensor:
    """Rows as pictures [N, 3, P] in [0, 1]."""
    checks.finite(name, checks.tensor(name, rows, ndim=2, columns=source.dimension))
    if len(rows) == 0:
        raise InputError(f"{name}: expected at least one row, got none")
    return to_images(rows, source.shape).flatten(2)


def _painted(shapes: Tensor, hue: Tensor, source: ColouredShapes) -> Tensor:
    return to_images(paint(shapes, hue), source.shape).flatten(2)


def _class_shapes(source: ColouredShapes, split: str, label: int) -> Tensor:
    shapes = source.shapes(split)[source.labels(split) == label]
    if len(shapes) == 0:
        known = ", ".join(map(str, source.labels("train").unique().tolist()))
        raise InputError(f"wanted_label: expected a class of {source.name} ({known}), got {label!r}")
    return shapes


def _real_distances(train: Tensor, held_out: Tensor, name: str) -> Tensor:
    """Distances of held-out real digits, in every reference hue, to the training shapes."""
    if len(held_out) == 0:
        raise InputError(f"target: expected held-out shapes in {name} to compare with, got none")
    # a third of a turn exchanges the channels and leaves the distance as it is
    hue = torch.arange(_HUES // 3, dtype=torch.float64) / _HUES
    return painted_distances(held_out.flatten(1), hue, train.flatten(1)).flatten()


def _shares(labels: Tensor, classes: Tensor) -> Tensor:
    return (labels[:, None] == classes).double().mean(0)


def _ideal_coverage(shapes: int, draws: int) -> float:
    """Expected number of distinct shapes among i.i.d. uniform draws, divided by the number of draws."""
    return shapes * (1 - (1 - 1 / shapes) ** draws) / draws
