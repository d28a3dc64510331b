"""The field sum as an operator of torch: fake kernel, autograd, compile and vmap.

``torch.ops.efm_fast.field_sum`` takes tensors and plain scalars and returns (m, w, along, rest): a
:class:`efm_fast.field.logsum.CentredSum`, whose ``along`` is [0] without a centre. Its gradient treats the log scale m
as a constant (see :mod:`efm_fast.field.backends.gradient`). The whole gradient of displacements flows through ``rest``;
code that adds along (x - centre) to it must treat that part as a constant. Second derivatives raise an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import backends
from .backends.gradient import Needs
from .kernel import make_kernel
from .logsum import CentredSum
from .request import SumRequest

_OPTIONS = "str kernel, float[] parameters, float softening, int? first_self, str backend, str precision"
_INPUTS = f"Tensor x, Tensor y, Tensor? weight, Tensor? height, Tensor? centre, {_OPTIONS}"
_TENSORS, _DIFFERENTIABLE = 5, 4  # numbers of inputs that are tensors, and that have gradients


def _flat(request: SumRequest, backend: str) -> tuple[Any, ...]:
    """``request`` and the backend's name as arguments of an operator: tensors and plain values."""
    return (
        request.x,
        request.y,
        request.weight,
        request.height,
        request.centre,
        request.kernel.name,
        list(request.kernel.parameters),
        request.softening,
        request.first_self,
        backend,
        request.precision,
    )


def _request(
    x: Tensor, y: Tensor, weight: Tensor | None, height: Tensor | None, centre: Tensor | None, *options: Any
) -> tuple[SumRequest, str]:
    """The request and the backend's name that :func:`_flat` was given."""
    name, parameters, softening, first_self, backend, precision = options
    kernel = make_kernel(name, tuple(parameters))
    return SumRequest(x, y, kernel, softening, weight, height, first_self, precision, centre), backend


@torch.library.custom_op(
    "efm_fast::field_sum", mutates_args=(), schema=f"({_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)"
)
def field_sum(*inputs: Any) -> tuple[Tensor, ...]:
    """Compute the sum with the named backend: m, w and along float64 [N], rest [N, D]."""
    total = _served(*_request(*inputs))
    along = total.w.new_zeros(0) if total.along is None else total.along
    return tuple(part.contiguous() for part in (total.m, total.w, along, total.rest))


@field_sum.register_fake
def _field_sum_fake(*inputs: Any) -> tuple[Tensor, ...]:
    request, backend = _request(*inputs)
    x = request.x
    dtype = torch.float64 if backend == "reference" or request.precision == "exact" else x.dtype
    m, w = (x.new_empty(len(x), dtype=torch.float64) for _ in range(2))
    along = x.new_empty(0 if request.centre is None else len(x), dtype=torch.float64)
    return m, w, along, x.new_empty(*x.shape, dtype=dtype)


@torch.library.custom_op(
    "efm_fast::field_sum_backward",
    mutates_args=(),
    schema=f"(Tensor m, Tensor g_w, Tensor g_v, bool[] needs, {_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def field_sum_backward(
    m: Tensor, g_w: Tensor, g_v: Tensor, needs: list[bool], *inputs: Any
) -> tuple[Tensor, ...]:
    """Gradients with respect to x, y, weight and height, in their dtypes; [0] for those that ``needs`` excludes."""
    request, backend = _request(*inputs)
    row = backends.select(request, backend)
    gradients = row.log_sum_backward(request, m, g_w, g_v, Needs(*needs))
    return tuple(
        gradient.to(request.x.dtype if source is None else source.dtype)
        for gradient, source in zip(gradients, inputs[:_DIFFERENTIABLE], strict=True)
    )


@field_sum_backward.register_fake
def _field_sum_backward_fake(
    m: Tensor, g_w: Tensor, g_v: Tensor, needs: list[bool], *inputs: Any
) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(source, memory_format=torch.contiguous_format)
        if needed
        else (inputs[0] if source is None else source).new_empty(0)
        for source, needed in zip(inputs[:_DIFFERENTIABLE], needs, strict=True)
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(output[0], output[2])
    ctx.save_for_backward(output[0], *inputs[:_TENSORS])
    ctx.options = inputs[_TENSORS:]


def _backward(
    ctx: Any,
    g_m: Tensor | None,
    g_w: Tensor,
    g_along: Tensor | None,
    g_v: Tensor,
    op: Callable[..., Any] = field_sum_backward,
) -> tuple[Tensor | None, ...]:
    m, *tensors = ctx.saved_tensors
    needs = [bool(needed) for needed in ctx.needs_input_grad[:_DIFFERENTIABLE]]
    gradients = op(m, g_w.to(g_v.dtype), g_v, needs, *tensors, *ctx.options)
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
    """A vmap rule that calls ``op`` once per batch element. It works for every combination of batched arguments."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        # a list argument (needs, parameters) has a list of dims
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
    """A vmap rule: batched points with the same charges become more points; otherwise one call per batch element."""
    request, backend = _request(*args)
    x, height = request.x, request.height
    x_dim, y_dim, weight_dim, height_dim, centre_dim = in_dims[:_TENSORS]
    if {y_dim, weight_dim, centre_dim} != {None} or request.first_self is not None:
        return _one_by_one(op)(info, in_dims, *args)
    batch = _batch_size(in_dims[:_TENSORS], args[:_TENSORS])
    x = x.expand(batch, *x.shape) if x_dim is None else x.movedim(x_dim, 0)
    if height is not None:
        height = height.expand(batch, *height.shape) if height_dim is None else height.movedim(height_dim, 0)
        height = height.flatten()
    flat = op(*_flat(replace(request, x=x.flatten(0, 1), height=height), backend))
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
    """The operator under torch.func transforms, which do not support ``register_autograd``."""

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
    """Whether a compiler, a tensor subclass or autograd must see the operator."""
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
    """The sum, with displacements split about the request's centre if it has one."""
    total = backends.select(request, backend).centred_sum(request)
    if request.centre is None:
        return CentredSum.of(total.whole(request.x), total.w)
    if total.along is None:
        return replace(total, along=torch.zeros_like(total.w), centre=request.centre)
    return total


def watched(*tensors: Tensor | None) -> bool:
    """Whether a compiler, a transform, a tensor subclass or autograd must see operations on ``tensors``."""
    return _transformed() or _needs_operator(tensors)


def call(request: SumRequest, backend: str) -> CentredSum:
    """Compute the sum of ``request``: by the operator if one must see it, otherwise without the operator's overhead."""
    tensors = request.x, request.y, request.weight, request.height
    transformed = _transformed()
    if not transformed and not _needs_operator(tensors):
        return _served(request, backend)
    op = _FieldSum.apply if transformed else field_sum
    m, w, along, rest = op(*_flat(request, backends.requested_name(backend)))
    return CentredSum(m, w, None if request.centre is None else along, rest, request.centre)
