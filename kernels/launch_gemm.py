"""Launchers for more than a few features: distances by matrix product, doubtful pairs by direct difference."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from . import plan
from .chunked import combine, distances, list_tiles, weights_of_rows
from .fused import sum_fused
from .group import Group, Parts
from .platform import INTERPRET, LAUNCH, PART_DTYPE, processors, shape_index
from .request import Call
from .weights import DIFFERENCE, GAUSSIAN, STEEP

#: Rows of one program of weights_of_rows; more in the interpreter, which pays per program.
ROWS_OF_WEIGHTS = 16 if INTERPRET else 1
#: Charges whose mean stands for the centre, at most, and bytes of them.
SAMPLE, SAMPLE_BYTES = 4096, 8 << 20
#: A charge of less than this share of a row's weight over the number of charges cannot matter.
NEGLIGIBLE = 2.0**-24
#: From this rate on the Riesz kernel of an absent pair is 0 in float32, by the hardware logarithm.
VANISHING_RATE = 1.25


def centre_of(y: Tensor) -> Tensor:
    """A float32 centre [D] near the charges' mean; whole numbers for bytes, so that they stay exact in bfloat16."""
    count = max(1, min(SAMPLE, SAMPLE_BYTES // (4 * y.shape[1])))
    mean = y[:: max(1, len(y) // count)].float().mean(0)
    return mean.round() if y.dtype == torch.uint8 else mean


def launch_gemm(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Sum by split-precision matrix products; workspace as in :mod:`plan`."""
    device = call.x.device
    m = torch.empty(call.n, dtype=torch.float64, device=device)
    w = torch.empty(call.n, dtype=torch.float32, device=device)
    v = torch.zeros(call.n, call.d, dtype=torch.float32, device=device)
    fused = plan.fused_shapes(shape_index(call.x))
    width = plan.padded_width(call.d, fused)
    centre = centre_of(call.y)
    size = plan.group_rows(call.n, width)
    serve = _fused if width in fused else _chunked
    for first in range(0, call.n, size):
        rows = slice(first, min(first + size, call.n))
        serve(call, rows, centre, width, (m[rows], w[rows], v[rows]))
    return m, w, v


def _chunk(call: Call, first: int, size: int) -> tuple[Tensor, Tensor | None]:
    return call.y[first : first + size], None if call.q is None else call.q[first : first + size]


def _vanishes(call: Call) -> bool:
    """Whether the kernel of an absent pair is 0 in float32 by itself, in the form that the fused pass takes."""
    if call.kind == DIFFERENCE.value:  # its series ends where a weight of so small a power still counts
        return False
    return call.kind in (GAUSSIAN.value, STEEP.value) or call.rate >= VANISHING_RATE


def _cut(call: Call) -> Tensor:
    """What a row's total must exceed, in units of a charge's weight, for that charge not to matter: float32 [1]."""
    least = call.m / NEGLIGIBLE
    if call.q is None:
        return torch.full((1,), least, device=call.x.device)
    return call.q.abs().amax().mul(least).reshape(1)


def _fused(call: Call, rows: slice, centre: Tensor, width: int, out: tuple[Tensor, Tensor, Tensor]) -> None:
    shape = plan.fused_shapes(shape_index(call.x))[width]
    device, n = call.x.device, rows.stop - rows.start
    padded = triton.cdiv(n, plan.ROWS) * plan.ROWS
    chunk = plan.fused_chunk(call.m, padded, width)
    count, per_split = plan.fused_splits(padded, chunk, width, shape, processors(call.x))
    group = Group(call, rows, centre, width, plan.ROWS, count, out[2], low=not call.rounded)
    charges = Parts.empty(chunk, width, device, low=call.y.dtype != torch.uint8, wide=False)
    pivots = group.pivots(count)
    unsigned = group.unsigned(count)
    marks = torch.empty(padded, chunk // 32, dtype=torch.int32, device=device)
    cut = _cut(call)
    for first in range(0, call.m, chunk):
        y, q = _chunk(call, first, chunk)
        charges.fill(y, centre, q)
        group.limit(charges)
        self_offset = 0 if call.first_self is None else first + call.first_self - rows.start
        sum_fused[(padded // shape.block_n, count)](
            group.points.high, group.points.low, group.c, group.near, group.doubtful, charges.high, charges.low,
            charges.norm2, q, cut, marks, pivots, unsigned, group.totals, group.sums, padded, len(y), per_split, chunk,
            chunk // 32, self_offset, call.rate, group.heavy, WIDTH=width, KIND=call.kind, VANISHES=_vanishes(call),
            HAS_XL=group.points.low is not None, HAS_YL=charges.low is not None, HAS_Q=q is not None,
            HAS_SELF=call.first_self is not None, EMULATED=INTERPRET, BLOCK_N=shape.block_n, BLOCK_M=shape.block_m,
            **shape.options, **LAUNCH,
        )  # fmt: skip
        group.rescore(y, q, marks, 0, n)
    group.finish(pivots, *out[:2])


class _Chunk:
    """The buffers of one chunk of charges beside some points: distances, weights, marks, tiles that matter."""

    def __init__(self, group: Group, columns: int, tile: int) -> None:
        call, self.group, self.columns, self.tile = group.call, group, columns, tile
        device, index, cores = call.x.device, shape_index(call.x), processors(call.x)
        self.near_shape, self.depth = plan.DISTANCES[index], plan.DISTANCES_DEPTH[index]
        self.far_shape = plan.COMBINE[index]
        self.slices, self.per_slice = plan.slices(
            group.rows, columns, group.width, self.near_shape, self.depth, cores
        )
        self.height = plan.block_rows(group.rows, columns, self.slices, tile)
        self.s = torch.empty(self.slices, self.height, columns, device=device)
        self.high = torch.empty(self.height, columns, dtype=PART_DTYPE, device=device)
        self.low = torch.empty_like(self.high)
        self.marks = torch.empty(self.height, columns // 32, dtype=torch.int32, device=device)
        self.step = min(self.far_shape.block_m, columns)
        self.held = torch.empty(self.height, columns // self.step, dtype=torch.int8, device=device)
        self.tiles = torch.empty(
            self.height // tile, columns // self.step + 2, dtype=torch.int32, device=device
        )
        self.pivots = group.pivots(1)[0]
        self.unsigned = group.unsigned(1)[0]
        self.rescales = torch.empty(group.rows, device=device)

    def add(self, charges: Parts, q: Tensor | None, count: int, self_offset: int, block: slice) -> None:
        """Distances, weights and sums of the points ``block`` with ``count`` charges; leaves their marks."""
        group, call, columns, tile = self.group, self.group.call, self.columns, self.tile
        size = block.stop - block.start
        near, far = self.near_shape, self.far_shape
        low_x = None if group.points.low is None else group.points.low[block]
        block_n, block_m = min(near.block_n, tile), min(near.block_m, columns)
        distances[(size // block_n, columns // block_m, self.slices)](
            group.points.high[block], low_x, charges.high, charges.low, charges.norm2, self.s, self.height, columns,
            group.width, self.per_slice, HAS_XL=low_x is not None, HAS_YL=charges.low is not None, BLOCK_N=block_n,
            BLOCK_M=block_m, BLOCK_D=self.depth, **near.options, **LAUNCH,
        )  # fmt: skip
        weights_of_rows[(size // ROWS_OF_WEIGHTS,)](
            self.s, q, group.c[block], group.near[block], group.doubtful[block], self.pivots[block],
            self.unsigned[block], group.totals[0, block], self.rescales[block], self.high, self.low, self.marks,
            self.held, self.height, self.slices, count, self_offset - block.start, call.rate, group.heavy,
            call.m / NEGLIGIBLE, ROWS=ROWS_OF_WEIGHTS, COLUMNS=columns, TILE=self.step, KIND=call.kind,
            HAS_Q=q is not None, HAS_SELF=call.first_self is not None, EMULATED=INTERPRET, num_warps=8, **LAUNCH,
        )  # fmt: skip
        block_n = min(far.block_n, tile)
        tiles = columns // self.step
        list_tiles[(size // block_n,)](
            self.held, self.tiles, BLOCK_N=block_n, TILES=tiles, num_warps=4, **LAUNCH
        )
        combine[(size // block_n, group.width // plan.COMBINE_FEATURES, group.count)](
            self.high, self.low, charges.high, charges.low, self.rescales[block], self.tiles,
            group.sums[0, block.start :], group.rows, columns, group.width, HAS_YL=charges.low is not None, TILES=tiles,
            BLOCK_N=block_n, BLOCK_D=plan.COMBINE_FEATURES, BLOCK_M=self.step, **far.options, **LAUNCH,
        )  # fmt: skip


def _chunked(call: Call, rows: slice, centre: Tensor, width: int, out: tuple[Tensor, Tensor, Tensor]) -> None:
    device, n = call.x.device, rows.stop - rows.start
    tile = plan.row_tile(width)
    padded = triton.cdiv(n, tile) * tile
    columns = plan.chunked_columns(call.m, width)
    count = plan.combine_splits(padded, columns, width, padded, tile, processors(call.x))
    group = Group(call, rows, centre, width, tile, count, out[2], low=not call.rounded)
    charges = Parts.empty(columns, width, device, low=call.y.dtype != torch.uint8, wide=False)
    chunk = _Chunk(group, columns, tile)
    for first in range(0, call.m, columns):
        y, q = _chunk(call, first, columns)
        charges.fill(y, centre, q)
        group.limit(charges)
        self_offset = 0 if call.first_self is None else first + call.first_self - rows.start
        for top in range(0, padded, chunk.height):
            block = slice(top, min(top + chunk.height, padded))
            chunk.add(charges, q, len(y), self_offset, block)
            group.rescore(y, q, chunk.marks, top, min(block.stop, n) - top)
    group.finish(chunk.pivots.expand(count, padded), *out[:2])
