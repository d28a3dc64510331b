"""The fused gradients of the C++ backend against autograd through the plain formula in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from sums import charges, cpp_sum, ties
from torch import Tensor

from efm_fast.field import gaussian_sum, riesz_sum
from efm_fast.field.backends import cpp, gradient
from efm_fast.field.backends.gradient import Needs
from efm_fast.field.kernel import Gaussian, Riesz
from efm_fast.field.request import SumRequest

pytestmark = pytest.mark.usefixtures("needs_extension", "poisoned")

DIMENSIONS = (1, 2, 3, 8, 9, 16, 64)
EVERYTHING = Needs(x=True, y=True, weight=True, height=True)
Four = tuple[Tensor, Tensor, Tensor, Tensor]


def request_of(x: Tensor, y: Tensor, **options: Any) -> SumRequest:
    """Coulomb's sum with weights and heights, where ``options`` do not say otherwise."""
    generator = torch.Generator().manual_seed(5)
    weight = torch.rand(len(y), generator=generator) + 0.5
    height = torch.rand(len(x), generator=generator) + 0.1
    plain = {"kernel": Riesz(x.shape[1] + 1.0), "weight": weight, "height": height}
    return SumRequest(x=x, y=y, **{**plain, **options})


def upstream(request: SumRequest) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)
    n, d = request.x.shape
    return (
        torch.randn(n, generator=generator).to(request.x.dtype),
        torch.randn(n, d, generator=generator).to(request.x.dtype),
    )


def plain_gradients(request: SumRequest, m: Tensor) -> tuple[Four, Four]:
    """float64 gradients through the broadcast formula at fixed m, and the sums of the sizes of their terms."""
    g_w, g_v = (g.double() for g in upstream(request))
    x, y = request.x.double(), request.y.double()
    weight = torch.ones(len(y)) if request.weight is None else request.weight
    height = torch.zeros(len(x)) if request.height is None else request.height
    inputs = [t.detach().double().clone().requires_grad_() for t in (x, y, weight, height)]
    x, y, weight, height = inputs
    difference = x[:, None] - y[None]
    r2 = (difference**2).sum(-1) + height[:, None] ** 2 + request.softening**2
    own = torch.arange(len(x))[:, None] - torch.arange(len(y))[None]
    present = (own != request.first_self) if request.first_self is not None else own == own
    rho = torch.exp(torch.where(present, request.kernel.log_kernel(r2) - m[:, None], -torch.inf))
    a = g_w[:, None] + torch.einsum("nmd,nd->nm", difference, g_v)
    value = (weight * rho * a).sum()
    with torch.no_grad():
        kernel = request.kernel
        slope = kernel.power / r2 if isinstance(kernel, Riesz) else torch.ones_like(r2) / kernel.bandwidth**2  # type: ignore[attr-defined]
        a = g_w.abs()[:, None] + torch.einsum("nmd,nd->nm", difference.abs(), g_v.abs())
        b = (weight * rho * slope).abs() * a
        moment = b[..., None] * difference.abs() + (weight * rho).abs()[..., None] * g_v.abs()[:, None]
        terms = rho * a
        sizes = (moment.sum(1), moment.sum(0), terms.sum(0), height.abs() * b.sum(1))
    return torch.autograd.grad(value, inputs), sizes  # type: ignore[return-value]


def backward(request: SumRequest, m: Tensor, g_w: Tensor, g_v: Tensor, needs: Needs) -> Four:
    found = cpp.log_sum_backward(request, m, g_w, g_v, needs)
    assert found is not None
    return found


def check(request: SumRequest, tolerance: float) -> None:
    """Every gradient within ``tolerance`` of the sizes of the terms that it adds up."""
    m = cpp_sum(request).m
    needs = Needs(x=True, y=True, weight=True, height=request.height is not None)
    got = backward(request, m, *upstream(request), needs)
    wanted, sizes = plain_gradients(request, m)
    assert any(want.any() for want in wanted)
    for name, one, want, size in zip(("x", "y", "weight", "height"), got, wanted, sizes, strict=True):
        if name == "height" and request.height is None:
            continue
        assert one.shape == want.shape, name
        assert torch.isfinite(one).all(), name
        error = (one.double() - want).abs()
        assert float((error / (size + 1e-6 * size.amax() + 1e-30)).amax()) < tolerance, name


def tolerance(d: int) -> float:
    return 3e-7 * (d + 10)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 300), (17, 1), (33, 257), (70, 31)])
def test_agrees_with_float64_at_ragged_sizes(d: int, n: int, m: int) -> None:
    check(request_of(charges(n, d, seed=1), charges(m, d)), tolerance(d))
    check(request_of(charges(n, d, seed=1), charges(m, d), weight=None, height=None), tolerance(d))


@pytest.mark.parametrize("d", DIMENSIONS)
def test_agrees_at_ties_and_beside_twins(d: int) -> None:
    y = charges(300, d)
    height = torch.full((40,), 1e-3)
    check(request_of(ties(y, 40), y, height=height), tolerance(d))
    twins = torch.cat([y, y + 1e-3 * charges(300, d, seed=4)])
    check(request_of(y[:40] + 4e-4 * charges(40, d, seed=5), twins, height=height), tolerance(d))


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": Riesz(0.7), "softening": 0.3},
        {"kernel": Riesz(2.0)},
        {"kernel": Riesz(30.5)},
        {"kernel": Gaussian(1.5)},
        {"first_self": 0},
        {"first_self": -9},
        {"first_self": 13},
    ],
    ids=str,
)
def test_every_kernel_and_option(d: int, options: dict[str, Any]) -> None:
    check(request_of(charges(45, d, seed=1), charges(150, d), **options), 3 * tolerance(d))


