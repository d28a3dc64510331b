"""A request as the extension takes it: addresses, element types and strides."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import native
from . import reference
from .request import SumRequest

DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.uint8: "uint8",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.int64: "int64",
}
_NO_SELF = -(2**63)


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
        self.x, self.y = request.x.detach(), request.y.detach()
        if contiguous_points:
            self.x = self.x.contiguous()
        self.weight = None if request.weight is None else request.weight.detach().double().contiguous()
        self._height2 = None if request.height is None else reference.extra_r2(request).detach().contiguous()
        self.centre = None if centre is None else centre.detach().float().contiguous()
        extension = native.extension()
        self.native = extension.Request(
            x=matrix(self.x),
            y=matrix(self.y),
            weight=address(self.weight),
            height2=address(self._height2),
            softening2=request.softening**2,
            kernel=getattr(extension.Kernel, request.kernel),
            power=request.power,
            bandwidth=request.bandwidth,
            first_self=_NO_SELF if request.first_self is None else request.first_self,
            centre=address(self.centre),
            wide=wide,
        )


def matrix(a: Tensor) -> tuple[int, object, int, int, int, int]:
    """Address, element type, rows, columns and strides in elements, as the extension takes a matrix."""
    dtype = getattr(native.extension().Dtype, DTYPES[a.dtype])
    return (a.data_ptr(), dtype, a.shape[0], a.shape[1], a.stride(0), a.stride(1))


def address(a: Tensor | None) -> int:
    """Where the numbers of ``a`` start; 0 for None."""
    return 0 if a is None else a.data_ptr()
