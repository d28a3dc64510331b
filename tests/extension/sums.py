"""Requests and comparisons that the tests of the extension share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from efm_fast.field.backends import cpp, reference
from efm_fast.field.logsum import LogSum
from efm_fast.field.request import SumRequest


def cpp_sum(request: SumRequest) -> LogSum:
    """The extension's sum with whole displacements."""
    return cpp.centred_sum(request).whole(request.x)


def charges(m: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed))


def ties(y: Tensor, n: int) -> Tensor:
    """Points equidistant from a charge and its nearest neighbour, a little off the line between them."""
    first = y[:n].double()
    square = torch.cdist(first, y.double()) ** 2
    square[torch.arange(n), torch.arange(n)] = torch.inf
    second = y[square.argmin(1)].double()
    along = second - first
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    noise *= 0.1 * along.norm(dim=1, keepdim=True) / math.sqrt(y.shape[1])
    noise -= along * ((noise * along).sum(1, keepdim=True) / (along * along).sum(1, keepdim=True))
    return ((first + second) / 2 + noise).float()


def errors(result: LogSum, truth: LogSum, length: float = 0.0) -> tuple[float, float]:
    """Largest relative error of E_x = e^m v, and of the scaled sum of weights beside the largest weight.

    Where displacements cancel, v is judged beside ``length`` times w instead of beside itself.
    """
    finite = torch.isfinite(truth.m)
    assert torch.equal(result.m[~finite], truth.m[~finite])
    torch.testing.assert_close(result.w[~finite].double(), truth.w[~finite])
    assert not result.v[~finite].any()
    if not finite.any():
        return 0.0, 0.0
    scale = torch.exp(result.m - truth.m)[finite]
    v_error = (result.v[finite].double() * scale[:, None] - truth.v[finite]).norm(dim=1)
    w_error = (result.w[finite].double() * scale - truth.w[finite]).abs()
    size = torch.maximum(truth.v[finite].norm(dim=1), length * truth.w[finite].abs())
    return float((v_error / size).max()), float((w_error / truth.w[finite].abs().clamp_min(1.0)).max())


def check(backend: object, request: SumRequest, tolerance: float) -> None:
    """``backend`` serves ``request`` within ``tolerance`` of the float64 reference."""
    assert backend.why_not(request) is None  # type: ignore[attr-defined]
    truth = reference.log_sum(request)
    nearest = torch.cdist(request.x.double(), request.y.double()).amin(1).mean()
    v_error, w_error = errors(backend.centred_sum(request).whole(request.x), truth, 0.1 * float(nearest))  # type: ignore[attr-defined]
    assert v_error < tolerance
    assert w_error < tolerance
