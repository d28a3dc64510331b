# mypy: ignore-errors
# (device code: Triton reads these functions as its own language)
"""The kernel functions of the distance in Triton, for the device and for the launchers.

A row keeps its pivot, the smallest r2 so far. Weights are kernel(r2) / kernel(pivot), so the largest is 1 for every
power. With power n = D + 1 an error of r2 is multiplied by n / 2; therefore there are several forms of one kernel
function.

To add a kernel function, give it a form, a branch in each device function that its form reaches, and a row in KERNELS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .platform import INTERPRET

INTERPRETED = tl.constexpr(INTERPRET)
#: r2 of a pair that does not count, 2^125: the sum of two of them and their reciprocal are normal numbers.
BIG = tl.constexpr(4.253529586511731e37)
#: Added to every r2, so that weights of a point on a charge are finite; the pivot of such a row is exactly this.
TINY = tl.constexpr(1.0e-37)
#: A larger r2 means that the pair does not count.
ABSENT = tl.constexpr(1.0e37)
#: A pivot up to this means that the point lies on a charge.
ON_CHARGE = tl.constexpr(2.0e-37)

# A form is a kernel function and a way to compute it. Kernels take it as KIND, with its numbers ``rate`` and
# ``second``. INTEGER and RATIO compute weights from the ratio of two r2, which must be sums of direct differences; the
# other forms compute them from the difference of two r2.
#: Riesz kernel of small integer power: reciprocal square root and multiplications.
INTEGER = tl.constexpr(0)
#: Riesz kernel of any small power: exp2 and log2 of the ratio.
RATIO = tl.constexpr(1)
#: Riesz kernel of any larger power: the logarithm as a series in the small difference of r2.
DIFFERENCE = tl.constexpr(2)
#: Gaussian kernel.
GAUSSIAN = tl.constexpr(3)
#: Riesz kernel with a rate of at least STEEP_RATE: as DIFFERENCE, with fewer terms of the series.
STEEP = tl.constexpr(4)
#: At this rate a charge at twice the pivot's r2 has the weight 2^-32.
STEEP_RATE = 32.0
#: Above this power the hardware logarithm is not exact enough.
RATIO_POWER = 16.0
#: Largest integer power that is multiplied out: Coulomb's power for the most features that are summed by differences.
INTEGER_POWER = 17
#: From this rate on, the Riesz kernel of an absent pair is 0 in float32 when computed by the hardware logarithm.
VANISHING_RATE = 1.25
LOG2 = tl.constexpr(math.log(2.0))


@triton.jit
def quick_log2(t):
    """The hardware's log2, one instruction; its error is below 2^-22, absolute in [1/2, 2] and relative elsewhere."""
    if INTERPRETED:
        return tl.log2(t)
    return tl.inline_asm_elementwise(
        "lg2.approx.ftz.f32 $0, $1;", "=f,f", [t], tl.float32, is_pure=True, pack=1
    )


@triton.jit
def quick_reciprocal(t):
    """The hardware's 1 / t for normal t in one instruction, exact but for the last bit; a division takes eight."""
    if INTERPRETED:
        return 1.0 / t
    return tl.inline_asm_elementwise(
        "rcp.approx.ftz.f32 $0, $1;", "=f,f", [t], tl.float32, is_pure=True, pack=1
    )


@triton.jit
def log2_growth(excess, r2, KIND: tl.constexpr):
    """log2(1 + excess / r2) for excess >= 0, with a relative error below 1e-6 up to a ratio of 1, or of 0.15 for STEEP.

    The hardware logarithm has an absolute error near 2^-22, which a power of hundreds would multiply. Beyond a ratio of
    4 the series is too small, but with a large power the weight is 0 there. ``excess`` may be as large as 2 BIG.
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
def log_kernel(r2, rate, second, KIND: tl.constexpr):
    """Natural logarithm of the kernel in float64; r2 float64."""
    return -r2 * (rate * LOG2) if KIND == GAUSSIAN else -rate * tl.log(r2)


@triton.jit
def excess_weight(excess, r2, rate, second, KIND: tl.constexpr):
    """kernel(r2 + excess) / kernel(r2) for excess >= 0, for an excess with more digits than r2 + excess would keep."""
    if KIND == GAUSSIAN:
        return tl.exp2(-excess * rate)
    if KIND <= RATIO:
        return tl.exp2(-rate * quick_log2(1.0 + excess * (1.0 / r2)))
    return tl.exp2(-rate * log2_growth(excess, r2, KIND))


@triton.jit
def excess_weight_far(excess, r2, rate, second, KIND: tl.constexpr):
    """:func:`excess_weight` for charges with weights, and for sums, which may be so large that far ones count.

    Beyond a ratio of 1 the hardware logarithm has a small relative error. The series is too small there, so a far
    charge would count too much.
    """
    if KIND == DIFFERENCE or KIND == STEEP:  # noqa: SIM109 (Triton has no `in`)
        # a difference of two logarithms, because the ratio may overflow
        far = quick_log2(r2 + excess) - quick_log2(r2)
        growth = tl.where(excess > r2, far, log2_growth(excess, r2, DIFFERENCE))
        return tl.exp2(-rate * growth)
    return excess_weight(excess, r2, rate, second, KIND)


@triton.jit
def ratio_weight(r2, inverse, rate, POWER: tl.constexpr):
    """Riesz kernel (r2 inverse)^(-power / 2), in the form RATIO if ``POWER`` is 0, otherwise in the form INTEGER."""
    if POWER == 0:
        return tl.exp2(-rate * quick_log2(r2 * inverse))
    square = tl.rsqrt(r2 * inverse)
    weight = square if POWER % 2 == 1 else tl.full(r2.shape, 1.0, tl.float32)
    for bit in tl.static_range(1, 5):
        square *= square
        if (POWER >> bit) % 2 == 1:
            weight *= square
    return weight


@triton.jit
def slope(r2, rate, second, KIND: tl.constexpr):
    """Derivative of the kernel's natural logarithm with respect to r2, float32."""
    if KIND == GAUSSIAN:
        return tl.zeros_like(r2) - rate * LOG2
    return -rate / r2


