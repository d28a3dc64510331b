"""Grey shapes painted in random colours: the coloured digits of the paper's translation experiment."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from .. import checks
from ..errors import InputError
from .source import SPLITS, Source, check_draw


def hue_to_rgb(hue: Tensor) -> Tensor:
    """Fully saturated colour of value 1 for each hue.

    Args:
        hue: [N], turns: 0 and 1 are red, 1/3 green, 2/3 blue.

    Returns:
        RGB in [0, 1], [N, 3].
    """
    k = (torch.tensor([5.0, 3.0, 1.0], dtype=hue.dtype, device=hue.device) + 6 * hue[:, None]) % 6
    return 1 - torch.minimum(k, 4 - k).clamp(0, 1)


def rgb_to_hue(rgb: Tensor) -> Tensor:
    """Hue of each colour as in HSV, in turns.

    Args:
        rgb: [N, 3]; any positive scale.

    Returns:
        Hue [N] in [0, 1); 0 for greys, which have none.
    """
    high, place = rgb.max(1)
    spread = high - rgb.min(1).values
    red, green, blue = rgb.unbind(1)
    sixths = torch.stack([green - blue, blue - red, red - green], 1).gather(1, place[:, None])[:, 0]
    sixths = sixths / spread.clamp_min(torch.finfo(rgb.dtype).tiny) + 2 * place
    return torch.where(spread > 0, (sixths / 6) % 1.0, 0.0)


def paint(grey: Tensor, hue: Tensor) -> Tensor:
    """Paint grey shapes on black. White becomes the fully saturated colour of the hue.

    Args:
        grey: shapes in [0, 1], [N, H, W].
        hue: one per shape, turns, [N].

    Returns:
        Pictures with values in [-1, 1], [N, 3 * H * W] float32.
    """
    rgb = hue_to_rgb(hue)[:, :, None, None] * grey[:, None]
    return (2 * rgb - 1).reshape(len(grey), -1).to(torch.float32)


class ColouredShapes(Source):
    """A finite set of grey shapes, each painted in a fresh random hue whenever it is drawn.

    Colours are endless and shapes are finite: the splits share no shape, and :meth:`size` counts shapes.

    Args:
        name: of the source.
        shapes: shapes per split, [M, H, W], uint8 (0..255) or float in [0, 1].
        labels: class of each shape per split, int64 [M].
        label: keep this class alone; None keeps all.

    Raises:
        InputError: a class that does not occur, or an empty set.
    """

    draws_anew = True

    def __init__(
        self,
        name: str,
        shapes: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        label: int | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self._every_shape, self._every_label = dict(shapes), dict(labels)
        known = sorted(set(labels["train"].tolist()))
        if label is not None and (isinstance(label, bool) or label not in known):
            raise InputError(
                f"{name} label: expected one of {', '.join(map(str, known))} or null, got {checks.describe(label)}"
            )
        keep = {s: slice(None) if label is None else labels[s] == label for s in SPLITS}
        self._shapes = {split: shapes[split][keep[split]] for split in SPLITS}
        self._labels = {split: labels[split][keep[split]] for split in SPLITS}
        self.shape = (3, *shapes["train"].shape[1:])

    def every_class(self) -> ColouredShapes:
        """The same set with all its classes and the same splits."""
        return ColouredShapes(self.name, self._every_shape, self._every_label)

    def shapes(self, split: str = "train") -> Tensor:
        """The grey shapes of ``split``, [M, H, W] float32 in [0, 1]."""
        return _unit(self._shapes[checks.choice("split", split, SPLITS)])

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw ``n`` shapes with replacement, each in a fresh hue, [n, 3 H W] float32 in [-1, 1]."""
        check_draw(n, generator, split)
        shapes = self._shapes[split]
        rows = torch.randint(len(shapes), (n,), generator=generator)
        return paint(_unit(shapes[rows]), torch.rand(n, generator=generator))

    def size(self, split: str = "train") -> int:
        """Number of distinct shapes of ``split``."""
        return len(self._shapes[checks.choice("split", split, SPLITS)])

    def all(self, split: str = "train") -> Tensor:
        """Every shape of ``split`` once, each in a hue that never changes, [M, 3 H W] in [-1, 1]."""
        grey = self.shapes(split)
        return paint(grey, torch.rand(len(grey), generator=torch.Generator().manual_seed(0)))

    def labels(self, split: str = "train") -> Tensor:
        """Class of every shape of ``split``, int64 [M]."""
        return self._labels[checks.choice("split", split, SPLITS)]


def _unit(shapes: Tensor) -> Tensor:
    return shapes.to(torch.float32) / 255 if shapes.dtype == torch.uint8 else shapes.to(torch.float32)
