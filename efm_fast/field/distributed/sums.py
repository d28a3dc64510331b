"""One sum over the charges of all processes, in the mode on which they agree."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...errors import EfmError
from .. import backends
from ..logsum import CentredSum
from ..request import SumRequest, checked, heights
from ..streaming import is_streamed
from .collectives import gathered, merged, replicated
from .plan import Plan
from .ring import ring_sum
from .sharding import Sharding

Serve = Callable[[SumRequest], tuple[CentredSum, float | Tensor | None]]


def sharded_sum(
    request: SumRequest, backend: str, sharding: Sharding, serve: Serve
) -> tuple[CentredSum, float | Tensor | None]:
    """:func:`_sharded_sum` outside of compiled graphs."""
    return _outside_graphs()(request, backend, sharding, serve)


@functools.cache
def _outside_graphs() -> Callable[..., tuple[CentredSum, float | Tensor | None]]:
    # not at import time, because this imports the compiler, which a sum without a group does not need
    return torch.compiler.disable(_sharded_sum)


def _sharded_sum(
    request: SumRequest, backend: str, sharding: Sharding, serve: Serve
) -> tuple[CentredSum, float | Tensor | None]:
    """The sum at this process's points over the charges of all processes.

    Args:
        request: the request of this process, unchecked.
        backend: name of the backend.
        sharding: how the processes share the sum.
        serve: computes the sum over this process's charges, in memory or streamed, and their total if streamed.

    Returns:
        The sum, and the total of this process's charges if they are streamed.

    Raises:
        EfmError: the arguments of a process are wrong or do not fit those of another; every process raises it.
    """
    plan, request = _agreed(request, backend, sharding)
    if plan.mode == "ring":
        return ring_sum(request, backend, plan), None
    me = plan.processes.rank
    if request.first_self is not None:
        request = replace(request, first_self=request.first_self + plan.before(plan.charges, me))
    share = replicated if plan.mode == "reduce" else gathered
    height = None if request.height is None else share(request.height, plan)
    request = replace(request, x=share(request.x, plan), height=height)
    if not is_streamed(request.y):
        return merged(serve(request)[0], plan), None
    try:
        part, charge = serve(request)
    except EfmError as problem:  # in a chunk; the other processes must know before they wait for the sum
        plan.processes.agree({}, problem)
        raise
    plan.processes.agree({})
    return merged(part, plan), charge


def _agreed(request: SumRequest, backend: str, sharding: Sharding) -> tuple[Plan, SumRequest]:
    """The plan of all processes, and this process's request, whose charges are checked if they are in memory."""
    problem = None
    try:
        if is_streamed(request.y):
            nothing = request.x.new_zeros(0, request.x.shape[1])
            tried = checked(replace(request, y=nothing, weight=None))
            request = replace(tried, y=request.y, weight=request.weight)
        else:
            request = tried = checked(request)
        if request.height is not None:
            request = replace(request, height=heights(request.height, request.x))
        backends.select(tried, backend)
    except EfmError as found:
        problem = found
    return sharding.plan(request, backends.requested_name(backend), problem), request
