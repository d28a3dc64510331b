"""What the kernels need to know about the machine and the Triton they run under."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

#: Triton's interpreter runs the kernels on CPU tensors; it reads this variable when triton is imported.
INTERPRET = os.environ.get("TRITON_INTERPRET", "0") == "1"

#: The interpreter multiplies raw bits in a bfloat16 dot, so there the parts of a split are float32 numbers
#: rounded to bfloat16: the same products, exact in float32 either way.
PART_DTYPE = torch.float32 if INTERPRET else torch.bfloat16

#: Passed with every launch, because Triton's default for fused multiply-add differs between versions.
LAUNCH: dict[str, Any] = {} if INTERPRET else {"enable_fp_fusion": True}


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
    """Which of three launch shapes serves the tensor's device: 0 for compute capability 8, 1 for 9, 2 beyond."""
    return generation(architecture(tensor.device.index)) if tensor.is_cuda else 1


def generation(capability: int) -> int:
    """The same for a compute capability written as one number, 90 for 9.0."""
    return min(max(capability // 10 - 8, 0), 2)
