# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Arithmetic that the kernels share: numbers split into parts, marks packed into bits, and matrix products."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_compensated(total, lost, value):
    """total + value in float32, with the rounding error of the addition added to ``lost``."""
    grown = total + value
    taken = grown - total
    return grown, lost + ((total - (grown - taken)) + (value - taken))


@triton.jit
def bfloat16_parts(value, EMULATED: tl.constexpr):
    """``value`` as the sum of two bfloat16 numbers, good to 2^-17; float32 in place of bfloat16 if emulated."""
    if EMULATED:
        bits = value.to(tl.int32, bitcast=True)
        high = ((bits + 0x7FFF + ((bits >> 16) & 1)) & -65536).to(tl.float32, bitcast=True)
        bits = (value - high).to(tl.int32, bitcast=True)
        low = ((bits + 0x7FFF + ((bits >> 16) & 1)) & -65536).to(tl.float32, bitcast=True)
    else:
        high = value.to(tl.bfloat16)
        low = (value - high.to(tl.float32)).to(tl.bfloat16)
    return high, low


@triton.jit
def truncated_parts(value, EMULATED: tl.constexpr):
    """``value`` as the sum of two bfloat16 numbers, good to 2^-16, in fewer instructions than bfloat16_parts."""
    high = (value.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)
    low = value - high
    if EMULATED:
        bits = low.to(tl.int32, bitcast=True)
        return high, ((bits + 0x7FFF + ((bits >> 16) & 1)) & -65536).to(tl.float32, bitcast=True)
    return high.to(tl.bfloat16), low.to(tl.bfloat16)


@triton.jit
def pack_marks(mark, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Booleans [ROWS, COLUMNS] as bits of int32 [ROWS, COLUMNS / 32], the first in the lowest bit."""
    bit = tl.full([1, COLUMNS], 1, tl.int32) << (tl.arange(0, COLUMNS) % 32)[None, :]
    return tl.sum(tl.reshape(tl.where(mark, bit, 0), [ROWS, COLUMNS // 32, 32]), 2)


@triton.jit
def dot(a, b, acc):
    """a b + acc in float32; bfloat16 operands, or float32 ones without any rounding (the interpreter)."""
    return tl.dot(a, b, acc, input_precision="ieee")
