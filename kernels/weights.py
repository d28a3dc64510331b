# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""The weight of a charge relative to the row's pivot: one device function shared by every kernel.

A row keeps the smallest r2 it has seen, its pivot; weights are kernel(r2) / kernel(pivot), so the largest is 1
whatever the power. With power n = D + 1 an error of r2 comes back (n / 2)-fold, hence the forms below.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .platform import INTERPRET

INTERPRETED = tl.constexpr(INTERPRET)
#: r2 of a pair that does not count, 2^125: differences of two of them and its reciprocal stay normal
BIG = tl.constexpr(4.253529586511731e37)
#: Added to every r2: keeps a point on a charge finite (such a row's pivot is exactly this).
TINY = tl.constexpr(1.0e-37)
#: r2 from here on belongs to no pair.
ABSENT = tl.constexpr(1.0e37)
#: A pivot up to here means that the point lies on a charge.
ON_CHARGE = tl.constexpr(2.0e-37)

# The first two take the kernel of r2 where it was summed by direct difference, the others of differences of r2.
#: Riesz kernel of small integer power: reciprocal square root and multiplications.
INTEGER = tl.constexpr(0)
#: Riesz kernel of any small power: exp2 and log2 of the ratio.
RATIO = tl.constexpr(1)
#: Riesz kernel of any larger power: the logarithm as a series in the small difference of r2.
DIFFERENCE = tl.constexpr(2)
#: Gaussian kernel.
GAUSSIAN = tl.constexpr(3)
#: Riesz kernel of a rate of STEEP_RATE at least: as DIFFERENCE, but fewer terms of the series do.
STEEP = tl.constexpr(4)
#: At this rate a charge at twice the pivot's r2 weighs 2^-32.
STEEP_RATE = 32.0


@triton.jit
def quick_log2(t):
    """The hardware's log2, wrong by at most 2^-22 between 1/2 and 2, relatively elsewhere; one instruction."""
    if INTERPRETED:
        return tl.log2(t)
    return tl.inline_asm_elementwise(
        "lg2.approx.ftz.f32 $0, $1;", "=f,f", [t], tl.float32, is_pure=True, pack=1
    )


@triton.jit
def quick_reciprocal(t):
    """The hardware's 1 / t for normal t, good to the last bit; one instruction where a division takes eight."""
    if INTERPRETED:
        return 1.0 / t
    return tl.inline_asm_elementwise(
        "rcp.approx.ftz.f32 $0, $1;", "=f,f", [t], tl.float32, is_pure=True, pack=1
    )


@triton.jit
def log2_growth(excess, r2, KIND: tl.constexpr):
    """log2(1 + excess / r2) for excess >= 0, relative error below 1e-6 up to a ratio of 1 (STEEP: of .15).

    The hardware logarithm has an absolute error near 2^-22, which a power of hundreds would multiply. Beyond a
    ratio of 4 the series falls short, where a large power has long made the weight vanish. ``excess`` may be as
    large as 2 BIG.
    """
    s = excess * quick_reciprocal(2.0 * r2 + excess)
    z = s * s
    if KIND == STEEP:
        return s * (2.88539008177792680 + z * (0.96179669392597560 + z * 0.57707801635558535))
    series = 0.32059889797532520 + z * 0.26230818925253880
    series = 0.41219858311113240 + z * series
    series = 0.57707801635558535 + z * series
    series = 0.96179669392597560 + z * series
    return s * (2.88539008177792680 + z * series)


@triton.jit
def excess_weight(excess, r2, rate, KIND: tl.constexpr):
    """kernel(r2 + excess) / kernel(r2) for excess >= 0, where r2 + excess itself would have lost digits.

    ``rate`` is power / 2, or log2(e) / (2 bandwidth^2) for the Gaussian kernel.
    """
    if KIND == GAUSSIAN:
        return tl.exp2(-excess * rate)
    if KIND <= RATIO:
        return tl.exp2(-rate * quick_log2(1.0 + excess * (1.0 / r2)))
    return tl.exp2(-rate * log2_growth(excess, r2, KIND))


@triton.jit
def add_compensated(total, lost, value):
    """total + value in float32, with what its rounding lost added to ``lost``."""
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
    """``value`` as the sum of two bfloat16 numbers, good to 2^-16, in fewer instructions than the above."""
    high = (value.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)
    low = value - high
    if EMULATED:
        bits = low.to(tl.int32, bitcast=True)
        return high, ((bits + 0x7FFF + ((bits >> 16) & 1)) & -65536).to(tl.float32, bitcast=True)
    return high.to(tl.bfloat16), low.to(tl.bfloat16)


@triton.jit
def pack_marks(mark, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Booleans [ROWS, COLUMNS] as bits of int32 [ROWS, COLUMNS / 32], the first in the lowest place."""
    bit = tl.full([1, COLUMNS], 1, tl.int32) << (tl.arange(0, COLUMNS) % 32)[None, :]
    return tl.sum(tl.reshape(tl.where(mark, bit, 0), [ROWS, COLUMNS // 32, 32]), 2)


@triton.jit
def dot(a, b, acc):
    """a b + acc in float32; bfloat16 operands, or float32 ones without any rounding (the interpreter)."""
    return tl.dot(a, b, acc, input_precision="ieee")
