"""Batches of charges that depend only on the seed and the step, so that a run can resume at any step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .. import checks
from ..streams import step_generator
from .source import Source


class _Batches(Dataset[Tensor]):
    """A data set whose item k is batch k of a source, so that any number of workers can draw."""

    def __init__(self, source: Source, batch: int, seed: int, stream: int, split: str) -> None:
        self.source, self.batch, self.seed, self.stream, self.split = source, batch, seed, stream, split

    def __getitem__(self, step: int) -> Tensor:
        return self.source.draw(self.batch, step_generator(self.seed, step, self.stream), self.split)


class _Steps(Sampler[int]):
    """The numbers start, start + 1, ... without end."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start)


def charge_loader(
    source: Source,
    batch: int,
    *,
    seed: int,
    start_step: int = 0,
    workers: int = 0,
    stream: int = 0,
    split: str = "train",
) -> DataLoader[Tensor]:
    """An endless loader of charges: batch k is a pure function of (seed, stream, k).

    Therefore a run that resumes with ``start_step=k`` sees the same batches as without the break, with any number of
    workers. The global random state is neither read nor changed.

    Args:
        source: the source to draw from.
        batch: rows per batch.
        seed: of the run, at least 0.
        start_step: number of the first batch to yield.
        workers: loader processes; 0 draws in this process.
        stream: keeps the loaders of one run independent of each other. Give the two plates different streams: with the
            same one, two coloured sources would get the same hues row by row.
        split: "train" or "test".

    Returns:
        A torch DataLoader that yields [batch, D] float32 for start_step, start_step + 1, ...

    Raises:
        InputError: a number out of range.
    """
    checks.whole("batch", batch, least=1)
    for name, value in (
        ("seed", seed),
        ("start_step", start_step),
        ("workers", workers),
        ("stream", stream),
    ):
        checks.whole(name, value, least=0)
    return DataLoader(
        _Batches(source, batch, seed, stream, split),
        sampler=_Steps(start_step),
        batch_size=None,
        num_workers=workers,
        # without it the loader would draw its workers' base seed from the global generator and change its state
        generator=Generator().manual_seed(0),
    )
