"""The field sum as an operator of torch: fake kernel, autograd, compile and vmap.

``torch.ops.efm_fast.field_sum`` takes tensors and plain scalars and returns (m, w, along, rest): a
:class:`efm_fast.types.CentredSum`, whose ``along`` is [0] without a centre. Its gradient treats the log scale m as a
constant pivot (see :mod:`efm_fast.field.gradient`). All displacements' gradient comes in through ``rest``: whoever puts
them together takes ``along`` and x - centre as constants. Second derivatives are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..types import CentredSum
from . import backends
from .gradient import Needs
from .request import Kernel, SumRequest

_OPTIONS = "str kernel, float scale, float softening, int? first_self, str backend, str precision"
_INPUTS = f"Tensor x, Tensor y, Tensor? weight, Tensor? height, Tensor? centre, {_OPTIONS}"


def _request(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    height: Tensor | None,
    centre: Tensor | None,
    kernel: Kernel,
    scale: float,
    softening: float,
    first_self: int | None,
    precision: Any,
) -> SumRequest:
    return SumRequest(
        x=x,
        y=y,
        kernel=kernel,
        power=scale if kernel == "riesz" else math.nan,
        bandwidth=scale if kernel == "gaussian" else math.nan,
        softening=softening,
        weight=weight,
        height=height,
        first_self=first_self,
        precision=precision,
        centre=centre,
    )


@torch.library.custom_op(
    "efm_fast::field_sum", mutates_args=(), schema=f"({_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)"
)
def field_sum(x, y, weight, height, centre, kernel, scale, softening, first_self, backend, precision):  # type: ignore[no-untyped-def]
    """Serve the sum by the backend of that name: m, w and along float64 [N], rest [N, D]."""
    request = _request(x, y, weight, height, centre, kernel, scale, softening, first_self, precision)
    total = _served(request, backend)
    along = total.w.new_zeros(0) if total.along is None else total.along
    return tuple(part.contiguous() for part in (total.m, total.w, along, total.rest))


@field_sum.register_fake
def _field_sum_fake(x, y, weight, height, centre, kernel, scale, softening, first_self, backend, precision):  # type: ignore[no-untyped-def]
    dtype = torch.float64 if backend == "reference" or precision == "exact" else x.dtype
    n, d = x.shape
    m, w = (x.new_empty(n, dtype=torch.float64) for _ in range(2))
    along = x.new_empty(0 if centre is None else n, dtype=torch.float64)
    return m, w, along, x.new_empty(n, d, dtype=dtype)


@torch.library.custom_op(
    "efm_fast::field_sum_backward",
    mutates_args=(),
    schema=f"(Tensor m, Tensor g_w, Tensor g_v, {_INPUTS}, bool[] needs) -> (Tensor, Tensor, Tensor, Tensor)",
)
def field_sum_backward(  # type: ignore[no-untyped-def]
    m, g_w, g_v, x, y, weight, height, centre, kernel, scale, softening, first_self, backend, precision, needs
):
    """Gradients with respect to x, y, weight and height, in their dtypes; [0] where ``needs`` says no."""
    request = _request(x, y, weight, height, centre, kernel, scale, softening, first_self, precision)
    gradients = backends.select(request, backend).riesz_sum_backward(request, m, g_w, g_v, Needs(*needs))
    return tuple(
        gradient.to(x.dtype if source is None else source.dtype)
        for gradient, source in zip(gradients, (x, y, weight, height), strict=True)
    )


@field_sum_backward.register_fake
def _field_sum_backward_fake(  # type: ignore[no-untyped-def]
    m, g_w, g_v, x, y, weight, height, centre, kernel, scale, softening, first_self, backend, precision, needs
):
    sources = zip((x, y, weight, height), needs, strict=True)
    return tuple(
        torch.empty_like(s, memory_format=torch.contiguous_format)
        if needed
        else (x if s is None else s).new_empty(0)
        for s, needed in sources
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, y, weight, height, centre, *options = inputs
    ctx.mark_non_differentiable(output[0], output[2])
    ctx.save_for_backward(x, y, weight, height, centre, output[0])
    ctx.options = options


def _backward(
    ctx: Any,
    g_m: Tensor | None,
    g_w: Tensor,
    g_along: Tensor | None,
    g_v: Tensor,
    op: Callable[..., Any] = field_sum_backward,
) -> tuple[Tensor | None, ...]:
    x, y, weight, height, centre, m = ctx.saved_tensors
    needs = [bool(needed) for needed in ctx.needs_input_grad[:4]]
    gradients = op(m, g_w.to(g_v.dtype), g_v, x, y, weight, height, centre, *ctx.options, needs)
    wanted = (gradient if needed else None for gradient, needed in zip(gradients, needs, strict=True))
    return (*wanted, None, *(None for _ in ctx.options))


def _refuse_second_derivative(ctx: Any, *gradients: Tensor) -> None:
    raise NotImplementedError(
        "second derivatives of a field sum are not implemented: differentiate it once, or differentiate a field "
        "written out in plain torch"
    )


def _batch_size(in_dims: Sequence[int | None], args: Sequence[Any]) -> int:
    return next(a.shape[dim] for a, dim in zip(args, in_dims, strict=True) if dim is not None)


def _one_by_one(op: Callable[..., Any]) -> Callable[..., Any]:
    """A vmap rule that calls ``op`` once per batch element: right for every argument, batched or not."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        # a list argument (needs) has a list of dims
        dims = [dim if isinstance(dim, int) else None for dim in in_dims]
        calls = [
            op(*(a if dim is None else a.select(dim, i) for a, dim in zip(args, dims, strict=True)))
            for i in range(_batch_size(dims, args))
        ]
        out = tuple(torch.stack(column) for column in zip(*calls, strict=True))
        return out, (0,) * len(out)

    return rule


