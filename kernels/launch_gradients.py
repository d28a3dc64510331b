"""Launcher of the gradients in many features, by matrix products; deterministic, in the workspace of :mod:`plan`."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from . import group, plan
from .chunked import combine, distances, list_tiles
from .gradients import (
    add_marked,
    coefficients_of_rows,
    combine_points,
    finish_points,
    project_rows,
    sum_over_points,
)
from .group import Group, Parts
from .kernel import ABSENT
from .platform import INTERPRET, LAUNCH, PART_DTYPE, processors, shape_index
from .request import Request

#: Rows of one program of coefficients_of_rows; more in the interpreter, whose cost is per program.
ROWS_OF_COEFFICIENTS = 16 if INTERPRET else 1


class Upstream(NamedTuple):
    """Upstream gradients of some points: of w [N] and of v [N, D]."""

    w: Tensor
    v: Tensor


class Needs(NamedTuple):
    """Which gradients are needed: of points and heights, of charges, and of charge weights."""

    x: bool
    y: bool
    weight: bool


class Gradients(NamedTuple):
    """Gradients with respect to points [N, D], charges [M, D], charge weights [M] and heights [N], float32."""

    x: Tensor
    y: Tensor
    weight: Tensor
    height: Tensor


def launch_gradients(
    request: Request, pivots: Tensor, upstream: Upstream, needs: Needs, out: Gradients
) -> None:
    """Add the gradients of a sum to ``out``, whose heights take sum_j b; ``out.y`` may hold anything.

    Args:
        request: the sum.
        pivots: the r2 whose log kernel is m, float64 [N]; 0 leaves a point out.
        upstream: upstream gradients.
        needs: which gradients are needed.
        out: gradients of points, charge weights and heights so far, and memory for those of the charges.
    """
    width = plan.padded_width(request.d, {})
    centre = group.centre_of(request.y)
    size = plan.group_rows(request.n, width)
    for first in range(0, request.n, size):
        rows = slice(first, min(first + size, request.n))
        part = Upstream(upstream.w[rows], upstream.v[rows])
        mine = Gradients(out.x[rows], out.y, out.weight, out.height[rows])
        _Pass(request, rows, centre, pivots[rows], part, needs, mine).run()


class _Pass:
    """A group of points in its pass over all charges: parts of points and g_v, and the coefficients of a chunk."""

    def __init__(
        self,
        request: Request,
        rows: slice,
        centre: Tensor,
        pivots: Tensor,
        upstream: Upstream,
        needs: Needs,
        out: Gradients,
    ) -> None:
        device, index, cores = request.x.device, shape_index(request.x), processors(request.x)
        self.request, self.rows, self.centre, self.upstream, self.needs, self.out = (
            request, rows, centre, upstream, needs, out,
        )  # fmt: skip
        self.width = plan.padded_width(request.d, {})
        self.tile = plan.row_tile(self.width)
        self.columns = plan.chunked_columns(request.m, self.width)
        self.near_shape, self.depth = plan.DISTANCES[index], plan.DISTANCES_DEPTH[index]
        self.far_shape, self.points_shape = plan.COMBINE[index], plan.COMBINE_POINTS[index]
        self.step = min(self.far_shape.block_m, self.columns)
        padded = triton.cdiv(rows.stop - rows.start, self.tile) * self.tile
        splits = plan.combine_splits(padded, self.columns, self.width, padded, self.tile, cores)
        self.points = Group(request, rows, centre, self.width, self.tile, splits, out.x)
        self.slices, self.per_slice = plan.slices(
            padded, self.columns, self.width, self.near_shape, self.depth, cores
        )
        self.height = plan.gradient_rows(padded, self.columns, self.slices, self.tile, needs.y, needs.weight)
        self._points(pivots)
        self._room(device)

    def _points(self, pivots: Tensor) -> None:
        """Prepare what depends on the points alone: parts of g_v, a without the charges' part, and the pivots."""
        points, upstream, request = self.points, self.upstream, self.request
        device = points.c.device
        self.zero = torch.zeros(max(request.d, self.columns), device=device)
        self.g = Parts.empty(points.rows, self.width, device, low=True, wide=False)
        self.g.fill(upstream.v, self.zero, None)
        self.a = torch.zeros(points.rows, device=device)
        project_rows[(points.n,)](
            x=points.x, centre=self.centre, g_w=upstream.w, g_v=upstream.v, a=self.a, D=request.d,
            BLOCK=min(1024, triton.next_power_of_2(request.d)), num_warps=4, **LAUNCH,
        )  # fmt: skip
        self.pivots = torch.zeros(points.rows, dtype=torch.float64, device=device)
        self.pivots[: points.n] = pivots
        self.constant = torch.where(points.constant < ABSENT.value, points.constant, 1.0)
        # without charge weights the nearest charge alone has the total 1
        first = 1.0 if request.weight is None else 0.0
        self.totals = torch.full((points.rows,), first, device=device)
        self.b_sums, self.q_sums, self.marked = torch.zeros(
            3, points.rows, dtype=torch.float64, device=device
        )

    def _room(self, device: torch.device) -> None:
        """Take memory for the coefficients of a chunk of charges and a block of points."""
        height, columns, needs = self.height, self.columns, self.needs
        self.s, self.t = torch.empty(2, self.slices, height, columns, device=device)
        self.b = torch.empty(2, height, columns, dtype=PART_DTYPE, device=device)
        self.q = torch.empty_like(self.b) if needs.y else (None, None)
        self.rho_a = torch.empty(height, columns, device=device) if needs.weight else None
        self.marks = torch.empty(height, columns // 32, dtype=torch.int32, device=device)
        self.held = torch.empty(height, columns // self.step, dtype=torch.int8, device=device)
        self.tiles = torch.empty(
            height // self.tile, columns // self.step + 2, dtype=torch.int32, device=device
        )
        self.b_columns = torch.empty(columns, device=device)
        self.ones = torch.ones(height, device=device)

    def run(self) -> None:
        """Go over all charges."""
        request, points, columns = self.request, self.points, self.columns
        charges = Parts.empty(
            columns, self.width, points.c.device, low=request.y.dtype != torch.uint8, wide=False
        )
        for first in range(0, request.m, columns):
            y, q = request.chunk(first, columns)
            # a charge of weight 0 has a gradient of its weight
            charges.fill(y, self.centre, None)
            for top in range(0, points.rows, self.height):
                block = slice(top, min(top + self.height, points.rows))
                self._coefficients(charges, q, len(y), request.self_offset(first, self.rows.start), block)
                here = slice(first, first + len(y))
                if self.needs.x:
                    self._add_to_points(charges, y, q, block)
                if self.needs.y or self.needs.weight:
                    self._add_to_charges(charges, y, q, here, block)
        if self.needs.x:
            self._finish()

    def _coefficients(
        self, charges: Parts, q: Tensor | None, count: int, self_offset: int, block: slice
    ) -> None:
        request, points, needs, near = self.request, self.points, self.needs, self.near_shape
        size, form = block.stop - block.start, request.form
        block_n, block_m = min(near.block_n, self.tile), min(near.block_m, self.columns)
        for own, norm2, product in ((points.points, charges.norm2, self.s), (self.g, self.zero, self.t)):
            low = None if own.low is None else own.low[block]
            distances[(size // block_n, self.columns // block_m, self.slices)](
                xh=own.high[block], xl=low, yh=charges.high, yl=charges.low, y2=norm2, s=product, rows=self.height,
                columns=self.columns, width=self.width, depth=self.per_slice, HAS_XL=low is not None,
                HAS_YL=charges.low is not None, BLOCK_N=block_n, BLOCK_M=block_m, BLOCK_D=self.depth, **near.options,
                **LAUNCH,
            )  # fmt: skip
        coefficients_of_rows[(size // ROWS_OF_COEFFICIENTS,)](
            s=self.s, t=self.t, q=q, norm2=points.points.norm2[block], c=points.c[block], largest=charges.largest,
            constant=self.constant[block], pivots=self.pivots[block], a=self.a[block], totals=self.totals[block],
            b_sums=self.b_sums[block], q_sums=self.q_sums[block], b_high=self.b[0], b_low=self.b[1], q_high=self.q[0],
            q_low=self.q[1], rho_a=self.rho_a, marks=self.marks, counts=self.held, rows=self.height,
            slices=self.slices, charges=count, count=len(charges.largest), self_offset=self_offset - block.start,
            rounding=group.ROUNDING, rate=form.rate, second=form.second, heavy=points.heavy,
            cut=request.m / group.NEGLIGIBLE, ROWS=ROWS_OF_COEFFICIENTS, COLUMNS=self.columns, TILE=self.step,
            KIND=form.kind, FAST=request.precision == "fast", HAS_Q=q is not None,
            HAS_SELF=request.first_self is not None, NEEDS_Y=needs.y, NEEDS_Q=needs.weight, EMULATED=INTERPRET,
            num_warps=16, **LAUNCH,
        )  # fmt: skip

    def _add_to_points(self, charges: Parts, y: Tensor, q: Tensor | None, block: slice) -> None:
        points, far, size = self.points, self.far_shape, block.stop - block.start
        block_n, tiles = min(far.block_n, self.tile), self.columns // self.step
        list_tiles[(size // block_n,)](
            counts=self.held, tiles=self.tiles, BLOCK_N=block_n, TILES=tiles, num_warps=4, **LAUNCH
        )
        combine[(size // block_n, self.width // plan.COMBINE_FEATURES, points.count)](
            high=self.b[0], low=self.b[1], yh=charges.high, yl=charges.low, rescales=self.ones, tiles=self.tiles,
            sums=points.sums[0, block.start :], rows=points.rows, columns=self.columns, width=self.width,
            HAS_YL=charges.low is not None, TILES=tiles, BLOCK_N=block_n, BLOCK_D=plan.COMBINE_FEATURES,
            BLOCK_M=self.step, **far.options, **LAUNCH,
        )  # fmt: skip
        count = min(block.stop, points.n) - block.start
        self._add_marked(
            y, q, block, self.out.x[block], self.marked[block], count, points=True, grad=True, total=True
        )

    def _add_to_charges(self, charges: Parts, y: Tensor, q: Tensor | None, here: slice, block: slice) -> None:
        points, far, needs, size = self.points, self.points_shape, self.needs, block.stop - block.start
        out_y, out_weight = self.out.y[here], self.out.weight[here]
        sum_over_points[(triton.cdiv(self.columns, 64),)](
            b_high=self.b[0], b_low=self.b[1], rho_a=self.rho_a, b_columns=self.b_columns, grads=out_weight, rows=size,
            columns=self.columns, charges=len(y), NEEDS_Y=needs.y, NEEDS_Q=needs.weight, BLOCK_N=32, BLOCK_M=64,
            num_warps=4, **LAUNCH,
        )  # fmt: skip
        if needs.y:
            block_n, low = min(far.block_n, self.columns), points.points.low
            combine_points[(self.columns // block_n, self.width // plan.COMBINE_FEATURES)](
                b_high=self.b[0], b_low=self.b[1], q_high=self.q[0], q_low=self.q[1], xh=points.points.high[block],
                xl=None if low is None else low[block], gh=self.g.high[block], gl=self.g.low[block], yh=charges.high,
                yl=charges.low, b_columns=self.b_columns, grads=out_y, rows=size, columns=self.columns,
                width=self.width, charges=len(y), D=self.request.d, HAS_XL=low is not None,
                HAS_YL=charges.low is not None, FIRST=self.rows.start + block.start == 0, BLOCK_N=block_n,
                BLOCK_D=plan.COMBINE_FEATURES, BLOCK_M=min(far.block_m, self.tile), **far.options, **LAUNCH,
            )  # fmt: skip
        self._add_marked(
            y, q, block, out_y, out_weight, len(y), points=False, grad=needs.y, total=needs.weight
        )

    def _add_marked(
        self,
        y: Tensor,
        q: Tensor | None,
        block: slice,
        grads: Tensor,
        sums: Tensor,
        programs: int,
        *,
        points: bool,
        grad: bool,
        total: bool,
    ) -> None:
        mine, form, words = self.points, self.request.form, self.marks.shape[1]
        count = min(block.stop, mine.n) - block.start
        if count <= 0:
            return
        rows = slice(block.start, block.start + count)
        block_d = min(2048, triton.next_power_of_2(self.request.d))
        add_marked[(programs,)](
            x=mine.x[rows], y=y, q=q, base=mine.base[rows], pivots=self.pivots[rows], g_w=self.upstream.w[rows],
            g_v=self.upstream.v[rows], marks=self.marks, grads=grads, sums=sums, D=self.request.d,
            entries=words if points else count, words=words, rate=form.rate, second=form.second, POINTS=points,
            KIND=form.kind, HAS_Q=q is not None, NEEDS_GRAD=grad, NEEDS_SUM=total, BLOCK=block_d, LANES=128,
            num_warps=4, **LAUNCH,
        )  # fmt: skip

    def _finish(self) -> None:
        points, d, n = self.points, self.request.d, self.points.n
        self.out.height.copy_((self.b_sums + self.marked)[:n])
        block_d = min(64, triton.next_power_of_2(d))
        finish_points[(triton.cdiv(n, 32), triton.cdiv(d, block_d))](
            x=points.x, centre=self.centre, g_v=self.upstream.v, sums=points.sums, b_sums=self.b_sums,
            q_sums=self.q_sums, grads=self.out.x, N=n, D=d, rows=points.rows, width=self.width, splits=points.count,
            BLOCK_N=32, BLOCK_D=block_d, num_warps=4, **LAUNCH,
        )  # fmt: skip
