"""Launcher of the gradients in many features, by matrix products; deterministic, in the workspace of :mod:`plan`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from . import group, plan
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
from .launch_chunked import Tiling
from .platform import INTERPRET, LAUNCH, PART_DTYPE, processors, shape_index
from .repeat import Repeated
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
        _pass(request, rows, centre, pivots[rows], part, needs, mine)


class _Points:
    """A group of points and what depends on them alone: parts of g_v, a without the charges' part, and the pivots."""

    def __init__(
        self,
        request: Request,
        rows: slice,
        centre: Tensor,
        pivots: Tensor,
        upstream: Upstream,
        out: Gradients,
    ) -> None:
        width = plan.padded_width(request.d, {})
        tile = plan.row_tile(width)
        padded = triton.cdiv(rows.stop - rows.start, tile) * tile
        columns = plan.chunked_columns(request.m, width)
        splits = plan.combine_splits(padded, columns, width, padded, tile, processors(request.x))
        self.request, self.first, self.upstream, self.out = request, rows.start, upstream, out
        self.group = points = Group(request, rows, centre, width, tile, splits, out.x)
        device = points.c.device
        self.zero = torch.zeros(max(request.d, columns), device=device)
        self.g = Parts.empty(points.rows, width, device, low=True, wide=False)
        self.g.fill(upstream.v, self.zero[: request.d], None)
        self.a = torch.zeros(points.rows, device=device)
        project_rows[(points.n,)](
            x=points.x, centre=centre, g_w=upstream.w, g_v=upstream.v, a=self.a, D=request.d,
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
        self.tiling = Tiling(points, columns)

    def finish(self) -> None:
        """Add what was summed to the gradients of the points and their heights."""
        points, d, n = self.group, self.request.d, self.group.n
        self.out.height.copy_((self.b_sums + self.marked)[:n])
        block_d = min(64, triton.next_power_of_2(d))
        finish_points[(triton.cdiv(n, 32), triton.cdiv(d, block_d))](
            x=points.x, centre=points.centre, g_v=self.upstream.v, sums=points.sums, b_sums=self.b_sums,
            q_sums=self.q_sums, grads=self.out.x, N=n, D=d, rows=points.rows, width=points.width, splits=points.count,
            BLOCK_N=32, BLOCK_D=block_d, num_warps=4, **LAUNCH,
        )  # fmt: skip


class _Chunk:
    """The buffers of a chunk of charges and a block of points: products, coefficients in parts, marks, held tiles."""

    def __init__(self, points: _Points, needs: Needs) -> None:
        tiling, device = points.tiling, points.a.device
        columns = tiling.columns
        self.height = height = plan.gradient_rows(
            tiling.rows, columns, tiling.slices, tiling.tile, needs.y, needs.weight
        )
        low = points.request.y.dtype != torch.uint8
        self.charges = Parts.empty(columns, tiling.width, device, low=low, wide=False)
        self.s, self.t = torch.empty(2, tiling.slices, height, columns, device=device)
        self.b = torch.empty(2, height, columns, dtype=PART_DTYPE, device=device)
        self.q = torch.empty_like(self.b) if needs.y else (None, None)
        self.rho_a = torch.empty(height, columns, device=device) if needs.weight else None
        self.marks = torch.empty(height, columns // 32, dtype=torch.int32, device=device)
        self.held = torch.empty(height, columns // tiling.step, dtype=torch.int8, device=device)
        self.b_columns = torch.empty(columns, device=device)
        self.ones = torch.ones(height, device=device)


class _Block:
    """The launches that add the gradients of a chunk of charges and the points ``block``."""

    def __init__(self, points: _Points, chunk: _Chunk, needs: Needs, block: slice) -> None:
        self.points, self.chunk, self.needs, self.block = points, chunk, needs, block
        self.count = min(block.stop, points.group.n) - block.start
        own, tiling, charges = points.group, points.tiling, chunk.charges
        self.products = (
            tiling.product(own.points, block, charges, charges.norm2, chunk.s),
            tiling.product(points.g, block, charges, points.zero, chunk.t),
        )
        self.coefficients = self._coefficients()
        self.reduction = tiling.reduction(block, chunk.b, chunk.held, charges, chunk.ones, own.sums)
        self.add_to_points = self._marked(
            (self.count,), chunk.marks.shape[1], POINTS=True, NEEDS_GRAD=True, NEEDS_SUM=True
        )
        #: by the number of charges, which differs in the last chunk
        self.add_to_charges: dict[int, Repeated] = {}
        self.sum_over_points = self._sum_over_points()
        self.combine_points = self._combine_points() if needs.y else None

    def _coefficients(self) -> Repeated:
        points, chunk, block, needs = self.points, self.chunk, self.block, self.needs
        request, own, form = points.request, points.group, points.request.form
        return Repeated(
            coefficients_of_rows, ((block.stop - block.start) // ROWS_OF_COEFFICIENTS,), plan.COEFFICIENTS.options,
            s=chunk.s, t=chunk.t, norm2=own.points.norm2[block], c=own.c[block], largest=chunk.charges.largest,
            constant=points.constant[block], pivots=points.pivots[block], a=points.a[block],
            totals=points.totals[block], b_sums=points.b_sums[block], q_sums=points.q_sums[block], b_high=chunk.b[0],
            b_low=chunk.b[1], q_high=chunk.q[0], q_low=chunk.q[1], rho_a=chunk.rho_a, marks=chunk.marks,
            counts=chunk.held, rows=chunk.height, slices=points.tiling.slices, count=len(chunk.charges.largest),
            rounding=group.ROUNDING, rate=form.rate, second=form.second, heavy=own.heavy,
            cut=request.m / group.NEGLIGIBLE, ROWS=ROWS_OF_COEFFICIENTS, COLUMNS=points.tiling.columns,
            BLOCK=min(plan.COEFFICIENTS.block_m, points.tiling.columns), TILE=points.tiling.step, KIND=form.kind,
            FAST=request.precision == "fast", HAS_Q=request.weight is not None,
            HAS_SELF=request.first_self is not None, NEEDS_Y=needs.y, NEEDS_Q=needs.weight, EMULATED=INTERPRET,
        )  # fmt: skip

    def _marked(self, grid: tuple[int, ...], entries: int, **options: Any) -> Repeated:
        points, own, form = self.points, self.points.group, self.points.request.form
        rows, d = slice(self.block.start, self.block.start + self.count), self.points.request.d
        if options["POINTS"]:
            options |= {"grads": points.out.x[rows], "sums": points.marked[rows]}
        return Repeated(
            add_marked, grid, {"num_warps": 4},
            x=own.x[rows], base=own.base[rows], pivots=points.pivots[rows], g_w=points.upstream.w[rows],
            g_v=points.upstream.v[rows], marks=self.chunk.marks, D=d, entries=entries,
            words=self.chunk.marks.shape[1], rate=form.rate, second=form.second, KIND=form.kind,
            HAS_Q=points.request.weight is not None, BLOCK=min(2048, triton.next_power_of_2(d)), LANES=128, **options,
        )  # fmt: skip

    def _sum_over_points(self) -> Repeated:
        chunk, columns = self.chunk, self.points.tiling.columns
        return Repeated(
            sum_over_points, (triton.cdiv(columns, 64),), {"num_warps": 4},
            b_high=chunk.b[0], b_low=chunk.b[1], rho_a=chunk.rho_a, b_columns=chunk.b_columns,
            rows=self.block.stop - self.block.start, columns=columns, NEEDS_Y=self.needs.y, NEEDS_Q=self.needs.weight,
            BLOCK_N=32, BLOCK_M=64,
        )  # fmt: skip

    def _combine_points(self) -> Repeated:
        points, chunk, block = self.points, self.chunk, self.block
        own, charges, tiling = points.group.points, chunk.charges, points.tiling
        shape = plan.COMBINE_POINTS[shape_index(points.request.x)]
        block_n = min(shape.block_n, tiling.columns)
        return Repeated(
            combine_points, (tiling.columns // block_n, tiling.width // plan.COMBINE_FEATURES), shape.options,
            b_high=chunk.b[0], b_low=chunk.b[1], q_high=chunk.q[0], q_low=chunk.q[1], xh=own.high[block],
            xl=None if own.low is None else own.low[block], gh=points.g.high[block],
            gl=None if points.g.low is None else points.g.low[block], yh=charges.high, yl=charges.low,
            b_columns=chunk.b_columns, rows=block.stop - block.start,
            columns=tiling.columns, width=tiling.width, D=points.request.d, HAS_XL=own.low is not None,
            HAS_YL=charges.low is not None, FIRST=points.first + block.start == 0, BLOCK_N=block_n,
            BLOCK_D=plan.COMBINE_FEATURES, BLOCK_M=min(shape.block_m, tiling.tile),
        )  # fmt: skip

    def add(self, first: int, y: Tensor, q: Tensor | None) -> None:
        """Add the gradients of the charges ``y`` of weights ``q``, the first of them ``first``."""
        needs, points = self.needs, self.points
        for product in self.products:
            product()
        offset = points.request.self_offset(first, points.first + self.block.start)
        self.coefficients(q=q, charges=len(y), self_offset=offset)
        if needs.x:
            for launch in self.reduction:
                launch()
            self.add_to_points(y=y, q=q)
        if needs.y or needs.weight:
            here = slice(first, first + len(y))
            grads, sums = points.out.y[here], points.out.weight[here]
            self.sum_over_points(grads=sums, charges=len(y))
            if self.combine_points is not None:
                self.combine_points(grads=grads, charges=len(y))
            if len(y) not in self.add_to_charges:
                self.add_to_charges[len(y)] = self._marked(
                    (len(y),), self.count, POINTS=False, NEEDS_GRAD=needs.y, NEEDS_SUM=needs.weight
                )
            self.add_to_charges[len(y)](y=y, q=q, grads=grads, sums=sums)


def _pass(
    request: Request,
    rows: slice,
    centre: Tensor,
    pivots: Tensor,
    upstream: Upstream,
    needs: Needs,
    out: Gradients,
) -> None:
    """Add the gradients of the points ``rows`` and of all charges; all arguments but the request are of these rows."""
    points = _Points(request, rows, centre, pivots, upstream, out)
    chunk = _Chunk(points, needs)
    padded = points.group.rows
    blocks = [
        _Block(points, chunk, needs, slice(top, min(top + chunk.height, padded)))
        for top in range(0, padded, chunk.height)
    ]
    # a charge of weight 0 is not absent: its weight has a gradient
    fill = chunk.charges.filling(centre, weighted=False)
    columns = points.tiling.columns
    for first in range(0, request.m, columns):
        y, q = request.chunk(first, columns)
        fill(source=y, q=None, rows=len(y))
        for block in blocks:
            block.add(first, y, q)
    if needs.x:
        points.finish()
