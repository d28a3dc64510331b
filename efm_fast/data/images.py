"""Image sets read by torchvision from disk or downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from .. import checks
from ..errors import InputError
from .colour import ColouredShapes
from .digits import split_classes
from .registry import register_source
from .source import SPLITS, FiniteSource, Source, check_draw
from .tools import existing


@register_source("mnist")
def mnist(
    root: str = "data",
    label: int | None = None,
    coloured: bool = False,
    size: int = 28,
    download: bool = False,
) -> Source:
    """The MNIST digits; its own 10000 test images are the test split.

    Args:
        root: folder that holds, or will hold, the MNIST folder of torchvision.
        label: the digit to keep, 0..9; None keeps all ten.
        coloured: paint each draw in a fresh random hue, as the EFM paper does; else grey.
        size: side in pixels, 28 as it is or another by bilinear interpolation (32 in the EFM paper).
        download: fetch the set if it is not in ``root``.

    Returns:
        The source, of shape (3, size, size) coloured or (1, size, size) grey.

    Raises:
        InputError: torchvision or the set is missing, or an unknown digit.
    """
    sets = _both_splits("MNIST", root, download)
    shapes = {
        split: _resized(found.data, checks.whole("mnist size", size, least=1))
        for split, found in sets.items()
    }
    labels = {split: found.targets.to(torch.int64) for split, found in sets.items()}
    painted = ColouredShapes("mnist", shapes, labels, label)
    if coloured:
        return painted
    keep = {s: labels[s] == labels[s] if label is None else labels[s] == label for s in SPLITS}
    rows = {split: shapes[split][keep[split]][:, None] for split in SPLITS}
    return FiniteSource("mnist", rows, {split: labels[split][keep[split]] for split in SPLITS})


@register_source("cifar10")
def cifar10(root: str = "data", label: int | None = None, download: bool = False) -> FiniteSource:
    """The CIFAR-10 images, (3, 32, 32); its own 10000 test images are the test split.

    Args:
        root: folder that holds, or will hold, CIFAR-10 as torchvision stores it.
        label: the class to keep, 0..9; None keeps all ten.
        download: fetch the set if it is not in ``root``.

    Returns:
        The source; bytes in memory, [-1, 1] per draw.

    Raises:
        InputError: torchvision or the set is missing, or an unknown class.
    """
    if label is not None and label not in range(10):
        raise InputError(f"cifar10 label: expected 0 to 9 or null, got {checks.describe(label)}")
    rows, labels = {}, {}
    for split, found in _both_splits("CIFAR10", root, download).items():
        classes = torch.tensor(found.targets)
        keep = classes == classes if label is None else classes == label
        rows[split] = torch.from_numpy(found.data).permute(0, 3, 1, 2)[keep]
        labels[split] = classes[keep]
    return FiniteSource("cifar10", rows, labels)


@register_source("imagefolder")
def imagefolder(
    root: str, size: int = 32, crop: int = 0, held_out: float = 0.1, seed: int = 0
) -> FiniteSource:
    """Your own pictures: in one folder per class, as ``root/class/picture.png``, or all in ``root``.

    Each picture is cut to its central square and resized. All are kept in memory as bytes.

    Args:
        root: folder of the class folders, or of the pictures; a relative one starts at the working folder.
        size: side in pixels of a row.
        crop: pixels by which the kept squares are wider than a row. Every draw for training takes a fresh random window
            of a square; held-out pictures are cut to their middle.
        held_out: share of each class held out as the test split, in [0, 1).
        seed: fixes which pictures are held out.

    Returns:
        The source, of shape (3, size, size); without labels where there are no class folders.

    Raises:
        InputError: torchvision is missing, ``root`` has no pictures, it has pictures both in itself and in its folders,
            or a picture cannot be read.
    """
    vision = _torchvision()
    from torchvision.transforms import functional as edit

    kept = checks.whole("imagefolder size", size, least=1) + checks.whole("imagefolder crop", crop, least=0)
    where = existing("imagefolder root", root, folder=True)

    def to_bytes(path: str) -> Tensor:
        picture = vision.datasets.folder.default_loader(path)
        square = edit.center_crop(picture, [min(picture.size)] * 2)
        return edit.pil_to_tensor(edit.resize(square, [kept, kept], antialias=True))

    loose = _loose_pictures(where, vision.datasets.folder.IMG_EXTENSIONS)
    try:
        found = [(path, 0) for path in loose] or vision.datasets.ImageFolder(where).samples
        pictures = torch.stack([to_bytes(path) for path, _ in found])
    except OSError as error:
        raise InputError(f"imagefolder root: {' '.join(str(error).split())}") from error
    labels = torch.tensor([label for _, label in found])
    rows = split_classes(labels, held_out, seed)
    classes = None if loose else {s: labels[rows[s]] for s in SPLITS}
    split = {s: pictures[rows[s]] for s in SPLITS}
    return (
        CroppedPictures("imagefolder", split, classes, size=size)
        if crop
        else FiniteSource("imagefolder", split, classes)
    )


class CroppedPictures(FiniteSource):
    """Pictures in memory as bytes; every training draw takes a fresh random window of a picture.

    Args:
        name: of the source.
        pictures: bytes per split, [M, C, S, S].
        labels: classes per split, int64 [M], where known.
        size: side of the windows, pixels, at most S.
    """

    draws_anew = True

    def __init__(
        self, name: str, pictures: Mapping[str, Tensor], labels: Mapping[str, Tensor] | None, *, size: int
    ) -> None:
        middle = (pictures["train"].shape[-1] - size) // 2
        self._pictures = pictures["train"]
        windows = {
            s: rows[:, :, middle : middle + size, middle : middle + size] for s, rows in pictures.items()
        }
        super().__init__(name, windows, labels)

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw ``n`` rows with replacement, [n, D] float32: random windows for training, otherwise the middle."""
        if split != "train":
            return super().draw(n, generator, split)
        check_draw(n, generator, split)
        side, size = self._pictures.shape[-1], self.shape[-1]
        row = torch.randint(len(self._pictures), (n,), generator=generator)
        top, left = torch.randint(side - size + 1, (2, n), generator=generator)
        down, across = (start[:, None] + torch.arange(size) for start in (top, left))
        channel = torch.arange(self.shape[0])
        windows = self._pictures[
            row[:, None, None, None], channel[:, None, None], down[:, None, :, None], across[:, None, None, :]
        ]
        return windows.flatten(1).to(torch.float32) / 127.5 - 1.0


