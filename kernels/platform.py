"""What the kernels need to know about the machine and the Triton they run under."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor

#: Triton's interpreter runs the kernels on CPU tensors; it reads this variable when triton is imported.
INTERPRET = os.environ.get("TRITON_INTERPRET", "0") == "1"

#: Triton's own version, such as (3, 5).
VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])

#: The interpreter multiplies raw bits in a bfloat16 dot, so there the parts of a split are float32 numbers
#: rounded to bfloat16: the same products, exact in float32 either way.
PART_DTYPE = torch.float32 if INTERPRET else torch.bfloat16

#: Passed with every launch, because Triton's default for fused multiply-add differs between versions.
LAUNCH: dict[str, Any] = {} if INTERPRET else {"enable_fp_fusion": True}


#: Compute capability to plan for where tensors are on no CUDA device: in the interpreter, and when compiling ahead.
without_device = 90


@lru_cache(maxsize=16)
def multiprocessors(index: int) -> int:
    """Streaming multiprocessors of CUDA device ``index``."""
    return torch.cuda.get_device_properties(index).multi_processor_count


def processors(tensor: Tensor) -> int:
    """How many programs the tensor's device runs side by side; 4 under the interpreter, to exercise splits."""
    return multiprocessors(tensor.device.index) if tensor.is_cuda else 4


@lru_cache(maxsize=16)
def architecture(index: int) -> int:
    """Compute capability of CUDA device ``index`` as one number, 90 for 9.0."""
    major, minor = torch.cuda.get_device_capability(index)
    return 10 * major + minor


def on_device(tensor: Tensor) -> Any:
    """Context in which launches go to the tensor's own device, on its current stream."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def shape_index(tensor: Tensor) -> int:
    """Which launch shapes serve the tensor's device, see :func:`generation`."""
    return generation(architecture(tensor.device.index) if tensor.is_cuda else without_device)


def generation(capability: int) -> int:
    """Which launch shapes serve a compute capability: 0 for 8.x, 1 for 9.x, 2 for 10.x and 11.x, 3 beyond.

    Each has its own matrix instructions; those of 12.x are the ones of 8.x again, with as little shared memory as 8.6.
    """
    return next((index for index, end in enumerate((90, 100, 120)) if capability < end), 3)
