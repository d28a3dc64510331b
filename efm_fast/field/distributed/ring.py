"""Charges that go round a ring of processes, each of which sums them at its own points.

While a process sums one block of charges, it receives the next one. The gradients of charges go round with them: each
process adds the gradients from its points, and after one round they are back where they belong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .. import torch_op
from ..logsum import CentredSum
from ..request import SumRequest
from .collectives import packed, unpacked
from .plan import Plan

_BLOCK, _GRADIENT = 1, 2  # tags of the two kinds of messages


def ring_sum(request: SumRequest, backend: str, plan: Plan) -> CentredSum:
    """The sum of ``request`` over the charges of all processes."""
    m, w, along, rest = _Ring.apply(
        request.x, request.y, request.weight, request.height, request, backend, plan
    )
    return CentredSum(m, w, along, rest, request.centre)


def _blocks(mine: Tensor, plan: Plan) -> Iterator[tuple[int, Tensor]]:
    """The rows of all processes with their ranks: those of this process first, then the others as they arrive."""
    processes, current = plan.processes, mine
    for step in range(processes.size):
        owner = (processes.rank + step) % processes.size
        coming: Tensor = current
        works: list[dist.Work] = []
        if step + 1 < processes.size:
            count = plan.charges[(owner + 1) % processes.size] or 0
            coming = current.new_empty(count, *mine.shape[1:])
            works = processes.pass_on(current, coming, _BLOCK)
        if not plan.prefetch:
            _wait(works)
        yield owner, current
        if plan.prefetch:
            _wait(works)
        current = coming


def _wait(works: list[dist.Work]) -> None:
    """Wait for messages once. Gloo never returns from a second wait for the same message."""
    for work in works:
        work.wait()


def _parts(request: SumRequest, plan: Plan) -> Iterator[tuple[int, SumRequest]]:
    """The request for the charges of each process, with the rank that they belong to."""
    like = [request.y] if request.weight is None else [request.y, request.weight]
    me = plan.processes.rank
    for owner, rows in _blocks(packed(like), plan):
        y, *weight = (request.y, request.weight) if owner == me else unpacked(rows, like)
        first_self = request.first_self
        if first_self is not None:
            first_self += plan.before(plan.charges, owner) - plan.before(plan.points, me)
        found = weight[0] if request.weight is not None else None
        yield owner, replace(request, y=y, weight=found, first_self=first_self)


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        height: Tensor | None,
        request: SumRequest,
        backend: str,
        plan: Plan,
    ) -> tuple[Tensor | None, ...]:
        own = replace(request, x=x, y=y, weight=weight, height=height)
        sums = (torch_op.call(part, backend) for _, part in _parts(own, plan))
        total = next(sums)
        for part in sums:
            total = total.merge(part)
        ctx.save_for_backward(total.m, x, y, weight, height)
        ctx.request, ctx.backend, ctx.plan = request, backend, plan
        ctx.mark_non_differentiable(*(part for part in (total.m, total.along) if part is not None))
        return total.m, total.w, total.along, total.rest

    @staticmethod
    def backward(
        ctx: Any, g_m: Tensor | None, g_w: Tensor, g_along: Tensor | None, g_v: Tensor
    ) -> tuple[Tensor | None, ...]:
        m, x, y, weight, height = ctx.saved_tensors
        needs = list(ctx.needs_input_grad[:4])
        own = replace(ctx.request, x=x, y=y, weight=weight, height=height)
        here: dict[int, Tensor] = {}  # gradients of this process's points and heights
        travelling: list[Tensor] = []  # gradients of the charges that are here now, and of their weights
        for step, (_, part) in enumerate(_parts(own, ctx.plan)):
            flat = torch_op._flat(part, torch_op.backends.requested_name(ctx.backend))
            found = torch_op.field_sum_backward(m, g_w.to(g_v.dtype), g_v, needs, *flat)
            for k in (0, 3):
                if needs[k]:
                    here[k] = here[k] + found[k] if k in here else found[k]
            new = [found[k] for k in (1, 2) if needs[k]]
            if new:
                before = travelling if step else [torch.zeros_like(part) for part in new]
                travelling = [a + b for a, b in zip(before, new, strict=True)]
                travelling = _passed(travelling, ctx.plan, step)
        charges = iter(travelling)
        y_and_weight = [next(charges) if needs[k] else None for k in (1, 2)]
        return here.get(0), *y_and_weight, here.get(3), None, None, None


def _passed(gradients: list[Tensor], plan: Plan, step: int) -> list[Tensor]:
    """The gradients of the next block, received from the process before; the last are for this process's charges."""
    processes = plan.processes
    count = plan.charges[(processes.rank + step + 1) % processes.size] or 0
    rows = packed(gradients)
    coming = rows.new_empty(count, rows.shape[1])
    _wait(processes.pass_on(rows, coming, _GRADIENT))
    return unpacked(coming, gradients)
