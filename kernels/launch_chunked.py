"""Launcher of the chunked products, for many features; doubtful pairs are added by direct difference."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from . import group, plan
from .chunked import combine, distances, list_tiles, weights_of_rows
from .group import Group, Parts, by_groups
from .platform import INTERPRET, PART_DTYPE, processors, shape_index
from .repeat import Repeated
from .request import Request, Sums

#: Rows of one program of weights_of_rows; more in the interpreter, whose cost is per program.
ROWS_OF_WEIGHTS = 16 if INTERPRET else 1


def launch_chunked(request: Request) -> Sums:
    """Sum by two split-precision matrix products per chunk of charges; the workspace is that of :mod:`plan`."""
    return by_groups(request, plan.padded_width(request.d, {}), _group)


class Tiling:
    """How the products of a group of points with a chunk of charges are cut into tiles.

    Attributes:
        columns: charges of a chunk.
        tile: points of a tile.
        step: charges of a tile of the second product.
        slices: slices of the features in the first product, of ``per_slice`` features each.
    """

    def __init__(self, points: Group, columns: int) -> None:
        x = points.request.x
        index = shape_index(x)
        self.rows, self.width, self.splits = points.rows, points.width, points.count
        self.columns, self.tile = columns, points.tile
        self.near, self.depth = plan.DISTANCES[index], plan.DISTANCES_DEPTH[index]
        self.far = plan.COMBINE[index]
        self.step = min(self.far.block_m, columns)
        self.slices, self.per_slice = plan.slices(
            points.rows, columns, points.width, self.near, self.depth, processors(x)
        )

    def product(self, own: Parts, block: slice, charges: Parts, norm2: Tensor, s: Tensor) -> Repeated:
        """The launch that sets ``s`` [slices, ., columns] to ``norm2`` - 2 own . charges for the rows ``block``."""
        block_n, block_m = min(self.near.block_n, self.tile), min(self.near.block_m, self.columns)
        return Repeated(
            distances, ((block.stop - block.start) // block_n, self.columns // block_m, self.slices),
            self.near.options,
            xh=own.high[block], xl=None if own.low is None else own.low[block], yh=charges.high, yl=charges.low,
            y2=norm2, s=s, rows=s.shape[1], columns=self.columns, width=self.width, depth=self.per_slice,
            HAS_XL=own.low is not None, HAS_YL=charges.low is not None, BLOCK_N=block_n, BLOCK_M=block_m,
            BLOCK_D=self.depth,
        )  # fmt: skip

    def reduction(
        self, block: slice, parts: Tensor, held: Tensor, charges: Parts, rescales: Tensor, sums: Tensor
    ) -> tuple[Repeated, Repeated]:
        """The launches that list the tiles ``held``, and add ``parts`` [2, ., columns] x charges to ``sums``."""
        size, tiles = block.stop - block.start, self.columns // self.step
        block_n = min(self.far.block_n, self.tile)
        listed = torch.empty(size // block_n, tiles + 2, dtype=torch.int32, device=held.device)
        listing = Repeated(
            list_tiles, (size // block_n,), {"num_warps": 4}, counts=held, tiles=listed, BLOCK_N=block_n, TILES=tiles
        )  # fmt: skip
        combining = Repeated(
            combine, (size // block_n, self.width // plan.COMBINE_FEATURES, self.splits), self.far.options,
            high=parts[0], low=parts[1], yh=charges.high, yl=charges.low, rescales=rescales, tiles=listed,
            sums=sums[0, block.start :], rows=self.rows, columns=self.columns, width=self.width,
            HAS_YL=charges.low is not None, TILES=tiles, BLOCK_N=block_n, BLOCK_D=plan.COMBINE_FEATURES,
            BLOCK_M=self.step,
        )  # fmt: skip
        return listing, combining


class _Chunk:
    """The buffers of a chunk of charges and a block of points: distances, weights in parts, marks, held tiles."""

    def __init__(self, points: Group, tiling: Tiling) -> None:
        device, columns = points.c.device, tiling.columns
        self.height = plan.block_rows(points.rows, columns, tiling.slices, tiling.tile)
        self.s = torch.empty(tiling.slices, self.height, columns, device=device)
        self.weights = torch.empty(2, self.height, columns, dtype=PART_DTYPE, device=device)
        self.marks = torch.empty(self.height, columns // 32, dtype=torch.int32, device=device)
        self.held = torch.empty(self.height, columns // tiling.step, dtype=torch.int8, device=device)
        self.pivots = points.pivots(1)[0]
        self.unsigned = points.unsigned(1)[0]
        self.rescales = torch.empty(points.rows, device=device)


class _Block:
    """The launches that add a chunk of charges to the sums of the points ``block``."""

    def __init__(self, points: Group, tiling: Tiling, charges: Parts, chunk: _Chunk, block: slice) -> None:
        self.start, self.request = block.start, points.request
        self.distances = tiling.product(points.points, block, charges, charges.norm2, chunk.s)
        self.weigh = self._weighing(points, tiling, charges, chunk, block)
        self.list, self.combine = tiling.reduction(
            block, chunk.weights, chunk.held, charges, chunk.rescales[block], points.sums
        )
        self.rescore = points.rescoring(chunk.marks, block.start, min(block.stop, points.n) - block.start)

    @staticmethod
    def _weighing(points: Group, tiling: Tiling, charges: Parts, chunk: _Chunk, block: slice) -> Repeated:
        request, form = points.request, points.request.form
        return Repeated(
            weights_of_rows, ((block.stop - block.start) // ROWS_OF_WEIGHTS,), {"num_warps": 8},
            s=chunk.s, norm2=points.points.norm2[block], c=points.c[block], largest=charges.largest,
            pivots=chunk.pivots[block], totals=chunk.unsigned[block], rests=points.totals[0, block],
            rescales=chunk.rescales[block], high=chunk.weights[0], low=chunk.weights[1], marks=chunk.marks,
            counts=chunk.held, rows=chunk.height, slices=tiling.slices, count=len(charges.largest),
            rounding=group.ROUNDING, rate=form.rate, second=form.second, heavy=points.heavy,
            cut=request.m / group.NEGLIGIBLE, ROWS=ROWS_OF_WEIGHTS, COLUMNS=tiling.columns, TILE=tiling.step,
            KIND=form.kind, FAST=request.precision == "fast", HAS_Q=request.weight is not None,
            HAS_SELF=request.first_self is not None, EMULATED=INTERPRET,
        )  # fmt: skip

    def add(self, y: Tensor, q: Tensor | None, self_offset: int) -> None:
        """Add the charges ``y`` of weights ``q``, whose parts are in the chunk."""
        self.distances()
        self.weigh(q=q, charges=len(y), self_offset=self_offset - self.start)
        self.list()
        self.combine()
        self.rescore(y=y, q=q)


def _group(request: Request, rows: slice, centre: Tensor, out: Sums) -> None:
    device, n = request.x.device, rows.stop - rows.start
    width = plan.padded_width(request.d, {})
    tile = plan.row_tile(width)
    padded = triton.cdiv(n, tile) * tile
    columns = plan.chunked_columns(request.m, width)
    count = plan.combine_splits(padded, columns, width, padded, tile, processors(request.x))
    points = Group(request, rows, centre, width, tile, count, out.v)
    charges = Parts.empty(columns, width, device, low=request.y.dtype != torch.uint8, wide=False)
    fill = charges.filling(centre, weighted=request.weight is not None)
    tiling = Tiling(points, columns)
    chunk = _Chunk(points, tiling)
    blocks = [
        _Block(points, tiling, charges, chunk, slice(top, min(top + chunk.height, padded)))
        for top in range(0, padded, chunk.height)
    ]
    for first in range(0, request.m, columns):
        y, q = request.chunk(first, columns)
        fill(source=y, q=q, rows=len(y))
        for block in blocks:
            block.add(y, q, request.self_offset(first, rows.start))
    points.finish(chunk.pivots.expand(count, padded), out)
