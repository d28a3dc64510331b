"""The interface of a data set to the rest of the project: rows of float32 that are drawn i.i.d."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from numbers import Real

import torch
from torch import Generator, Tensor

from .. import checks
from ..errors import InputError, RunError

SPLITS = ("train", "test")


class Source(ABC):
    """A distribution on R^D from which rows can be drawn.

    Subclasses set ``name`` and ``shape`` and define :meth:`draw`. Those that hold a finite set also define
    :meth:`size`, :meth:`all` and, if classes are known, :meth:`labels`.

    Attributes:
        name: its name in configs.
        shape: (D,) for vectors, (C, H, W) for images; images have values in [-1, 1].
        draws_anew: whether :meth:`draw` returns other rows than :meth:`all`, such as fresh colours or windows.
    """

    name: str
    shape: tuple[int, ...]
    draws_anew: bool = False

    @property
    def dimension(self) -> int:
        """D, the number of features: the product of ``shape``."""
        return math.prod(self.shape)

    @abstractmethod
    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw ``n`` i.i.d. rows, [n, D] float32 in data units.

        Rows of finite sets are drawn with replacement, because a training target is unbiased only if its charges are
        independent.

        Args:
            n: number of rows, at least 1.
            generator: a CPU generator, the only source of randomness.
            split: "train" or "test"; endless sources draw fresh rows for both.

        Raises:
            InputError: an unknown or empty split, n below 1, or a generator of another device.
        """

    def size(self, split: str = "train") -> int | None:
        """Number of distinct rows of ``split``; None for an endless source."""
        checks.choice("split", split, SPLITS)
        return None

    def all(self, split: str = "train") -> Tensor:
        """Every row of ``split`` once, [M, D] float32.

        Raises:
            InputError: the source is endless.
        """
        raise InputError(f"{self.name}: an endless source has no complete set of rows; draw from it instead")

    def parts(self, n: int, split: str = "train") -> Iterator[Tensor]:
        """The rows of :meth:`all` in their order, ``n`` at a time, [n, D] float32; the last part may be shorter."""
        yield from self.all(split).split(n)

    def labels(self, split: str = "train") -> Tensor | None:
        """Class of every row of :meth:`all`, int64 [M]; None if classes are not known."""
        checks.choice("split", split, SPLITS)
        return None


def check_draw(n: int, generator: Generator, split: str) -> None:
    """Check the arguments of :meth:`Source.draw`.

    Raises:
        InputError: n below 1, a generator that is not on the CPU, or an unknown split.
    """
    checks.whole("n", n, least=1)
    checks.choice("split", split, SPLITS)
    if not isinstance(generator, Generator) or generator.device.type != "cpu":
        got = f"one on {generator.device}" if isinstance(generator, Generator) else type(generator).__name__
        raise InputError(f"generator: expected a torch.Generator on the CPU, got {got}")


def number(name: str, value: object, *, least: float = -math.inf, below: float = math.inf) -> float:
    """Return ``value`` if it is finite, at least ``least`` and under ``below``, else raise InputError."""
    if isinstance(value, Real) and not isinstance(value, bool):
        found = float(value)
        if math.isfinite(found) and least <= found < below:
            return found
    span = f" of at least {least:g}" if least > -math.inf else ""
    span += f" and below {below:g}" if below < math.inf else ""
    raise InputError(f"{name}: expected a finite number{span}, got {checks.describe(value)}")


