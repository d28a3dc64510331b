"""Data in memory: tensors and arrays, torch Datasets, and ready Sources."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, cast

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, IterableDataset

from .. import checks
from ..errors import InputError
from .registry import register_source
from .source import SPLITS, FiniteSource, Source, check_draw, split_rows, stored
from .tools import as_tensor


@register_source("tensor")
def tensor(data: Any, labels: Any = None, held_out: float = 0.2, seed: int = 0) -> FiniteSource:
    """A tensor or array in memory.

    Args:
        data: [M, D] vectors or [M, C, H, W] images. uint8 is scaled to [-1, 1]; other dtypes are used as they are.
        labels: class of each row, [M] whole numbers, or None.
        held_out: share of rows held out as the test split, in [0, 1).
        seed: fixes which rows are held out.

    Returns:
        The source.

    Raises:
        InputError: not an array of numbers, an impossible shape, empty data, NaN or infinity.
    """
    return from_array("tensor", data, labels, held_out, seed)


@register_source("source")
def ready(source: Source) -> Source:
    """A :class:`Source` that is ready to draw from.

    Raises:
        InputError: something else.
    """
    if not isinstance(source, Source):
        raise InputError(f"source: expected an efm_fast.data.Source, got {type(source).__name__}")
    return source


def from_array(name: str, data: Any, labels: Any, held_out: float, seed: int) -> FiniteSource:
    """The rows of ``data``, split into train and test (see :func:`tensor`)."""
    rows = stored(
        f"{name} data", as_tensor(f"{name} data", data)
    )  # before it is split, so that messages name the user's rows
    index = split_rows(len(rows) if rows.ndim else 0, held_out, seed) if rows.numel() else None
    if index is None:
        raise InputError(f"{name} data: expected at least one row, got shape {tuple(rows.shape)}")
    classes = None
    if labels is not None:
        every = as_tensor(f"{name} labels", labels)
        if every.shape != rows.shape[:1] or every.is_floating_point():
            raise InputError(
                f"{name} labels: expected {len(rows)} whole numbers, got {every.dtype} {tuple(every.shape)}"
            )
        classes = {split: every[index[split]].to(torch.int64) for split in SPLITS}
    return FiniteSource(name, {split: rows[index[split]] for split in SPLITS}, classes)


@register_source("dataset")
class DatasetSource(Source):
    """Any map-style torch Dataset whose items are tensors or (tensor, label) pairs.

    Items are read when they are drawn, so the set may be larger than memory. Random numbers of torch that an item uses,
    such as for a random flip, are seeded for each draw, so that a resumed run sees the same ones.

    Args:
        dataset: with ``len`` and ``[index]``; items of shape (D,) or (C, H, W). uint8 is scaled to [-1, 1].
        held_out: share of items held out as the test split, in [0, 1).
        seed: fixes which items are held out.

    Raises:
        InputError: not map-style, empty, or items of another kind or of different shapes.
    """

    name = "dataset"

    def __init__(self, dataset: Dataset[Any], held_out: float = 0.2, seed: int = 0) -> None:
        indexed = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        if not indexed or isinstance(dataset, IterableDataset):
            raise InputError(f"dataset: expected one with len and [index], got {type(dataset).__name__}")
        count = len(cast(Sized, dataset))
        if count == 0:
            raise InputError("dataset: expected at least one item, got none")
        self._dataset = dataset
        self._rows = split_rows(count, held_out, seed)
        self.shape = tuple(self._item(0)[0].shape)
        if len(self.shape) not in (1, 3) or self.dimension == 0:
            raise InputError(f"dataset: expected items of shape (D,) or (C, H, W), got {self.shape}")

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw ``n`` items of ``split`` with replacement, [n, D] float32 (see :meth:`Source.draw`)."""
        check_draw(n, generator, split)
        rows = self._held(split)
        picked = rows[torch.randint(len(rows), (n,), generator=generator)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            return self._read(picked)

    def size(self, split: str = "train") -> int:
        """Number of items of ``split``."""
        return len(self._rows[checks.choice("split", split, SPLITS)])

    def all(self, split: str = "train") -> Tensor:
        """Every item of ``split`` once, [M, D] float32, read one by one."""
        return self._read(self._held(split))

    def parts(self, n: int, split: str = "train") -> Iterator[Tensor]:
        """The items of :meth:`all`, ``n`` at a time (see :meth:`Source.parts`)."""
        yield from map(self._read, self._held(split).split(n))

    def labels(self, split: str = "train") -> Tensor | None:
        """Label of every item of ``split``, int64 [M], read one by one; None if items have no labels."""
        rows = self._rows[checks.choice("split", split, SPLITS)].tolist()
        found = [self._item(row)[1] for row in rows]
        return None if not found or found[0] is None else torch.tensor([int(label) for label in found])

    def _held(self, split: str) -> Tensor:
        rows = self._rows[checks.choice("split", split, SPLITS)]
        if len(rows) == 0:
            raise InputError(f"{self.name}: the {split} split is empty; set held_out above 0")
        return rows

    def _read(self, rows: Tensor) -> Tensor:
        items = []
        for row in rows.tolist():
            item = self._item(row)[0]
            if tuple(item.shape) != self.shape:
                raise InputError(f"dataset[{row}]: expected shape {self.shape}, got {tuple(item.shape)}")
            items.append(item.flatten())
        x = torch.stack(items)
        x = x.to(torch.float32) / 127.5 - 1.0 if x.dtype == torch.uint8 else x.to(torch.float32)
        return checks.finite("dataset items", x)

    def _item(self, row: int) -> tuple[Tensor, Any]:
        item = self._dataset[row]
        value, label = (
            (item[0], item[1]) if isinstance(item, (tuple, list)) and len(item) > 1 else (item, None)
        )
        value = value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value
        if not isinstance(value, Tensor):
            raise InputError(
                f"dataset[{row}]: expected a tensor or (tensor, label), got {type(value).__name__}; "
                "for images add a transform such as torchvision's ToTensor"
            )
        return value.detach().cpu(), label
