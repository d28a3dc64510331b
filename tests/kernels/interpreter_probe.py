"""A loop of a known result in Triton's interpreter: exit status 0 where the interpreter works at all."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def add_up(x, out, n):
    """out = the sum of n numbers."""
    total = 0.0
    for i in range(0, n):
        total += tl.load(x + i)
    tl.store(out, total)


if __name__ == "__main__":
    out = torch.zeros(1)
    add_up[(1,)](torch.arange(5.0), out, 5)
    assert out.item() == 10.0, out
