"""A request in the form of the extension: addresses, element types and strides."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ... import native
from ...errors import InputError
from ...native import address, matrix
from ..request import SumRequest
from . import reference


@lru_cache(maxsize=1)
def kernels() -> tuple[str, ...]:
    """Names of the kernel functions that the extension knows."""
    return tuple(native.extension().kernels())


class Pairs:
    """The inputs of a sum over pairs. It keeps the tensors alive that the native request points to.

    Attributes:
        x: points, [N, D].
        y: charges, [M, D].
        weight: weights of the charges, float64 [M], or None.
        centre: float32 [D], or None.
        native: the extension's ``Request``.
    """

    def __init__(
        self,
        request: SumRequest,
        *,
        wide: bool,
        centre: Tensor | None = None,
        contiguous_points: bool = False,
    ) -> None:
        self.x = native.plain(request.x, contiguous=contiguous_points)
        self.y = native.plain(request.y, contiguous=False)
        self.weight = None if request.weight is None else native.plain(request.weight, torch.float64)
        self._height2 = (
            None if request.height is None else native.plain(reference.extra_r2(request), torch.float64)
        )
        self.centre = None if centre is None else native.plain(centre, torch.float32)
        (n, d), m = self.x.shape, len(self.y)
        if self.y.shape[1] != d:
            raise InputError(f"y: expected {d} columns, got shape {tuple(self.y.shape)}")
        extension = native.extension()
        self.native = extension.Request(
            x=matrix(self.x, name="x"),
            y=matrix(self.y, name="y"),
            kernel=extension.Kernel(request.kernel.name, request.kernel.parameters),
            wide=wide,
        )
        self.native.weight = address(self.weight, torch.float64, (m,), name="weight")
        self.native.height2 = address(self._height2, torch.float64, (n,), name="height")
        self.native.softening2 = request.softening**2
        self.native.centre = address(self.centre, torch.float32, (d,), name="centre")
        if request.first_self is not None:
            self.native.first_self = request.first_self
