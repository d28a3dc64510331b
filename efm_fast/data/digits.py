"""The handwritten digits of scikit-learn in random colours: real images without a download."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from .. import checks
from ..errors import InputError
from ..extras import extra
from .colour import ColouredShapes
from .registry import register_source
from .source import split_rows

SIZES = (8, 16, 32)
HELD_OUT = 0.2


@register_source("digits")
def digits(label: int | None = None, size: int = 8, seed: int = 0) -> ColouredShapes:
    """scikit-learn's bundled 1797 handwritten digits (UCI, 8 x 8, 17 grey levels), coloured at random.

    Each draw paints its shape in a fresh, fully saturated hue on black; values lie in [-1, 1]. A fifth of the
    shapes of each class is held out as the test split.

    Args:
        label: the digit to keep, 0..9; None keeps all ten.
        size: 8, or 16 or 32 by bilinear interpolation.
        seed: fixes which shapes are held out, the same ones for every ``label`` and ``size``.

    Returns:
        The source, of shape (3, size, size).

    Raises:
        InputError: an unknown digit or size.
    """
    with extra("train"):
        from sklearn.datasets import load_digits  # slow to import, and only digits need it

    if size not in SIZES:
        raise InputError(f"digits size: expected 8, 16 or 32, got {checks.describe(size)}")
    bundle = load_digits()
    grey = torch.from_numpy(bundle.images).to(torch.float32)[:, None] / 16
    if size != 8:
        grey = interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(bundle.target).to(torch.int64)
    rows = split_classes(labels, HELD_OUT, seed)
    return ColouredShapes(
        "digits",
        shapes={split: grey[index, 0] for split, index in rows.items()},
        labels={split: labels[index] for split, index in rows.items()},
        label=label,
    )


def split_classes(labels: torch.Tensor, held_out: float, seed: int) -> dict[str, torch.Tensor]:
    """Split rows into train and test class by class, so that the same share of every class is held out.

    Args:
        labels: class of each row, int64 [M].
        held_out: share of each class to hold out, in [0, 1).
        seed: seed of the split.

    Returns:
        Sorted row numbers, int64, under "train" and "test".
    """
    dealt: dict[str, list[torch.Tensor]] = {"train": [], "test": []}
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        for split, index in split_rows(len(rows), held_out, seed).items():
            dealt[split].append(rows[index])
    return {split: torch.cat(parts).sort().values for split, parts in dealt.items()}
