"""The C++ extension, loaded on first use; where it is missing, the original cause is kept.

``import efm_fast`` does not load it. Without it everything still works, through plain torch.

The extension knows addresses only. Every address that it gets comes from :func:`address` or :func:`matrix`, which
look at the tensor first: a wrong device, dtype, shape or layout is an error here and a crash there.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor

from .checks import describe
from .errors import BackendUnavailableError, InputError

#: Element types that the extension reads, by their names there.
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


@lru_cache(maxsize=1)
def _load() -> tuple[ModuleType | None, ImportError | None]:
    try:
        return importlib.import_module("efm_fast._C"), None
    except ImportError as cause:
        return None, cause


def why_missing() -> str | None:
    """A sentence that says why the extension cannot be used; None if it can."""
    _, cause = _load()
    if cause is None:
        return None
    return (
        f"the extension efm_fast._C cannot be imported ({cause}); a C++ compiler and `pip install .` build it; "
        "without it sums on the CPU run in plain torch, tens of times slower at few features, a few times at many"
    )


def extension() -> ModuleType:
    """The module ``efm_fast._C``.

    Raises:
        BackendUnavailableError: it cannot be imported; the import's own error is the cause.
    """
    module, cause = _load()
    if module is None:
        raise BackendUnavailableError(why_missing()) from cause
    return module


def plain(tensor: Tensor, dtype: torch.dtype | None = None, *, contiguous: bool = True) -> Tensor:
    """The numbers of ``tensor`` as they lie in memory, in ``dtype``, without its history.

    torch may keep a tensor's sign or conjugation as a mark beside the memory; here they are written out. The caller
    keeps the result alive while the extension reads it.
    """
    if tensor.layout == torch.strided and tensor.numel() and tensor.data_ptr() == 0:
        raise InputError(f"tensor: expected numbers in memory, got {describe(tensor)} without any")
    numbers = tensor.detach().resolve_conj().resolve_neg().to(dtype or tensor.dtype)
    return numbers.contiguous() if contiguous else numbers


def address(
    tensor: Tensor | None,
    dtype: torch.dtype | None = None,
    shape: tuple[int, ...] | None = None,
    *,
    device: str = "cpu",
    name: str = "tensor",
) -> int:
    """Where the numbers of a contiguous ``tensor`` start; 0 for None.

    Args:
        tensor: what the extension reads or fills; the caller keeps it alive.
        dtype: the element type that the extension takes it for; None for any.
        shape: the shape that the extension takes it for; None for any.
        device: the device type that the extension works on.
        name: of the argument, for messages.

    Raises:
        InputError: the tensor is not what the extension takes it for.
    """
    if tensor is None:
        return 0
    start = _start(tensor, device, name)
    wrong = dtype is not None and tensor.dtype != dtype
    wrong = wrong or (shape is not None and tuple(tensor.shape) != shape)
    if wrong or not tensor.is_contiguous():
        wish = f"{dtype or 'numbers'} in a row" + ("" if shape is None else f" of shape {shape}")
        raise InputError(f"{name}: expected {wish}, got {describe(tensor)}, strides {tensor.stride()}")
    return start


def matrix(tensor: Tensor, *, name: str = "tensor") -> tuple[int, object, int, int, int, int]:
    """Address, element type, rows, columns and strides in elements, as the extension takes a matrix on the CPU.

    Raises:
        InputError: the tensor is no matrix on the CPU of a type in :data:`DTYPES`.
    """
    start = _start(tensor, "cpu", name)
    if tensor.ndim != 2 or tensor.dtype not in DTYPES:
        raise InputError(f"{name}: expected a matrix of {', '.join(DTYPES.values())}, got {describe(tensor)}")
    dtype = getattr(extension().Dtype, DTYPES[tensor.dtype])
    return (start, dtype, *tensor.shape, *tensor.stride())


def _start(tensor: Tensor, device: str, name: str) -> int:
    """The address of a tensor whose numbers are all in memory of ``device``, as they read."""
    if tensor.is_nested or tensor.layout != torch.strided or tensor.device.type != device:
        raise InputError(
            f"{name}: expected a dense tensor on {device}, got {describe(tensor)} on {tensor.device}"
        )
    if tensor.is_neg() or tensor.is_conj():
        raise InputError(f"{name}: expected resolved numbers, got a view that negates or conjugates")
    start = tensor.data_ptr()
    if start == 0 and tensor.numel():
        raise InputError(f"{name}: expected numbers in memory, got {describe(tensor)} without any")
    return start
