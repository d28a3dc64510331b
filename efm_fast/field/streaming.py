"""Charges that do not fit in memory: read chunk by chunk, summed and merged, with memory flat in their number."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..extras import extra
from ..types import CentredSum

Chunk = Tensor | np.ndarray | tuple[Tensor | np.ndarray, Tensor | np.ndarray]
Charges = Tensor | np.ndarray | Iterable[Chunk]

_SAMPLE = 256  # charges of an array that are looked at before the others
_CHUNK_ELEMENTS = 1 << 24  # 16 MiB as bytes, 64 MiB once a backend reads them as float32


def stream(
    charges: np.ndarray | Iterable[Chunk],
    sum_chunk: Callable[[Tensor, Tensor | None, int | None], CentredSum],
    empty: CentredSum,
    *,
    weight: Tensor | None,
    first_self: int | None,
    device: torch.device,
    progress: bool,
    name: str,
) -> tuple[CentredSum, float | Tensor]:
    """Sum over all ``charges``: the merged sum and the total of the weights.

    Args:
        charges: an array [M, D], memory-mapped or not, or chunks of charges, each with or without its weights.
        sum_chunk: the sum over one chunk of charges with weights and the chunk's own ``first_self``.
        empty: the sum over no charges.
        weight: weights of the charges of an array, [M]; chunks bring their own.
        first_self: as in :func:`efm_fast.riesz_sum`, counted over all charges.
        device: where the sum is done.
        progress: show a progress bar, in charges.
        name: of the argument, for messages.

    Raises:
        InputError: an array or chunk is not [M, D] of numbers, or ``weight`` came with chunks.
    """
    if isinstance(charges, np.ndarray):
        chunks, count = _slices(charges, weight, empty.rest.shape[1], name), len(charges)
    elif weight is not None:
        raise InputError("weight: expected None, for chunks bring theirs as (charges, weight), got a weight")
    else:
        chunks, count = iter(charges), None
    total, start = empty, 0
    charge: float | Tensor = 0.0
    with _bar(count) if progress else contextlib.nullcontext() as bar:
        for chunk in chunks:
            y, q = _tensors(chunk, empty.rest.shape[1], device, name)
            total = total.merge(sum_chunk(y, q, None if first_self is None else first_self + start))
            charge = charge + (float(len(y)) if q is None else q.double().sum())
            start += len(y)
            if bar is not None:
                bar.update(len(y))
    return total, charge


def _bar(count: int | None) -> Any:
    """A progress bar in charges; only who wants one needs tqdm."""
    with extra("train"):
        from tqdm.auto import tqdm
    return tqdm(total=count, unit=" charges", unit_scale=True)


def is_streamed(charges: Any) -> bool:
    """Whether ``charges`` come chunk by chunk: an array, or what iterates over arrays, tensors or pairs of them."""
    if isinstance(charges, np.ndarray):
        return True
    if isinstance(charges, (list, tuple)):
        return len(charges) > 0 and isinstance(charges[0], (Tensor, np.ndarray, tuple))
    return isinstance(charges, Iterable) and not isinstance(charges, (Tensor, str, bytes, dict))


def some_of(charges: Charges, name: str) -> tuple[Tensor, Charges]:
    """Some charges as a tensor [m, D], and what is to be read for all: an iterator's first chunk is put back."""
    if isinstance(charges, Tensor):
        return charges, charges
    if isinstance(charges, np.ndarray):
        return _tensor(charges[:: max(1, len(charges) // _SAMPLE)][:_SAMPLE], name), charges
    if isinstance(charges, (list, tuple)):
        first = charges[0]
    else:
        chunks = iter(charges)
        first = next(chunks, None)
        charges = itertools.chain([] if first is None else [first], chunks)
        if first is None:
            return torch.empty(0, 0), charges
    some = first[0] if isinstance(first, tuple) else first
    return _tensor(some, name), charges


def _slices(charges: np.ndarray, weight: Tensor | None, d: int, name: str) -> Iterator[Chunk]:
    if charges.ndim != 2 or charges.shape[1] != d:
        raise InputError(f"{name}: expected an array of {d} columns, got shape {charges.shape}")
    if weight is not None:
        checks.tensor("weight", weight, ndim=1, rows=len(charges))
    rows = max(1, _CHUNK_ELEMENTS // max(1, charges.shape[1]))
    for start in range(0, len(charges), rows):
        part = charges[start : start + rows]
        yield part if weight is None else (part, weight[start : start + rows])


def _tensors(chunk: Chunk, d: int, device: torch.device, name: str) -> tuple[Tensor, Tensor | None]:
    y, q = chunk if isinstance(chunk, tuple) else (chunk, None)
    y = checks.tensor(name, _tensor(y, name), ndim=2, columns=d).to(device)
    if q is None:
        return y, None
    return y, checks.tensor("weight", _tensor(q, "weight"), ndim=1, rows=len(y)).to(device)


def _tensor(values: Any, name: str) -> Any:
    """A tensor of ``values``; arrays are copied, for a slice of a read-only map must be read once anyway."""
    if not isinstance(values, np.ndarray):
        return values
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"{name}: expected an array without a mask, got a masked one: drop or fill what it hides"
        )
    try:
        return torch.from_numpy(
            np.array(values, dtype=values.dtype.newbyteorder("="))
        )  # torch has no other order
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers that torch can hold, got dtype {values.dtype}") from None
