"""Checks at the one door: public functions call these, kernels stay bare.

Every message names the argument, what was expected and what came.
"""

from __future__ import annotations

import difflib
import math
import operator
import reprlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from .errors import InputError

_LARGEST_COUNT = 2**31 - 1  # the extension counts steps in 32 bits
_BRIEF = reprlib.Repr()
_WIDTH = 80  # characters of a value in a message
_SHORTEST, _LONGEST = 1e-150, 1e150
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = _WIDTH


def describe(value: object) -> str:
    """What a message says of ``value``, in one short line: never a whole tensor or array."""
    if isinstance(value, Tensor) and (value.is_nested or value.layout != torch.strided):
        return f"a {'nested' if value.is_nested else value.layout} tensor of {value.dtype}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        if shape == () and not (isinstance(value, Tensor) and value.is_meta):
            return repr(value.item())  # type: ignore[attr-defined]
        kind = "a tensor" if isinstance(value, Tensor) else f"a numpy {type(value).__name__}"
        return f"{kind} of {dtype}, shape {tuple(shape)}"
    text = " ".join(_BRIEF.repr(value).split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def tensor(
    name: str, value: object, *, ndim: int, columns: int | None = None, rows: int | None = None
) -> Tensor:
    """Return ``value`` if it is a tensor of that rank and size.

    Raises:
        InputError: naming the argument, what was expected and what came.
    """
    if not isinstance(value, Tensor):
        raise InputError(f"{name}: expected a torch.Tensor, got {type(value).__name__}")
    if value.is_nested or value.layout != torch.strided:
        raise InputError(f"{name}: expected a dense tensor, got {describe(value)}")
    if value.ndim != ndim:
        raise InputError(f"{name}: expected {ndim} dimensions, got shape {tuple(value.shape)}")
    if columns is not None and value.shape[-1] != columns:
        raise InputError(f"{name}: expected {columns} columns, got shape {tuple(value.shape)}")
    if rows is not None and value.shape[0] != rows:
        raise InputError(f"{name}: expected {rows} rows, got shape {tuple(value.shape)}")
    if value.is_complex() or value.is_quantized or value.dtype == torch.bool:
        raise InputError(f"{name}: expected a real dtype, got {value.dtype}")
    return value


def same_device(name: str, value: Tensor, device: torch.device, of: str = "x") -> Tensor:
    """Return ``value`` if it is on ``device``, the device of argument ``of``, else raise InputError."""
    if value.device != device:
        raise InputError(f"{name}: expected the device of {of}, {device}, got {value.device}")
    return value


def number(name: str, value: object, expected: str) -> float:
    """Return ``value`` as a float if it is one real number, of Python, numpy or torch, else raise InputError."""
    if not isinstance(value, (bool, str, bytes)):
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
    raise InputError(f"{name}: expected {expected}, got {describe(value)}")


def positive(name: str, value: object) -> float:
    """Return ``value`` as a float if it is finite and above zero, else raise InputError."""
    found = number(name, value, "a finite number above 0")
    if not 0 < found < math.inf:  # NaN too; and torch.compile traces comparisons, not math.isfinite
        raise InputError(f"{name}: expected a finite number above 0, got {describe(value)}")
    return found


def not_negative(name: str, value: object) -> float:
    """Return ``value`` as a float if it is finite and at least zero, else raise InputError."""
    found = number(name, value, "a finite number of at least 0")
    if not 0 <= found < math.inf:
        raise InputError(f"{name}: expected a finite number of at least 0, got {describe(value)}")
    return found


def length(name: str, value: object, *, zero: bool = False) -> float:
    """Return ``value`` as a float if it is a length whose square float64 holds, else raise InputError.

    Args:
        name: of the argument.
        value: what came, data units.
        zero: whether a length of zero will do.
    """
    found = not_negative(name, value) if zero else positive(name, value)
    if found != 0 and not _SHORTEST <= found <= _LONGEST:
        raise InputError(f"{name}: expected a length from {_SHORTEST} to {_LONGEST}, got {describe(value)}")
    return found


def integer(name: str, value: object, expected: str = "an integer") -> int:
    """Return ``value`` as an int if it is one, of Python, numpy or torch, else raise InputError."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)  # type: ignore[arg-type]
        except (TypeError, RuntimeError):
            pass
    raise InputError(f"{name}: expected {expected}, got {describe(value)}")


def count(name: str, value: object) -> int:
    """Return ``value`` as an int if it is an integer from 1 to 2^31 - 1, else raise InputError."""
    expected = "an integer of at least 1"
    whole = integer(name, value, expected)
    if not 1 <= whole <= _LARGEST_COUNT:
        limit = "" if whole < 1 else " and below 2^31"
        raise InputError(f"{name}: expected {expected}{limit}, got {describe(value)}")
    return whole


def is_finite(value: Tensor) -> Tensor:
    """Whether each number is finite, for every floating dtype: torch.isfinite does not serve all of 8 bits."""
    return torch.isfinite(value.float() if value.dtype.itemsize == 1 else value)


def finite(name: str, value: Tensor) -> Tensor:
    """Return ``value`` if it holds no NaN and no infinity, else raise InputError with the first bad place."""
    if value.is_floating_point() and not (fine := is_finite(value)).all():
        bad = (~fine).nonzero()
        raise InputError(
            f"{name}: expected finite numbers, got {len(bad)} NaN or infinite, the first at {tuple(bad[0].tolist())}"
        )
    return value


def choice(name: str, value: object, options: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``options``, else raise InputError naming the nearest ones."""
    known = list(options)
    if not isinstance(value, str) or value not in known:
        near = difflib.get_close_matches(str(value), known, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise InputError(f"{name}: expected one of {', '.join(known)}, got {describe(value)}{hint}")
    return value


def whole(name: str, value: object, *, least: int) -> int:
    """Return ``value`` as an int if it is an integer of at least ``least``, else raise InputError."""
    expected = f"an integer of at least {least}"
    found = integer(name, value, expected)
    if found < least:
        raise InputError(f"{name}: expected {expected}, got {describe(value)}")
    return found


def flag(name: str, value: object) -> bool:
    """Return ``value`` if it is True or False, else raise InputError."""
    if not isinstance(value, bool):
        raise InputError(f"{name}: expected True or False, got {describe(value)}")
    return value


def instance(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise InputError unless ``value`` is one of ``kind``; ``expected`` says so in words."""
    if not isinstance(value, kind):
        raise InputError(f"{name}: expected {expected}, got {describe(value)}")


def folder(name: str, value: object) -> Path:
    """Return ``value`` as a path if it can be one, else raise InputError."""
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise InputError(f"{name}: expected the path of a run folder, got {describe(value)}")
    return Path(value)


def place(path: str | Path) -> str:
    """``path`` for a message; a relative one with the folder it starts from."""
    told = describe(str(path))
    return told if Path(path).is_absolute() else f"{told} (from the folder {str(Path.cwd())!r})"
