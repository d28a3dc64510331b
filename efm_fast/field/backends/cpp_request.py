"""A request as the extension takes it: addresses, element types and strides."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ... import native
from ...errors import InputError
from ...native import address, matrix
from ..request import SumRequest
from . import reference

_NO_SELF = -(2**63)
_PARAMETERS: dict[str, Callable[[float], dict[str, float]]] = {
    "riesz": lambda power: {"power": power, "bandwidth": math.nan},
    "gaussian": lambda bandwidth: {"power": math.nan, "bandwidth": bandwidth},
}
#: Names of the kernel functions that the extension knows.
KERNELS = tuple(_PARAMETERS)


class Pairs:
    """What a sum over pairs reads; keeps alive what the native request points to.

    Attributes:
        x: points, [N, D].
        y: charges, [M, D].
        weight: of the charges, float64 [M], or None.
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
            weight=address(self.weight, torch.float64, (m,), name="weight"),
            height2=address(self._height2, torch.float64, (n,), name="height"),
            softening2=request.softening**2,
            kernel=getattr(extension.Kernel, request.kernel.name),
            **_PARAMETERS[request.kernel.name](*request.kernel.parameters),
            first_self=_NO_SELF if request.first_self is None else request.first_self,
            centre=address(self.centre, torch.float32, (d,), name="centre"),
            wide=wide,
        )