def split_rows(count: int, held_out: float, seed: int) -> dict[str, Tensor]:
    """Split ``count`` rows into train and test, disjoint and fixed by ``seed``.

    Args:
        count: number of rows.
        held_out: share of the rows to hold out, in [0, 1); at least one row is held out unless the share is 0.
        seed: seed of the split; the same seed always holds out the same rows.

    Returns:
        Sorted row numbers, int64, under "train" and "test".

    Raises:
        InputError: a share outside [0, 1), or fewer rows than the two splits need.
    """
    share = number("held_out", held_out, least=0.0, below=1.0)
    checks.whole("seed", seed, least=0)
    if count < 2 and share > 0:
        raise InputError(
            f"data: expected at least 2 rows to hold some out, got {count}; set held_out=0 for one"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    out = 0 if share == 0 else min(max(1, round(count * share)), count - 1)
    return {"train": order[out:].sort().values, "test": order[:out].sort().values}


class FiniteSource(Source):
    """A finite set in memory, split into train and test.

    Rows of uint8 are pictures: they stay bytes in memory and become float32 in [-1, 1] when drawn. Rows of other dtypes
    are converted to float32 and not scaled.

    Args:
        name: of the source.
        rows: rows per split, [M, ...] with one trailing shape; the test split may be empty.
        labels: classes per split, int64 [M], if known.

    Raises:
        InputError: data are empty, hold NaN or infinity, or the splits have different shapes.
    """

    def __init__(
        self, name: str, rows: Mapping[str, Tensor], labels: Mapping[str, Tensor] | None = None
    ) -> None:
        self.name = name
        self._rows = {split: stored(f"{name} data", rows[split]) for split in SPLITS}
        self._labels = labels
        if len(self._rows["train"]) == 0:
            raise InputError(f"{name} data: expected at least one row to train on, got none")
        self.shape = tuple(self._rows["train"].shape[1:])
        if tuple(self._rows["test"].shape[1:]) != self.shape:
            raise InputError(
                f"{name} data: expected test rows of shape {self.shape}, got {tuple(rows['test'].shape[1:])}"
            )
        if len(self.shape) not in (1, 3) or self.dimension == 0:
            raise InputError(
                f"{name} data: expected shape [M, D] or [M, C, H, W], got {tuple(rows['train'].shape)}"
            )

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw ``n`` rows of ``split`` with replacement, [n, D] float32 (see :meth:`Source.draw`)."""
        check_draw(n, generator, split)
        rows = self._held(split)
        return _as_float(rows[torch.randint(len(rows), (n,), generator=generator)])

    def size(self, split: str = "train") -> int:
        """Number of rows of ``split``."""
        return len(self._rows[checks.choice("split", split, SPLITS)])

    def all(self, split: str = "train") -> Tensor:
        """Every row of ``split`` once, [M, D] float32. Raises InputError if nothing was held out."""
        return _as_float(self._held(split))

    def parts(self, n: int, split: str = "train") -> Iterator[Tensor]:
        """The rows of :meth:`all`, ``n`` at a time (see :meth:`Source.parts`)."""
        yield from map(_as_float, self._held(split).split(n))

    def labels(self, split: str = "train") -> Tensor | None:
        """Class of every row of ``split``, int64 [M]; None if classes are not known."""
        checks.choice("split", split, SPLITS)
        return None if self._labels is None else self._labels[split]

    def _held(self, split: str) -> Tensor:
        rows = self._rows[checks.choice("split", split, SPLITS)]
        if len(rows) == 0:
            raise InputError(f"{self.name}: the {split} split is empty; set held_out above 0")
        return rows


class AbsentSource(Source):
    """A placeholder for data that are missing, so that a run can be opened without them; every use raises an error.

    Args:
        shape: shape of the data.
        reason: text of the error: what is missing and how to give it.
    """

    name = "absent"

    def __init__(self, shape: tuple[int, ...], reason: str) -> None:
        self.shape, self.reason = shape, reason

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Raise RunError (as the other methods do)."""
        raise RunError(self.reason)

    def size(self, split: str = "train") -> int | None:
        """Raise RunError."""
        raise RunError(self.reason)

    def all(self, split: str = "train") -> Tensor:
        """Raise RunError."""
        raise RunError(self.reason)

    def labels(self, split: str = "train") -> Tensor | None:
        """Raise RunError."""
        raise RunError(self.reason)


def stored(name: str, rows: Tensor) -> Tensor:
    """Rows as they are kept in memory: bytes as bytes, other dtypes as finite float32."""
    if rows.is_complex() or rows.dtype == torch.bool:
        raise InputError(f"{name}: expected a real dtype, got {rows.dtype}")
    if rows.dtype == torch.uint8:
        return rows.contiguous()
    return checks.finite(name, rows.to(torch.float32)).contiguous()


def _as_float(rows: Tensor) -> Tensor:
    """Rows [n, ...] as float32 [n, D]; bytes 0..255 become -1..1."""
    flat = rows.reshape(len(rows), -1)
    return flat.to(torch.float32) / 127.5 - 1.0 if flat.dtype == torch.uint8 else flat