def _loose_pictures(root: Path, suffixes: Sequence[str]) -> list[str]:
    """Pictures in ``root`` itself, sorted. Raises InputError if its folders hold pictures too."""
    loose = sorted(str(path) for path in root.iterdir() if path.suffix.lower() in suffixes)
    deeper = (path for path in root.glob("*/**/*") if path.suffix.lower() in suffixes)
    if loose and (other := next(deeper, None)):
        raise InputError(
            f"imagefolder root: expected pictures in {str(root)!r} or in its class folders, got both: {loose[0]!r}"
            f" and {str(other)!r}"
        )
    return loose


def _torchvision() -> ModuleType:
    try:
        import torchvision
    except ImportError as error:
        raise InputError("torchvision is needed for this data set: pip install 'efm_fast[images]'") from error
    return torchvision


def _both_splits(name: str, root: str, download: bool) -> dict[str, Any]:
    """torchvision's own train and test sets."""
    load: Callable[..., Any] = getattr(_torchvision().datasets, name)
    try:
        return {split: load(root, train=split == "train", download=download) for split in SPLITS}
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name.lower()}: no copy in {str(root)!r} ({reason}); set download=true, or root to its folder"
        ) from error


def _resized(grey: Tensor, size: int) -> Tensor:
    """Bytes [M, H, W] resized to [M, size, size] bytes."""
    if grey.shape[-1] == size:
        return grey
    # in parts, because 60000 pictures as float32 would take a gigabyte
    parts = [
        interpolate(part[:, None].float(), size=(size, size), mode="bilinear", align_corners=False)
        for part in grey.split(4096)
    ]
    return torch.cat([part[:, 0].round().to(torch.uint8) for part in parts])
