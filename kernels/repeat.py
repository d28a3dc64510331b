"""Launches that a loop repeats: Triton binds their arguments once."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .platform import LAUNCH


class Repeated:
    """A kernel that a loop launches with the same grid and with arguments of the same types.

    To bind the arguments of a launch and to find its machine code takes Triton 10 to 70 microseconds of the CPU, longer
    than some kernels run. The first launch does that; the next ones call the compiled kernel that it returned, with all
    arguments in order, as in Triton's tutorial on the fused softmax.

    Args:
        kernel: the kernel.
        grid: its grid.
        options: launch options, such as ``num_warps``.
        fixed: the arguments that all launches share.
    """

    def __init__(self, kernel: Any, grid: tuple[int, ...], options: dict[str, Any], **fixed: Any) -> None:
        self._kernel, self._grid, self._options, self._arguments = kernel, grid, options | LAUNCH, fixed
        self._compiled: Any = None
        self._known: tuple[object, ...] = ()

    def __call__(self, **varying: Any) -> None:
        """Launch with the other arguments: tensors, None, and integers for which the kernel is not specialised."""
        self._arguments.update(varying)
        # the machine code depends on what is None, and on whether tensors lie at multiples of 16 bytes
        known = tuple(
            value.data_ptr() % 16 == 0 if isinstance(value, Tensor) else value is None
            for value in varying.values()
        )
        if self._compiled is None or known != self._known:
            # None from the interpreter, which compiles nothing
            self._compiled = self._kernel[self._grid](**self._arguments, **self._options)
            self._known = known
            return
        x, y, z = (*self._grid, 1, 1)[:3]
        self._compiled[x, y, z](*(self._arguments[name] for name in self._kernel.arg_names))
