"""Launcher of the chunked products, for many features; doubtful pairs are added by direct difference."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from . import group, plan
from .chunked import combine, distances, list_tiles, weights_of_rows
from .group import Group, Parts, by_groups
from .platform import INTERPRET, LAUNCH, PART_DTYPE, processors, shape_index
from .request import Request, Sums

#: Rows of one program of weights_of_rows; more in the interpreter, whose cost is per program.
ROWS_OF_WEIGHTS = 16 if INTERPRET else 1


def launch_chunked(request: Request) -> Sums:
    """Sum by two split-precision matrix products per chunk of charges; the workspace is that of :mod:`plan`."""
    return by_groups(request, plan.padded_width(request.d, {}), _group)


class _Chunk:
    """The buffers of a chunk of charges and a group of points: distances, weights, marks, and tiles that matter."""

    def __init__(self, points: Group, columns: int, tile: int) -> None:
        x = points.request.x
        self.group, self.columns, self.tile = points, columns, tile
        device, index, cores = x.device, shape_index(x), processors(x)
        self.near_shape, self.depth = plan.DISTANCES[index], plan.DISTANCES_DEPTH[index]
        self.far_shape = plan.COMBINE[index]
        self.slices, self.per_slice = plan.slices(
            points.rows, columns, points.width, self.near_shape, self.depth, cores
        )
        self.height = plan.block_rows(points.rows, columns, self.slices, tile)
        self.s = torch.empty(self.slices, self.height, columns, device=device)
        self.high = torch.empty(self.height, columns, dtype=PART_DTYPE, device=device)
        self.low = torch.empty_like(self.high)
        self.marks = torch.empty(self.height, columns // 32, dtype=torch.int32, device=device)
        self.step = min(self.far_shape.block_m, columns)
        self.held = torch.empty(self.height, columns // self.step, dtype=torch.int8, device=device)
        self.tiles = torch.empty(
            self.height // tile, columns // self.step + 2, dtype=torch.int32, device=device
        )
        self.pivots = points.pivots(1)[0]
        self.unsigned = points.unsigned(1)[0]
        self.rescales = torch.empty(points.rows, device=device)

    def add(self, charges: Parts, q: Tensor | None, count: int, self_offset: int, block: slice) -> None:
        """Add ``count`` charges to the sums of the points ``block``; the marks of doubtful pairs stay in the buffer."""
        self._distances(charges, block)
        self._weigh(charges, q, count, self_offset, block)
        self._combine(charges, block)

    def _distances(self, charges: Parts, block: slice) -> None:
        points, near = self.group.points, self.near_shape
        low = None if points.low is None else points.low[block]
        block_n, block_m = min(near.block_n, self.tile), min(near.block_m, self.columns)
        distances[((block.stop - block.start) // block_n, self.columns // block_m, self.slices)](
            xh=points.high[block], xl=low, yh=charges.high, yl=charges.low, y2=charges.norm2, s=self.s,
            rows=self.height, columns=self.columns, width=self.group.width, depth=self.per_slice,
            HAS_XL=low is not None, HAS_YL=charges.low is not None, BLOCK_N=block_n, BLOCK_M=block_m,
            BLOCK_D=self.depth, **near.options, **LAUNCH,
        )  # fmt: skip

    def _weigh(self, charges: Parts, q: Tensor | None, count: int, self_offset: int, block: slice) -> None:
        points, request = self.group, self.group.request
        form = request.form
        weights_of_rows[((block.stop - block.start) // ROWS_OF_WEIGHTS,)](
            s=self.s, q=q, norm2=points.points.norm2[block], c=points.c[block], largest=charges.largest, pivots=self.pivots[block], totals=self.unsigned[block], rests=points.totals[0, block],
            rescales=self.rescales[block], high=self.high, low=self.low, marks=self.marks, counts=self.held,
            rows=self.height, slices=self.slices, charges=count, count=len(charges.largest),
            self_offset=self_offset - block.start, rounding=group.ROUNDING, rate=form.rate, second=form.second, heavy=points.heavy, cut=request.m / group.NEGLIGIBLE,
            ROWS=ROWS_OF_WEIGHTS, COLUMNS=self.columns, TILE=self.step, KIND=form.kind,
            FAST=request.precision == "fast", HAS_Q=q is not None, HAS_SELF=request.first_self is not None, EMULATED=INTERPRET, num_warps=8, **LAUNCH,
        )  # fmt: skip

    def _combine(self, charges: Parts, block: slice) -> None:
        points, far, size = self.group, self.far_shape, block.stop - block.start
        block_n, tiles = min(far.block_n, self.tile), self.columns // self.step
        list_tiles[(size // block_n,)](
            counts=self.held, tiles=self.tiles, BLOCK_N=block_n, TILES=tiles, num_warps=4, **LAUNCH
        )
        combine[(size // block_n, points.width // plan.COMBINE_FEATURES, points.count)](
            high=self.high, low=self.low, yh=charges.high, yl=charges.low, rescales=self.rescales[block],
            tiles=self.tiles, sums=points.sums[0, block.start :], rows=points.rows, columns=self.columns,
            width=points.width, HAS_YL=charges.low is not None, TILES=tiles, BLOCK_N=block_n,
            BLOCK_D=plan.COMBINE_FEATURES, BLOCK_M=self.step, **far.options, **LAUNCH,
        )  # fmt: skip


def _group(request: Request, rows: slice, centre: Tensor, out: Sums) -> None:
    device, n = request.x.device, rows.stop - rows.start
    width = plan.padded_width(request.d, {})
    tile = plan.row_tile(width)
    padded = triton.cdiv(n, tile) * tile
    columns = plan.chunked_columns(request.m, width)
    count = plan.combine_splits(padded, columns, width, padded, tile, processors(request.x))
    points = Group(request, rows, centre, width, tile, count, out.v)
    charges = Parts.empty(columns, width, device, low=request.y.dtype != torch.uint8, wide=False)
    chunk = _Chunk(points, columns, tile)
    for first in range(0, request.m, columns):
        y, q = request.chunk(first, columns)
        charges.fill(y, centre, q)
        for top in range(0, padded, chunk.height):
            block = slice(top, min(top + chunk.height, padded))
            chunk.add(charges, q, len(y), request.self_offset(first, rows.start), block)
            points.rescore(y, q, chunk.marks, top, min(block.stop, n) - top)
    points.finish(chunk.pivots.expand(count, padded), out)
