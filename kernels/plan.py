"""Launch shapes per regime and architecture: the one table to tune, and how the charges are split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Shape:
    """Block sizes and launch options of one kernel.

    Attributes:
        block_n: points of a tile.
        block_m: charges of a tile.
        warps: warps of a program.
        stages: depth of the software pipeline.
        resident: programs that share a multiprocessor, by registers and shared memory.
        registers: most registers of a thread, where the compiler would take a few too many for ``resident``.
    """

    block_n: int
    block_m: int
    warps: int = 4
    stages: int = 3
    resident: int = 1
    registers: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Launch options for Triton."""
        chosen = {"num_warps": self.warps, "num_stages": self.stages}
        return chosen if self.registers is None else chosen | {"maxnreg": self.registers}


#: Pairs of a thread (points x charges / threads) shrink as the features grow: each keeps D differences in registers.
SMALL = ((2, Shape(256, 16)), (4, Shape(256, 8)), (8, Shape(256, 4)), (16, Shape(128, 4)))

#: Most features that the direct-difference kernel serves.
SMALL_D = SMALL[-1][0]

#: Tiles of charges that one split of the small-D kernel adds up one by one in float32, at most, where memory allows:
#: so many of equal weight lose 2e-7 of their sum.
SMALL_TILES = 256

#: Bytes of partial sums that one launch may use.
PARTIALS = 128 << 20


def small_shape(d: int) -> Shape:
    """Launch shape of the small-D kernels."""
    return next(shape for limit, shape in SMALL if d <= limit)


def _small_row_bytes(d: int) -> int:
    """Bytes of a point's partial sum in one split."""
    return 4 * d + 20