@pytest.mark.parametrize("d", [1, 2, 9, 64])
def test_weights_of_both_signs_and_zero(d: int) -> None:
    weight = charges(200, 1, seed=9)[:, 0]
    weight[::3] = 0.0
    check(request_of(charges(45, d, seed=1), charges(200, d), weight=weight), 3 * tolerance(d))


@pytest.mark.parametrize("d", [1, 2, 9, 64, 100])
def test_float64_points_and_exact_precision(d: int) -> None:
    x, y = charges(20, d, seed=1), charges(90, d)
    check(request_of(x.double(), y.double(), precision="exact"), 1e-12)
    request = request_of(x, y, precision="exact")
    check(request, 1e-12)
    assert backward(request, cpp_sum(request).m, *upstream(request), EVERYTHING)[0].dtype == (torch.float64)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12, 1e25])
def test_lengths_at_the_ends_of_float32(scale: float) -> None:
    x, y = charges(20, 2, seed=13), charges(90, 2)
    small, unit = (
        request_of(x * k, y * k, height=torch.full((20,), 0.5 * k, dtype=torch.float64)) for k in (scale, 1.0)
    )
    g_w, g_v = upstream(unit)
    got = backward(small, cpp_sum(small).m, g_w * scale, g_v, EVERYTHING)
    want = backward(unit, cpp_sum(unit).m, g_w, g_v, EVERYTHING)
    for k, factor in enumerate((1.0, 1.0, scale, 1.0)):
        torch.testing.assert_close(got[k] / factor, want[k], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("d", [2, 20])
def test_dead_points_and_far_charges_pass_nothing_on(d: int) -> None:
    x, y = charges(40, d, seed=1), charges(60, d)
    x[7] = y[3]
    x[8] = 1e18
    request = request_of(x, y, height=None)
    m = cpp_sum(request).m
    got = backward(request, m, *upstream(request), EVERYTHING)
    assert m[7] == math.inf
    assert not got[0][7].any()
    assert all(torch.isfinite(part).all() for part in got)
    live = torch.arange(40) != 7
    rest = replace(request, x=x[live])
    g_w, g_v = upstream(request)
    want = backward(rest, m[live], g_w[live], g_v[live], EVERYTHING)
    torch.testing.assert_close(got[0][live], want[0])
    torch.testing.assert_close(got[1], want[1])


@pytest.mark.parametrize("d", [2, 20])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float16, torch.float64])
def test_types_and_strides_of_input(d: int, dtype: torch.dtype) -> None:
    y = (torch.rand(2 * d, 300, generator=torch.Generator().manual_seed(1)) * 255).to(dtype).T[::2, ::2]
    check(request_of(charges(d, 33).T + 99.0, y, height=torch.full((33,), 7.0)), 1e-4)


@pytest.mark.parametrize("d", [2, 5, 20])
def test_only_what_is_asked_for(d: int) -> None:
    request = request_of(charges(30, d, seed=1), charges(70, d))
    m = cpp_sum(request).m
    everything = backward(request, m, *upstream(request), EVERYTHING)
    for k in range(4):
        needs = Needs(*(k == i for i in range(4)))
        some = backward(request, m, *upstream(request), needs)
        assert torch.equal(some[k], everything[k])
        assert all(len(some[i]) == 0 for i in range(4) if i != k)


@pytest.mark.parametrize("d", [2, 11])
def test_same_bits_for_any_number_of_threads(d: int) -> None:
    request = request_of(charges(700, d, seed=15), charges(900, d), first_self=3)
    m = cpp_sum(request).m
    results = []
    for count in (1, 2, 3, 7, 2):
        torch.set_num_threads(count)
        results.append(backward(request, m, *upstream(request), EVERYTHING))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("d", DIMENSIONS)
def test_gradcheck(d: int) -> None:
    generator = torch.Generator().manual_seed(d)
    x, y = (torch.randn(k, d, generator=generator, dtype=torch.float64).requires_grad_() for k in (3, 7))
    weight, height = (
        (torch.rand(k, generator=generator, dtype=torch.float64) + 0.5).requires_grad_() for k in (7, 3)
    )

    def outputs(x: Tensor, y: Tensor, weight: Tensor, height: Tensor) -> tuple[Tensor, ...]:
        options: dict[str, Any] = {"weight": weight, "height": height, "backend": "cpp"}
        total = riesz_sum(x, y, power=d + 1, **options)
        smooth = gaussian_sum(x, y, bandwidth=1.3, **options)
        return total.log_weight(), total.posterior_mean(x), smooth.posterior_mean(x)

    assert torch.autograd.gradcheck(outputs, (x, y, weight, height), rtol=1e-6, atol=1e-8, fast_mode=d > 3)


def test_torchs_own_gradients_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two implementations share a contract, and the operator calls the fused one."""
    request = request_of(charges(30, 4, seed=1), charges(70, 4), precision="exact")
    m = cpp_sum(request).m
    for a, b in zip(
        backward(request, m, *upstream(request), EVERYTHING),
        gradient.log_sum_backward(request, m, *upstream(request), EVERYTHING),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    calls = []
    fused = cpp.log_sum_backward

    def counted(*arguments: Any) -> Four | None:
        calls.append(arguments)
        return fused(*arguments)

    monkeypatch.setattr(cpp, "log_sum_backward", counted)
    x = request.x.clone().requires_grad_()
    riesz_sum(x, request.y, power=5).log_weight().sum().backward()
    assert len(calls) == 1
    assert x.grad is not None
    assert x.grad.any()
