"""Launcher of the fused pass, for a medium number of features; doubtful pairs are added by direct difference."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from . import group, plan
from .fused import sum_fused
from .group import Group, Parts, by_groups
from .platform import INTERPRET, LAUNCH, processors, shape_index
from .repeat import Repeated
from .request import Request, Sums
from .seed import seed_rows


def launch_fused(request: Request) -> Sums:
    """Sum in one pass of split-precision matrix products; the workspace is that of :mod:`plan`."""
    return by_groups(request, plan.padded_width(request.d, plan.fused_shapes(shape_index(request.x))), _group)


def _cut(request: Request) -> Tensor:
    """A charge does not matter if its kernel times this is below the row's total; float32 [1]."""
    least = request.m / group.NEGLIGIBLE
    if request.weight is None:
        return torch.full((1,), least, device=request.x.device)
    return request.weight.abs().amax().mul(least).reshape(1)


def _seed(points: Group, shape: plan.Shape, centre: Tensor, pivots: Tensor, unsigned: Tensor) -> None:
    """Set the first ``pivots`` and totals ``unsigned`` [splits, rows] of all splits from a sample of the charges."""
    request, form = points.request, points.request.form
    size = plan.seed_charges(request.m)
    if size == 0:
        return
    step = request.m // size
    sample = Parts.empty(size, points.width, centre.device, low=request.y.dtype != torch.uint8, wide=False)
    sample.fill(request.y, centre, request.weight, step)
    seed_rows[(points.rows // shape.block_n,)](
        xh=points.points.high, xl=points.points.low, norm2=points.points.norm2, c=points.c, largest=sample.largest,
        yh=sample.high, yl=sample.low, y2=sample.norm2, q=request.weight, pivots=pivots, totals=unsigned,
        rows=points.rows, sampled=size, count=len(sample.largest), splits=points.count, step=step,
        self_offset=request.self_offset(0, points.first), rounding=group.ROUNDING, rate=form.rate, second=form.second,
        WIDTH=points.width, KIND=form.kind, VANISHES=form.vanishes(),
        HAS_XL=points.points.low is not None, HAS_YL=sample.low is not None, HAS_Q=request.weight is not None,
        HAS_SELF=request.first_self is not None, BLOCK_N=shape.block_n, BLOCK_M=shape.block_m,
        **shape.options, **LAUNCH,
    )  # fmt: skip


def _group(request: Request, rows: slice, centre: Tensor, out: Sums) -> None:
    shapes, form = plan.fused_shapes(shape_index(request.x)), request.form
    width = plan.padded_width(request.d, shapes)
    shape = shapes[width]
    device, n = request.x.device, rows.stop - rows.start
    padded = triton.cdiv(n, plan.ROWS) * plan.ROWS
    chunk = plan.fused_chunk(request.m, padded, width)
    count, per_split = plan.fused_splits(padded, chunk, width, shape, processors(request.x))
    points = Group(request, rows, centre, width, plan.ROWS, count, out.v)
    charges = Parts.empty(chunk, width, device, low=request.y.dtype != torch.uint8, wide=False)
    pivots = points.pivots(count)
    unsigned = points.unsigned(count)
    marks = torch.empty(padded, chunk // 32, dtype=torch.int32, device=device)
    _seed(points, shape, centre, pivots, unsigned)
    fill = charges.filling(centre, weighted=request.weight is not None)
    add = Repeated(
        sum_fused, (padded // shape.block_n, count), shape.options,
        xh=points.points.high, xl=points.points.low, norm2=points.points.norm2, c=points.c, largest=charges.largest,
        yh=charges.high, yl=charges.low, y2=charges.norm2, cuts=_cut(request), marks=marks, pivots=pivots,
        totals=unsigned, rests=points.totals, sums=points.sums, rows=padded, count=len(charges.largest),
        per_split=per_split, chunk=chunk, words=chunk // 32, rounding=group.ROUNDING, rate=form.rate,
        second=form.second, heavy=points.heavy, WIDTH=width, KIND=form.kind, VANISHES=form.vanishes(),
        FAST=request.precision == "fast", HAS_XL=points.points.low is not None, HAS_YL=charges.low is not None,
        HAS_Q=request.weight is not None, HAS_SELF=request.first_self is not None, EMULATED=INTERPRET,
        BLOCK_N=shape.block_n, BLOCK_M=shape.block_m,
    )  # fmt: skip
    rescore = points.rescoring(marks, 0, n)
    for first in range(0, request.m, chunk):
        y, q = request.chunk(first, chunk)
        fill(source=y, q=q, rows=len(y))
        add(q=q, charges=len(y), self_offset=request.self_offset(first, rows.start))
        rescore(y=y, q=q)
    points.finish(pivots, out)
