"""Charges that do not fit in memory are read, summed and merged chunk by chunk; memory does not grow with them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..extras import extra
from .logsum import CentredSum
from .request import SumRequest

Chunk = Tensor | np.ndarray | tuple[Tensor | np.ndarray, Tensor | np.ndarray]
Charges = Tensor | np.ndarray | Iterable[Chunk]

_SAMPLE = 256  # charges of an array that are read first, to find a centre
_CHUNK_ELEMENTS = 1 << 24  # 16 MiB as bytes, 64 MiB once a backend reads them as float32


def stream(
    request: SumRequest, serve: Callable[[SumRequest], CentredSum], progress: bool
) -> tuple[CentredSum, float | Tensor]:
    """Sum over all charges of a request whose ``y`` is a stream: the merged sum and the total of the weights.

    Args:
        request: its ``y`` is an array [M, D], memory-mapped or not, or an iterator of chunks of charges, with or
            without their weights. ``weight`` belongs to the charges of an array, and ``first_self`` counts over all
            charges.
        serve: computes the sum over one chunk from the request for it.
        progress: show a progress bar, in charges.

    Raises:
        InputError: an array or chunk is not [M, D] of numbers, or ``weight`` came with chunks.
    """
    charges: Any = request.y
    x = checks.tensor("x", request.x, ndim=2)
    total = serve(replace(request, y=x.new_zeros(0, x.shape[1]), weight=None))
    if isinstance(charges, np.ndarray):
        chunks, count = _slices(charges, request.weight, x.shape[1]), len(charges)
    elif request.weight is not None:
        raise InputError("weight: expected None, for chunks bring theirs as (charges, weight), got a weight")
    else:
        chunks, count = iter(charges), None
    start, first_self = 0, request.first_self
    charge: float | Tensor = 0.0
    with _bar(count) if progress else contextlib.nullcontext() as bar:
        for chunk in chunks:
            y, weight = _tensors(chunk, x)
            own = None if first_self is None else first_self + start
            total = total.merge(serve(replace(request, y=y, weight=weight, first_self=own)))
            charge = charge + (float(len(y)) if weight is None else weight.double().sum())
            start += len(y)
            if bar is not None:
                bar.update(len(y))
    return total, charge


def _bar(count: int | None) -> Any:
    """A progress bar in charges. Without a bar, tqdm is not needed."""
    with extra("train"):
        from tqdm.auto import tqdm
    return tqdm(total=count, unit=" charges", unit_scale=True)


def is_streamed(charges: Any) -> bool:
    """Whether ``charges`` come in chunks: as an array, or as an iterable of arrays, tensors or pairs of them."""
    if isinstance(charges, np.ndarray):
        return True
    if isinstance(charges, (list, tuple)):
        return len(charges) > 0 and isinstance(charges[0], (Tensor, np.ndarray, tuple))
    return isinstance(charges, Iterable) and not isinstance(charges, (Tensor, str, bytes, dict))


def some_of(charges: Charges, name: str) -> tuple[Tensor, Charges]:
    """Some of the charges as a tensor [m, D], and all charges: the first chunk of an iterator is put back."""
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


def _slices(charges: np.ndarray, weight: Tensor | None, d: int) -> Iterator[Chunk]:
    if charges.ndim != 2 or charges.shape[1] != d:
        raise InputError(f"y: expected an array of {d} columns, got shape {charges.shape}")
    if weight is not None:
        checks.tensor("weight", weight, ndim=1, rows=len(charges))
    rows = max(1, _CHUNK_ELEMENTS // max(1, charges.shape[1]))
    for start in range(0, len(charges), rows):
        part = charges[start : start + rows]
        yield part if weight is None else (part, weight[start : start + rows])


def _tensors(chunk: Chunk, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """A chunk's charges and their weights as tensors on the device of the points ``x``."""
    y, weight = chunk if isinstance(chunk, tuple) else (chunk, None)
    y = checks.tensor("y", _tensor(y, "y"), ndim=2, columns=x.shape[1]).to(x.device)
    if weight is None:
        return y, None
    return y, checks.tensor("weight", _tensor(weight, "weight"), ndim=1, rows=len(y)).to(x.device)


def _tensor(values: Any, name: str) -> Any:
    """A tensor of ``values``. Arrays are copied, because a slice of a memory map must be read once in any case."""
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