def small_rows(n: int, m: int, d: int) -> int:
    """Points of one pass of the small-D kernel: all whose partial sums fit, one tile at least."""
    shape = small_shape(d)
    count = -(-m // (SMALL_TILES * shape.block_m))
    return min(n, max(1, PARTIALS // (count * _small_row_bytes(d)) // shape.block_n) * shape.block_n)


def small_splits(n: int, m: int, d: int, processors: int) -> tuple[int, int]:
    """Number of splits of the charges in a pass over ``n`` points, and charges per split (a multiple of 64).

    Enough programs to fill the machine four times, of 1024 charges at least; no more than SMALL_TILES tiles of
    charges in a split; but never more partial sums than PARTIALS, which some 10^7 charges reach.
    """
    shape = small_shape(d)
    tiles = -(-n // shape.block_n)
    wanted = max(min(-(-4 * processors // tiles), -(-m // 1024)), -(-m // (SMALL_TILES * shape.block_m)))
    count = max(1, min(wanted, PARTIALS // (n * _small_row_bytes(d))))
    per = -(-m // count)
    per = -(-per // 64) * 64
    return -(-m // per), per


_AMPERE = {32: Shape(64, 32, 4, 2, 2), 64: Shape(64, 32, 4, 2, 2), 128: Shape(64, 32, 8, 2)}
_HOPPER = {
    32: Shape(64, 64, 4, 3, 3, 168),
    64: Shape(64, 64, 4, 3, 3, 168),
    128: Shape(64, 64, 4, 2, 2),
    256: Shape(128, 32, 8, 2),
}
#: Every tuple below holds shapes for compute capability 8, 9, 10 and 12 (:func:`platform.generation`).
#: The fused pass by padded width. From capability 9 on programs of four warps share a multiprocessor, and one
#: multiplies while the others take exponentials; older matrix instructions keep their operands in registers.
FUSED = (
    _AMPERE,
    _HOPPER,
    {width: shape for width, shape in _HOPPER.items() if width <= 128},
    _AMPERE,
)
#: Distances of a chunk: points x charges, and the depth of one step over the features.
DISTANCES = (Shape(128, 64, 8, 3, 2), Shape(128, 128, 8, 3), Shape(128, 128, 8, 2), Shape(128, 64, 8, 3, 2))
DISTANCES_DEPTH = (32, 64, 64, 32)
#: Weights x charges: points x charges of one step, and features.
COMBINE = (Shape(128, 32, 8, 3), Shape(128, 64, 8, 3), Shape(128, 64, 8, 2), Shape(64, 64, 8, 2))
COMBINE_FEATURES = 128
#: Transposed coefficients x points: charges x points of one step, and features, as for COMBINE.
COMBINE_POINTS = (COMBINE[0], COMBINE[1], Shape(128, 32, 8, 3), COMBINE[3])
#: Rows of every padded buffer come in multiples of this; of 64, 32 or 16 where D is too large for so many.
ROWS = 128
#: Features of one slice of the distances, at least.
SLICE = 512

#: Charges that tell a row of the fused pass its total roughly, at most, and one of how many charges is among them.
SEED, SEED_SHARE = 1024, 16

#: Pair coefficients of the gradients.
BACKWARD = Shape(32, 64, 8)
#: Coefficients of many features: charges in registers at a time. Left alone, ptxas takes too few registers.
COEFFICIENTS = Shape(1, 1024, 8, registers=80)
#: Features up to which gradients by direct difference, some ten instructions per feature, are quicker than products.
BACKWARD_D = 64
#: Steps of one program that reduces pair coefficients, at least, and bytes of the partial sums of all of them.
GATHER_STEPS, GRADIENTS = 64, 32 << 20

#: The workspace: bfloat16 parts of a chunk of charges, distances and weights of a chunk, parts of the points,
#: sums of the splits, marks. 240 MiB together up to D = 393,216.
CHARGE_PARTS, PAIRS, POINT_PARTS, SUMS, MARKS = 96 << 20, 56 << 20, 24 << 20, 40 << 20, 24 << 20


#: Bytes of sums, in float64, of the points of one pass of the exact sum and all splits of the charges.
EXACT_SUMS = 128 << 20
#: Pairs x (features + what a pair costs beside them) of one launch of the exact sum: tenths of a second where float64
#: is slowest, so that a display's watchdog and Ctrl-C have their turn. Charges of a launch and of a split, at least.
EXACT_LAUNCH, EXACT_PAIR = 1 << 34, 64
EXACT_CHARGES, EXACT_SPLIT = 4096, 2048


def exact_rows(n: int, d: int) -> int:
    """Points of one pass of the exact sum."""
    return max(1, min(n, EXACT_SUMS // (8 * d + 24), EXACT_LAUNCH // (EXACT_CHARGES * (d + EXACT_PAIR))))


def exact_charges(n: int, m: int, d: int) -> int:
    """Charges of one launch of the exact sum, a multiple of EXACT_CHARGES."""
    most = EXACT_LAUNCH // (n * (d + EXACT_PAIR))
    return min(-(-m // EXACT_CHARGES), max(1, most // EXACT_CHARGES)) * EXACT_CHARGES


def exact_splits(n: int, m: int, d: int, processors: int) -> int:
    """Splits of the charges of a launch of the exact sum: enough programs to fill the machine eight times."""
    most = min(m // EXACT_SPLIT, EXACT_SUMS // (n * (8 * d + 24)))
    return max(1, min(-(-8 * processors // n), most))


def fused_shapes(index: int) -> dict[int, Shape]:
    """Launch shapes of the fused pass by width; ``index`` from :func:`platform.shape_index`."""
    return FUSED[index]


def padded_width(d: int, fused: dict[int, Shape]) -> int:
    """Features after padding: a width of the fused pass, else whole blocks of COMBINE_FEATURES."""
    narrow = next((width for width in fused if d <= width), None)
    return narrow or -(-d // COMBINE_FEATURES) * COMBINE_FEATURES


def _whole(count: int, multiple: int) -> int:
    return max(1, count // multiple) * multiple


@lru_cache(maxsize=256)
def _few_waves(tiles: int, slots: int, most: int) -> int:
    """The least split of work for which the last wave of programs over the machine leaves little of it idle."""

    def idle(count: int) -> float:
        waves = -(-tiles * count // slots)
        return 1.0 - tiles * count / (waves * slots)

    candidates = range(1, max(1, most) + 1)
    least = min(map(idle, candidates))
    return next(count for count in candidates if idle(count) <= least + 0.03)


def row_tile(width: int) -> int:
    """Points of a block of the chunked products: ROWS, or fewer where so many would not fit the workspace."""
    tile = ROWS
    while tile > 16 and 4 * width * tile > min(POINT_PARTS, SUMS):
        tile //= 2
    return tile


def group_rows(n: int, width: int) -> int:
    """Points that share one pass over the charges."""
    tile = row_tile(width)
    most = _whole(min(POINT_PARTS // (4 * width), SUMS // (4 * width)), tile)
    return min(most, -(-n // tile) * tile)


def fused_chunk(m: int, rows: int, width: int) -> int:
    """Charges of one fused launch, a multiple of 64."""
    most = _whole(min(CHARGE_PARTS // (4 * width), 8 * MARKS // rows), 64)
    return min(most, -(-m // 64) * 64)


def seed_charges(m: int) -> int:
    """Charges of the sample that the fused pass starts from, a multiple of 64; 0 where there are too few charges."""
    return min(SEED, m // SEED_SHARE // 64 * 64)


def chunked_columns(m: int, width: int) -> int:
    """Charges of one chunk, a power of two from 32 to 8192, of 128 at least where they fit."""
    columns = 8192
    while columns > 32 and (columns * 4 * width > CHARGE_PARTS or (columns > 128 and columns >= 2 * m)):
        columns //= 2
    return columns


def slices(rows: int, columns: int, width: int, shape: Shape, step: int, processors: int) -> tuple[int, int]:
    """Slices of the features in the distances of ``rows`` points, and features of one: to fill the machine."""
    programs = max(1, rows // min(shape.block_n, rows)) * max(1, columns // min(shape.block_m, columns))
    count = max(1, min(processors // programs, width // SLICE))
    depth = -(-width // (count * step)) * step
    return -(-width // depth), depth


def block_rows(rows: int, columns: int, count: int, tile: int) -> int:
    """Points whose distances, in ``count`` slices, and weights are held at once."""
    return min(rows, _whole(PAIRS // ((4 * count + 4) * columns), tile))


def gradient_rows(rows: int, columns: int, count: int, tile: int, needs_y: bool, needs_weight: bool) -> int:
    """Points whose products, each in ``count`` slices, and coefficients are held at once for the gradients."""
    size = 8 * count + 4 * (1 + needs_y + needs_weight)
    return min(rows, _whole(PAIRS // (size * columns), tile))


def fused_splits(rows: int, chunk: int, width: int, shape: Shape, processors: int) -> tuple[int, int]:
    """Splits of a chunk of charges in the fused pass, and charges per split (a multiple of 64)."""
    most = min(chunk // 512, SUMS // (4 * rows * width), 256)
    count = _few_waves(rows // shape.block_n, processors * shape.resident, most)
    per = -(-chunk // count)
    per = -(-per // 64) * 64
    return -(-chunk // per), per


def gather_splits(blocks: int, count: int, size: int, processors: int) -> tuple[int, int]:
    """Splits of ``count`` pairs of each of ``blocks`` programs with ``size`` gradients together, and pairs of one.

    A program waits for its loads, so the machine is to hold sixteen of them on a multiprocessor.
    """
    most = min(-(-count // GATHER_STEPS), GRADIENTS // (4 * size))
    splits = max(1, min(-(-16 * processors // blocks), most))
    per = -(-count // splits)
    return -(-count // per), per


def combine_splits(rows: int, columns: int, width: int, group: int, tile: int, processors: int) -> int:
    """Splits of a chunk in weights x charges."""
    tiles = (rows // tile) * (width // COMBINE_FEATURES)
    return _few_waves(tiles, processors, min(columns // 512, SUMS // (4 * group * width), 256))
