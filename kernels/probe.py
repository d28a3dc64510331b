"""A test whether a CUDA device can run the kernels: it launches the smallest one, once."""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from .platform import LAUNCH, architecture, on_device

#: The lowest compute capability with bfloat16 on the tensor cores.
LEAST = 80


@triton.jit
def answer(out):  # type: ignore[no-untyped-def]  # device code
    """Write 1."""
    tl.store(out, 1.0)


@lru_cache(maxsize=16)
def why_not(index: int) -> str | None:
    """Say why CUDA device ``index`` cannot run the kernels; None if it can.

    At the first launch Triton compiles its launcher, which needs a C compiler on the host, and its ptxas may not know a
    new device. This reports both in a sentence before the first sum.
    """
    name = torch.cuda.get_device_name(index)
    capability = architecture(index)
    if capability < LEAST:
        return f"it needs compute capability 8.0 or newer, and {name} has {capability / 10:.1f}"
    try:
        out = torch.zeros(1, device=torch.device("cuda", index))
        launch(out)
        written = out.item()
    except (
        Exception
    ) as cause:  # Triton's compiler, the host's compiler and the driver raise errors of their own
        first_line = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        return f"a first small kernel failed on {name}: {first_line}"
    return None if written == 1.0 else f"a first small kernel wrote {written} instead of 1 on {name}"


def launch(out: Tensor) -> None:
    """Run the smallest kernel on the device of ``out``, float32 [1]."""
    with on_device(out):
        answer[(1,)](out, **LAUNCH)
