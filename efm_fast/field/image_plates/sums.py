"""``image_sum``: the sum over charges that repeat on several plates, with its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import BackendUnavailableError
from .. import backends
from ..backends.matmul import plain_matmul
from ..logsum import LogScaled
from . import cpp, in_torch
from .request import ImageRequest, checked

_NO_TRITON = (
    "its kernels know one height for each point; the torch backend serves sums over images on CUDA devices"
)


@dataclass(frozen=True)
class ImageSum(LogScaled):
    """Sums over charges and their images in log scale. Two of them over different charges merge into one.

    With r2_ijk = |x_i - y_j|^2 + h_ik^2 and l_ijk = -(power / 2) log r2_ijk,

        w_i e^{m_i} = sum_jk q_j s_k e^{l_ijk}          u_i e^{m_i} = sum_jk q_j s_k h_ik e^{l_ijk}
        v_i e^{m_i} = sum_jk q_j s_k e^{l_ijk} (x_i - y_j)

    so that at Coulomb's power e^m (v, u) is the field of all images.

    Attributes:
        m: log scale, float64 [N]: the log kernel of the nearest image. It is -inf without charges, and +inf if the
            point lies exactly on an image; then w is the weight of that charge, and u and v are 0.
        w: scaled sum of weights, float [N], dimensionless.
        u: scaled sum of weights times heights, float [N], data units.
        v: scaled sum of displacements, float [N, D], data units.
    """

    m: Tensor
    w: Tensor
    u: Tensor
    v: Tensor

    def _parts(self) -> tuple[Tensor, ...]:
        return self.w, self.u, self.v

    def _with(self, m: Tensor, parts: Sequence[Tensor | None]) -> ImageSum:
        return ImageSum(m, *parts)  # type: ignore[arg-type]

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of the charges, each weighted by all its images together, [N, D], data units."""
        return x - self.v / self.w[:, None]


def image_sum(
    x: Tensor,
    y: Tensor,
    heights: Tensor,
    signs: Tensor,
    *,
    power: float,
    weight: Tensor | None = None,
    backend: str = "auto",
) -> ImageSum:
    """Sum the Riesz kernel over charges that are repeated on K parallel plates.

    The images of a charge have its features, so one squared distance over features serves all of them: the cost is
    O(N M (D + K)), where K calls of :func:`efm_fast.riesz_sum` take O(N M D K).

    Args:
        x: points, [N, D]; float32 and float64 keep their dtype, others are read as float32.
        y: charges, [M, D].
        heights: distance of each point from each plate, with its sign, [N, K], data units.
        signs: factor of the charges on each plate, of either sign, [K].
        power: exponent of the distance, above 0; D + 1 is Coulomb's.
        weight: charge weights of either sign, [M]; None means one each.
        backend: "auto", "cpp" (CPU), "torch" or "reference" (float64).

    Returns:
        ImageSum, differentiable by x, y, heights, signs and weight; its log scale has no gradient, as in ``riesz_sum``.

    Raises:
        InputError: an argument has the wrong type, shape, device or range.
        BackendUnavailableError: ``backend`` was named and cannot serve; the text says why.
    """
    request = checked(ImageRequest(x, y, heights, signs, weight, power))
    name = select(request, backend)
    tensors = (request.x, request.y, request.heights, request.signs, request.weight)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        total = ImageSum(*_Differentiable.apply(*tensors, request.power, name))
    else:
        total = ImageSum(*_serve(request, name))
    dtype = torch.float64 if name == "reference" or x.dtype == torch.float64 else torch.float32
    return ImageSum(total.m, *(part.to(dtype) for part in total._parts()))


def why_not(request: ImageRequest, name: str) -> str | None:
    """A sentence that says why backend ``name`` cannot serve ``request``; None if it can."""
    if name == "triton":
        return _NO_TRITON
    return cpp.why_not(request) if name == "cpp" else None


def select(request: ImageRequest, backend: str) -> str:
    """The backend that serves ``request``: "cpp", "torch" or "reference".

    Raises:
        InputError: no backend has that name.
        BackendUnavailableError: the named backend cannot serve.
    """
    name = backends.requested_name(backend)
    if name == "auto":
        return "torch" if cpp.why_not(request) else "cpp"
    reason = why_not(request, name)
    if reason is not None:
        raise BackendUnavailableError(f"backend {name!r} cannot serve this sum over images: {reason}")
    return name


def _serve(request: ImageRequest, name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if name == "cpp":
        return cpp.image_sum(request)
    with plain_matmul(request.x.device.type):
        return in_torch.direct_sum(request) if name == "reference" else in_torch.image_sum(request)


class _Differentiable(torch.autograd.Function):
    """The sum. Its backward pass computes the pairs again block by block, so that no tensor [N, M, K] is kept."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        *tensors, power, name = inputs
        x, y, heights, signs, weight = tensors
        request = ImageRequest(x, y, heights, signs, weight, power)
        found = _serve(request, name)
        ctx.save_for_backward(found[0], *tensors)
        ctx.power = power
        ctx.mark_non_differentiable(found[0])
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_m: Tensor, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        m, *tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad[: len(tensors)]
        return (*in_torch.backward(m, tensors, ctx.power, gradients, needs), None, None)