def _field_sum_vmap(
    info: Any, in_dims: tuple[Any, ...], *args: Any, op: Callable[..., Any] = field_sum
) -> tuple[Any, Any]:
    """Batched points before the same charges are simply more points; else one call per batch element."""
    x, y, weight, height, centre, kernel, scale, softening, first_self, backend, precision = args
    x_dim, y_dim, weight_dim, height_dim, centre_dim = in_dims[:5]
    if centre_dim is not None or y_dim is not None or weight_dim is not None or first_self is not None:
        return _one_by_one(op)(info, in_dims, *args)
    batch = _batch_size(in_dims[:4], args[:4])
    x = x.expand(batch, *x.shape) if x_dim is None else x.movedim(x_dim, 0)
    if height is not None:
        height = height.expand(batch, *height.shape) if height_dim is None else height.movedim(height_dim, 0)
        height = height.flatten()
    flat = op(
        x.flatten(0, 1), y, weight, height, centre, kernel, scale, softening, first_self, backend, precision
    )
    # along is [0] without a centre
    parts = tuple(
        part.unflatten(0, (batch, -1)) if len(part) else part.expand(batch, *part.shape) for part in flat
    )
    return parts, (0, 0, 0, 0)


field_sum.register_autograd(_backward, setup_context=_setup_context)
field_sum.register_vmap(_field_sum_vmap)
field_sum_backward.register_autograd(_refuse_second_derivative)
field_sum_backward.register_vmap(_one_by_one(field_sum_backward))


class _FieldSum(torch.autograd.Function):
    """The operator under torch.func transforms, which do not reach through ``register_autograd``."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return field_sum(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _setup_context(ctx, inputs, output)

    @staticmethod
    def backward(
        ctx: Any, g_m: Tensor, g_w: Tensor, g_along: Tensor, g_v: Tensor
    ) -> tuple[Tensor | None, ...]:
        return _backward(ctx, g_m, g_w, g_along, g_v, _FieldSumBackward.apply)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        return _field_sum_vmap(info, in_dims, *args, op=_FieldSum.apply)


class _FieldSumBackward(torch.autograd.Function):
    """The backward operator under torch.func transforms."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return tuple(field_sum_backward(*args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        _refuse_second_derivative(ctx, *gradients)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        return _one_by_one(_FieldSumBackward.apply)(info, in_dims, *args)


def _needs_operator(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether anything is watching: a compiler, a tensor subclass or autograd."""
    if torch.compiler.is_compiling():
        return True
    grad = torch.is_grad_enabled()
    return any(
        t is not None and ((grad and t.requires_grad) or type(t) not in (Tensor, torch.nn.Parameter))
        for t in tensors
    )


def _transformed() -> bool:
    """Whether a torch.func transform or forward-mode differentiation is active around an eager call."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _served(request: SumRequest, backend: str) -> CentredSum:
    """The sum, split about the request's centre, or with whole displacements where it has none."""
    total = backends.select(request, backend).centred_sum(request)
    if request.centre is None:
        return CentredSum.of(total.whole(request.x), total.w)
    if total.along is None:
        return replace(total, along=torch.zeros_like(total.w), centre=request.centre)
    return total


def watched(*tensors: Tensor | None) -> bool:
    """Whether a compiler, a transform, a tensor subclass or autograd must see what happens to ``tensors``."""
    return _transformed() or _needs_operator(tensors)


def call(request: SumRequest, backend: str) -> CentredSum:
    """Serve ``request``, as an operator where someone watches, else without the operator's overhead."""
    tensors = (request.x, request.y, request.weight, request.height)
    transformed = _transformed()
    if not transformed and not _needs_operator(tensors):
        return _served(request, backend)
    op = _FieldSum.apply if transformed else field_sum
    scale = request.power if request.kernel == "riesz" else request.bandwidth
    m, w, along, rest = op(
        *tensors,
        request.centre,
        request.kernel,
        scale,
        request.softening,
        request.first_self,
        backends.requested_name(backend),
        request.precision,
    )
    return CentredSum(m, w, None if request.centre is None else along, rest, request.centre)
