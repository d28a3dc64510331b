# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""Points and charges made ready for the tensor cores: centred, split into bfloat16 parts, padded, measured."""

from __future__ import annotations

import triton
import triton.language as tl

from .weights import BIG, bfloat16_parts


@triton.jit(do_not_specialize=["rows"])
def split_rows(
    source, centre, q, high, low, norm2, rows, D, width,
    HAS_Q: tl.constexpr, HAS_LOW: tl.constexpr, WIDE: tl.constexpr, EMULATED: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """ROWS rows: ``source - centre`` as high + low, zero from D to ``width``, and squared norms.

    The norm is summed in float64 if WIDE. It is BIG for padding rows and for charges of weight 0, which takes them
    out of every sum.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    real = row < rows
    total = tl.zeros([ROWS], tl.float64 if WIDE else tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = (column < D)[None, :] & real[:, None]
        value = tl.load(source + row[:, None] * D + column[None, :], mask=inside, other=0.0).to(tl.float32)
        value -= tl.load(centre + column, mask=column < D, other=0.0)[None, :]
        value = tl.where(inside, value, 0.0)
        square = value.to(tl.float64) * value if WIDE else value * value
        total += tl.sum(square, 1)
        first, second = bfloat16_parts(value, EMULATED)
        place = row[:, None] * width + column[None, :]
        held = (column < width)[None, :]
        tl.store(high + place, first, mask=held)
        if HAS_LOW:
            tl.store(low + place, second, mask=held)
    norm = tl.where(real, total, BIG)
    if HAS_Q:
        norm = tl.where(tl.load(q + row, mask=real, other=0.0) != 0.0, norm, BIG)
    tl.store(norm2 + row, norm)
