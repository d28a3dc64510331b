"""Small measures and conversions of rows of data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..errors import InputError


def rms_distance(a: Tensor, b: Tensor) -> float:
    """Root mean square distance between independent rows of two sets, sqrt(E |x - y|^2).

    The natural length s of a pair of data sets, and the default plate distance L for images.

    Args:
        a: [N, D], any real dtype.
        b: [M, D], any real dtype.

    Returns:
        The length s, data units, over all N M pairs.

    Raises:
        InputError: empty sets, NaN or infinity, or different D.
    """
    first = checks.finite("a", checks.tensor("a", a, ndim=2)).to(torch.float64)
    second = checks.finite("b", checks.tensor("b", b, ndim=2, columns=first.shape[1])).to(torch.float64)
    if len(first) == 0 or len(second) == 0:
        raise InputError(f"a, b: expected at least one row each, got {len(first)} and {len(second)}")
    # E|x-y|^2 = var x + var y + |mean x - mean y|^2, in time N + M
    gap = (first.mean(0) - second.mean(0)).square().sum()
    return math.sqrt((gap + first.var(0, correction=0).sum() + second.var(0, correction=0).sum()).item())


def to_images(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Rows with values in [-1, 1] as pictures with values in [0, 1].

    Args:
        x: [N, D].
        shape: (C, H, W) with C H W = D.

    Returns:
        [N, C, H, W] float32 on the CPU, clipped to [0, 1].

    Raises:
        InputError: a shape that does not fit the rows.
    """
    if len(shape) != 3:
        raise InputError(f"shape: expected (C, H, W), got {tuple(shape)}")
    rows = checks.tensor("x", x, ndim=2, columns=math.prod(shape)).detach()
    return (rows.to("cpu", torch.float32).reshape(-1, *shape) / 2 + 0.5).clamp(0, 1)


def as_tensor(name: str, value: Any) -> Tensor:
    """A tensor or array of numbers as a plain tensor on the CPU, detached and in this machine's byte order.

    Raises:
        InputError: it does not hold numbers, or is sparse, quantized, masked or on the meta device.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_nested or value.is_meta:
            kind = "a meta tensor" if value.is_meta else f"layout {value.layout}, dtype {value.dtype}"
            raise InputError(f"{name}: expected a dense tensor of numbers, got {kind}")
        return value.detach().cpu().resolve_conj().resolve_neg()
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(
            f"{name}: expected numbers only, got an array with {np.ma.count_masked(value)} masked"
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        raise InputError(
            f"{name}: expected a tensor or an array of numbers, got {type(value).__name__}"
        ) from None
    if array.dtype.kind not in "biufc":
        raise InputError(
            f"{name}: expected a tensor or an array of numbers, got {type(value).__name__} of dtype {array.dtype}"
        )
    try:
        native = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
        return torch.from_numpy(native)
    except TypeError:
        raise InputError(f"{name}: expected a dtype that torch has, got {array.dtype}") from None


def existing(name: str, path: str | Path, *, folder: bool = False) -> Path:
    """``path`` as an absolute path to an existing file, or to an existing ``folder``.

    Raises:
        InputError: it does not exist; the text gives the absolute path.
    """
    where = Path(path).expanduser().absolute()
    if where.is_dir() if folder else where.is_file():
        return where
    kind = "folder" if folder else "file"
    got = "got something else" if where.exists() else "which is not there"
    raise InputError(
        f"{name}: expected a {kind} at {str(where)!r} (relative paths start at the working folder), {got}"
    )
