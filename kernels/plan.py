"""Launch shapes per regime and architecture: the one table to tune, and how the charges are split."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Block sizes and launch options of one kernel.

    Attributes:
        block_n: points of a tile.
        block_m: charges of a tile.
        warps: warps of a program.
        stages: depth of the software pipeline.
    """

    block_n: int
    block_m: int
    warps: int = 4
    stages: int = 3


#: Pairs of a thread (points x charges / threads) shrink as the features grow: each keeps D differences in registers.
SMALL = ((2, Shape(256, 16)), (4, Shape(256, 8)), (8, Shape(256, 4)), (16, Shape(128, 4)))

#: Most features that the direct-difference kernel serves.
SMALL_D = SMALL[-1][0]

#: Charges that one split of the small-D kernel adds up in float32, at most.
SMALL_SPLIT = 1 << 17

#: Bytes of partial sums that one launch may use.
PARTIALS = 64 << 20


def small_shape(d: int) -> Shape:
    """Launch shape of the small-D kernels."""
    return next(shape for limit, shape in SMALL if d <= limit)


def splits(
    n_tiles: int, m: int, row_bytes: int, n: int, *, processors: int, least: int, most: int
) -> tuple[int, int]:
    """Number of splits of the charges, and charges per split (a multiple of 64).

    Enough programs to fill the machine four times, no split under ``least`` charges, none above ``most``, and
    partial sums of ``n`` points times ``row_bytes`` within PARTIALS.
    """
    wanted = max(-(-4 * processors // n_tiles), -(-m // most))
    count = max(1, min(wanted, -(-m // least), PARTIALS // max(1, n * row_bytes)))
    per = -(-m // count)
    per = -(-per // 64) * 64
    return -(-m // per), per