@triton.jit
def on_charge(r2, KIND: tl.constexpr):
    """Whether the point lies on a charge and the kernel has a pole; ``r2`` is float64."""
    return (r2 <= ON_CHARGE) & (KIND != GAUSSIAN)


@triton.jit
def outweighs(least, pivot, base, slack, KIND: tl.constexpr):
    """Whether the weight of r2 = ``least`` + base, relative to ``pivot`` + base, is larger than ``slack`` allows."""
    return least < pivot - slack if KIND == GAUSSIAN else least + base < (pivot + base) * slack


@triton.jit
def rounding_limits(error, constant, rate, second, KIND: tl.constexpr):
    """The r2 less ``constant``, float32, below which an ``error`` of r2 changes a weight by more than 1/4 or 2^-8.

    Pairs below the first limit are unseen, and pairs below the second are doubtful.
    """
    if KIND == GAUSSIAN:
        return tl.full(error.shape, -BIG, tl.float32), tl.where(error * rate > 1.0e-4, BIG, -BIG)
    # at least TINY, because the error and r2 are both 0 at a point on the only charge
    return tl.maximum(4.0 * rate * error, TINY) - constant, 256.0 * rate * error - constant


@dataclass(frozen=True)
class Form:
    """A kernel function with its parameters, in the form that the launchers use.

    Attributes:
        kind: one of the forms above.
        rate: power / 2, or log2(e) / (2 bandwidth^2) for the Gaussian kernel.
        second: another number, for kernel functions of two parameters.
        power: the integer power that is multiplied out, or 0.
    """

    kind: int
    rate: float
    second: float = 0.0
    power: int = 0

    def reach(self, log_kernel: Tensor) -> Tensor:
        """The squared distance at which the kernel's natural logarithm is ``log_kernel``, float64."""
        if self.kind == GAUSSIAN.value:
            return log_kernel * (-1.0 / (LOG2.value * self.rate))
        return torch.exp(-log_kernel / self.rate)

    def slack(self, leeway: float) -> float:
        """How far below the pivot an r2 may be if its weight must not exceed 2^leeway; see :func:`outweighs`."""
        return leeway / self.rate if self.kind == GAUSSIAN.value else 2.0 ** (-leeway / self.rate)

    def vanishes(self) -> bool:
        """Whether :func:`excess_weight` of an absent pair is 0 in float32 without a mask."""
        if self.kind == DIFFERENCE.value:  # the series is bounded, so a small power leaves a weight above 0
            return False
        return self.kind in (GAUSSIAN.value, STEEP.value) or self.rate >= VANISHING_RATE


def _riesz(power: float) -> Form:
    rate = power / 2.0
    if power.is_integer() and power <= INTEGER_POWER:
        return Form(INTEGER.value, rate, power=int(power))
    if rate >= STEEP_RATE:
        return Form(STEEP.value, rate)
    return Form(DIFFERENCE.value if power > RATIO_POWER else RATIO.value, rate)


def _gaussian(bandwidth: float) -> Form:
    return Form(GAUSSIAN.value, math.log2(math.e) / (2.0 * bandwidth**2))


#: The kernel functions by name, each with the function that makes a form of its parameters, which are all above 0.
KERNELS: dict[str, Callable[..., Form]] = {"riesz": _riesz, "gaussian": _gaussian}
