"""Checks at the one door: public functions call these, kernels stay bare.

Every message names the argument, what was expected and what came.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from .errors import InputError


def tensor(
    name: str, value: object, *, ndim: int, columns: int | None = None, rows: int | None = None
) -> Tensor:
    """Return ``value`` if it is a tensor of that rank and size.

    Raises:
        InputError: naming the argument, what was expected and what came.
    """
    if not isinstance(value, Tensor):
        raise InputError(f"{name}: expected a torch.Tensor, got {type(value).__name__}")
    if value.ndim != ndim:
        raise InputError(f"{name}: expected {ndim} dimensions, got shape {tuple(value.shape)}")
    if columns is not None and value.shape[-1] != columns:
        raise InputError(f"{name}: expected {columns} columns, got shape {tuple(value.shape)}")
    if rows is not None and value.shape[0] != rows:
        raise InputError(f"{name}: expected {rows} rows, got shape {tuple(value.shape)}")
    if value.is_complex() or value.dtype == torch.bool:
        raise InputError(f"{name}: expected a real dtype, got {value.dtype}")
    return value


def positive(name: str, value: float) -> float:
    """Return ``value`` as a float if it is finite and above zero, else raise InputError."""
    number = float(value)
    if not 0 < number < math.inf:  # NaN too; and torch.compile traces comparisons, not math.isfinite
        raise InputError(f"{name}: expected a finite number above 0, got {value!r}")
    return number


def count(name: str, value: int) -> int:
    """Return ``value`` if it is an integer of at least 1, else raise InputError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name}: expected an integer of at least 1, got {value!r}")
    return value


def finite(name: str, value: Tensor) -> Tensor:
    """Return ``value`` if it holds no NaN and no infinity, else raise InputError with the first bad place."""
    if value.is_floating_point() and not torch.isfinite(value).all():
        bad = (~torch.isfinite(value)).nonzero()
        raise InputError(
            f"{name}: expected finite numbers, got {len(bad)} NaN or infinite, the first at {tuple(bad[0].tolist())}"
        )
    return value


def choice(name: str, value: str, options: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``options``, else raise InputError naming the nearest ones."""
    known = list(options)
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise InputError(f"{name}: expected one of {', '.join(known)}, got {value!r}{hint}")
    return value
