"""Collectives for rows of points and sums, with their gradients.

All additions are in the order of ranks, so that a result has the same bits in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ...processes import Processes
from ..logsum import CentredSum, LogSum, _factor, _scaled
from .plan import Plan


def packed(parts: Sequence[Tensor]) -> Tensor:
    """Tensors [N] or [N, D] as rows of bytes, uint8 [N, B]."""
    rows = [part.detach().reshape(len(part), _width(part)) for part in parts]
    return torch.cat([row.contiguous().view(torch.uint8) for row in rows], 1)


def unpacked(rows: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors that :func:`packed` has packed, with the dtypes and widths of ``like``."""
    parts, start = [], 0
    for one in like:
        end = start + _width(one) * one.element_size()
        part = rows[:, start:end].clone(memory_format=torch.contiguous_format).view(one.dtype)
        parts.append(part.reshape(len(rows), *one.shape[1:]))
        start = end
    return parts


def _width(part: Tensor) -> int:
    return part.shape[1] if part.ndim == 2 else 1


def _sum_in_order(parts: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, parts)


def added_up(mine: Tensor, processes: Processes, *, rows: bool = False) -> Tensor:
    """The sum over processes of tensors of one shape, added in the order of ranks.

    Args:
        mine: the tensor of this process, [N, ...].
        processes: the processes whose tensors are added.
        rows: True if N is large: each process then adds a part of the rows and gathers the other parts.
    """
    if not rows:
        return _sum_in_order(processes.gather_rows(mine, [len(mine)] * processes.size))
    size, n = processes.size, len(mine)
    counts = [n * (k + 1) // size - n * k // size for k in range(size)]
    dealt = processes.deal_rows(mine, counts, [counts[processes.rank]] * size)
    return torch.cat(processes.gather_rows(_sum_in_order(dealt), counts))


def total(mine: Tensor, processes: Processes, replicated: bool) -> Tensor:
    """The sum of one number of every process, float64 [], with its gradient."""
    return _Total.apply(mine, processes, replicated)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mine: Tensor, processes: Processes, replicated: bool) -> Tensor:
        ctx.processes, ctx.replicated = processes, replicated
        return added_up(mine.reshape(1), processes)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        whole = gradient if ctx.replicated else added_up(gradient.reshape(1), ctx.processes)[0]
        return whole, None, None


def replicated(values: Tensor, plan: Plan) -> Tensor:
    """Points that all processes have. Their gradient is the sum of the gradients from the charges of each process."""
    return _Replicated.apply(values, plan.processes) if values.requires_grad else values


def gathered(mine: Tensor, plan: Plan) -> Tensor:
    """The points of all processes, in the order of ranks."""
    return _Gathered.apply(mine, plan)


class _Replicated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return added_up(gradient, ctx.processes, rows=True), None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mine: Tensor, plan: Plan) -> Tensor:
        ctx.plan = plan
        return torch.cat(plan.processes.gather_rows(mine, plan.points))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        own = plan.points[plan.processes.rank]
        return _sum_in_order(plan.processes.deal_rows(gradient, plan.points, [own] * len(plan.points))), None


def merged(part: CentredSum, plan: Plan) -> CentredSum:
    """The sum over the charges of all processes, merged from the sums of each process at the same rows.

    Every row is merged by the process that it belongs to, see :meth:`Plan.rows`. If the points are replicated, every
    process then gets all rows; otherwise each gets its own.
    """
    m, w, along, rest = _Merged.apply(part.m, part.w, part.along, part.rest, part.centre, plan)
    return CentredSum(m, w, along, rest, part.centre)


def sum_of_all(part: LogSum, processes: Processes) -> LogSum:
    """The sum of one row of every process; the part of each process gets the gradient of the sum."""
    plan = Plan("reduce", processes, [len(part.m)] * processes.size, [], {}, replicated=True)
    whole = merged(CentredSum.of(part), plan)
    return LogSum(whole.m, whole.w.to(part.w.dtype), whole.rest)


class _Merged(torch.autograd.Function):
    """The merge. For autograd it is a sum of the processes' parts, each scaled to the common log scale."""

    @staticmethod
    def forward(
        ctx: Any, m: Tensor, w: Tensor, along: Tensor | None, rest: Tensor, centre: Tensor | None, plan: Plan
    ) -> tuple[Tensor | None, ...]:
        own = m, w, *(() if along is None else (along,)), rest
        rows, me = plan.rows(), plan.processes.rank
        dealt = plan.processes.deal_rows(packed(own), rows, [rows[me]] * len(rows))
        parts = (unpacked(block, own) for block in dealt)
        sums = (CentredSum(p[0], p[1], None if along is None else p[2], p[-1], centre) for p in parts)
        whole = reduce(CentredSum.merge, sums)
        found = [whole.m, whole.w, *(() if along is None else (whole.along,)), whole.rest]
        if plan.replicated:
            found = unpacked(torch.cat(plan.processes.gather_rows(packed(found), rows)), own)
        ctx.plan = plan
        ctx.save_for_backward(m, found[0])
        result = found[0], found[1], None if along is None else found[2], found[-1]
        ctx.mark_non_differentiable(*(part for part in (result[0], result[2]) if part is not None))
        return result

    @staticmethod
    def backward(
        ctx: Any, g_m: Tensor | None, g_w: Tensor, g_along: Tensor | None, g_rest: Tensor
    ) -> tuple[Tensor | None, ...]:
        mine, whole = ctx.saved_tensors
        plan: Plan = ctx.plan
        if not plan.replicated:
            like = whole, g_w, g_rest
            every = torch.cat(plan.processes.gather_rows(packed(like), plan.points))
            whole, g_w, g_rest = unpacked(every, like)
        factor = _factor(mine, whole)
        return None, _scaled(g_w, factor), None, _scaled(g_rest, factor), None, None
