"""Kernel functions as objects: what a kernel promises, and a kernel of one's own in the whole machinery."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import pytest
import torch
from field_checks import assert_sum_close
from torch import Tensor

from efm_fast import native
from efm_fast.errors import BackendUnavailableError, InputError
from efm_fast.field import (
    Gaussian,
    Kernel,
    LogSum,
    Riesz,
    gaussian_sum,
    kernel,
    kernel_sum,
    register_kernel,
    riesz_sum,
)

needs_extension = pytest.mark.skipif(native.why_missing() is not None, reason="the extension is not built")


@dataclass(frozen=True)
class Yukawa(Kernel):
    """r^-power e^(-r / length): what a screened charge leaves of itself."""

    power: float
    length: float
    name: ClassVar[str] = "yukawa"

    @property
    def parameters(self) -> tuple[float, ...]:
        return self.power, self.length

    def log_kernel(self, r2: Tensor) -> Tensor:
        return -0.5 * self.power * torch.log(r2) - torch.sqrt(r2) / self.length

    def slope(self, r2: Tensor) -> Tensor:
        return -0.5 * self.power / r2 - 0.5 / (self.length * torch.sqrt(r2))


@dataclass(frozen=True)
class PlainRiesz(Kernel):
    """The Riesz kernel without any of its quick forms: what every default must reproduce."""

    power: float
    name: ClassVar[str] = "plain riesz"

    @property
    def parameters(self) -> tuple[float, ...]:
        return (self.power,)

    def log_kernel(self, r2: Tensor) -> Tensor:
        return Riesz(self.power).log_kernel(r2)

    def slope(self, r2: Tensor) -> Tensor:
        return Riesz(self.power).slope(r2)


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that a test registers are unknown after it."""
    monkeypatch.setattr(kernel, "_REGISTERED", dict(SHIPPED))
    register_kernel(Yukawa)
    register_kernel(PlainRiesz)


#: The kernel functions of the package by name; a new one is tested here without a change of this file.
SHIPPED: dict[str, type[Kernel]] = dict(kernel._REGISTERED)
EXAMPLES = [own(*(2.5 for _ in fields(own))) for own in SHIPPED.values()]  # type: ignore[arg-type]
KERNELS = [Riesz(3.0), Riesz(65.0), Gaussian(0.7), Yukawa(3.0, 0.5), PlainRiesz(3.0), *EXAMPLES]


def cloud(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(d)
    return torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator)


@pytest.mark.parametrize("own", KERNELS, ids=repr)
def test_slope_reach_and_relative_log_belong_to_the_log_kernel(own: Kernel) -> None:
    r2 = torch.logspace(-3, 2, 50, dtype=torch.float64).requires_grad_()
    value = own.log_kernel(r2)
    (derivative,) = torch.autograd.grad(value.sum(), r2)
    r2, value = r2.detach(), value.detach()
    torch.testing.assert_close(own.slope(r2), derivative, rtol=1e-12, atol=0)
    torch.testing.assert_close(own.reach(value), r2, rtol=1e-9, atol=0)
    other = r2.flip(0)
    torch.testing.assert_close(own.relative_log(other - r2, r2), value.flip(0) - value, rtol=1e-6, atol=1e-6)
    assert type(own)(*own.parameters) == own
    # near its pivot a float32 excess keeps digits that r2 has lost
    excess = torch.tensor([1e-9])
    want = own.slope(torch.ones(1, dtype=torch.float64)) * 1e-9
    torch.testing.assert_close(own.relative_log(excess, torch.ones(1)).double(), want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("own", [Riesz(3.0), Yukawa(3.0, 0.5), PlainRiesz(3.0)], ids=repr)
def test_a_pole_beside_itself_weighs_one(own: Kernel) -> None:
    zero = torch.zeros(2)
    assert own.relative_log(torch.tensor([0.0, 1.0]), zero).tolist() == [0.0, -torch.inf]
    assert own.log_kernel(zero[:1]).item() == torch.inf


@pytest.mark.parametrize("d", [2, 40])
@pytest.mark.parametrize("backend", ["auto", "torch", "reference"])
def test_a_kernel_of_ones_own_is_summed_everywhere(d: int, backend: str) -> None:
    x, y = cloud(9, 200, d)
    x[0] = y[3]
    weight, height = torch.rand(200) + 0.1, torch.linspace(0.0, 1.0, 9)
    options = {"weight": weight, "height": height, "softening": 0.0}
    got = kernel_sum(x, y, Yukawa(2.0, 0.5), backend=backend, **options)  # type: ignore[arg-type]
    r2 = (x.double()[:, None] - y.double()[None]).square().sum(2) + height.double()[:, None] ** 2
    log = -torch.log(r2) - r2.sqrt() / 0.5
    assert got.m[0] == torch.inf
    assert got.w[0] == weight[3]
    want = torch.logsumexp(log[1:] + torch.log(weight.double()), 1)
    torch.testing.assert_close(got.log_weight()[1:], want, rtol=1e-5, atol=1e-5)
    plain = kernel_sum(x, y, PlainRiesz(3.0), backend=backend, **options)  # type: ignore[arg-type]
    assert_sum_close(plain, riesz_sum(x, y, power=3.0, backend="reference", **options), 1e-4)  # type: ignore[arg-type]


@needs_extension
def test_python_and_the_extension_have_the_same_kernel_functions() -> None:
    assert set(native.extension().kernels()) == set(SHIPPED)


@needs_extension
@pytest.mark.parametrize("d", [3, 20, 80])  # direct differences, products about a centre, matrix products
@pytest.mark.parametrize("own", EXAMPLES, ids=repr)
def test_sum_and_gradient_of_the_extension_agree_with_float64(own: Kernel, d: int) -> None:
    x, y = cloud(9, 300, d)
    x[0] = y[3]
    weight, height = torch.rand(300) + 0.1, torch.linspace(0.0, 1.0, 9)
    inputs = [t.requires_grad_() for t in (x, y, weight, height)]
    totals, gradients = [], []
    for backend in ("cpp", "reference"):
        total = kernel_sum(x, y, own, weight=weight, height=height, backend=backend)
        off = torch.isfinite(total.m)  # on a charge only a kernel without a pole has a gradient
        loss = total.log_weight()[off].sum() + total.posterior_mean(x)[off].sin().sum()
        totals.append(LogSum(*(part.detach() for part in (total.m, total.w, total.v))))
        gradients.append(torch.autograd.grad(loss, inputs))
    assert_sum_close(totals[0], totals[1], 2e-5)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-4 * other.abs().max().item())


def test_engines_that_do_not_know_a_kernel_say_so() -> None:
    x, y = cloud(2, 5, 3)
    with pytest.raises(BackendUnavailableError, match=r"knows the kernels .*riesz, .*not yukawa|extension"):
        kernel_sum(x, y, Yukawa(2.0, 1.0), backend="cpp")


@pytest.mark.parametrize("d", [3, 20])
def test_gradients_of_a_kernel_of_ones_own(d: int) -> None:
    x, y = (t.double() for t in cloud(3, 7, d))
    weight, height = torch.rand(7, dtype=torch.float64) + 0.5, torch.rand(3, dtype=torch.float64)

    def served(*tensors: Tensor) -> Tensor:
        x, y, weight, height = tensors
        total = kernel_sum(x, y, Yukawa(2.0, 1.5), weight=weight, height=height, precision="exact")
        return total.log_weight().sum() + total.posterior_mean(x).sin().sum()

    inputs = [t.requires_grad_() for t in (x, y, weight, height)]
    assert torch.autograd.gradcheck(served, inputs, atol=1e-6)


def test_a_kernel_passes_through_compile_and_vmap() -> None:
    x, y = cloud(5, 30, 3)
    own = Yukawa(2.0, 1.5)
    want = kernel_sum(x, y, own).log_weight()
    compiled = torch.compile(lambda x: kernel_sum(x, y, own).log_weight(), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), want)
    torch.testing.assert_close(torch.vmap(lambda p: kernel_sum(p[None], y, own).log_weight()[0])(x), want)


def test_short_forms_are_the_sum_with_that_kernel() -> None:
    x, y = cloud(4, 30, 3)
    height = torch.linspace(0.0, 3.0, 4)
    pairs = (
        (riesz_sum(x, y, power=2.5, height=height), kernel_sum(x, y, Riesz(2.5), height=height)),
        (gaussian_sum(x, y, bandwidth=0.6, height=height), kernel_sum(x, y, Gaussian(0.6), height=height)),
    )
    for one, other in pairs:
        assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_a_softened_gaussian_is_lower_by_one_factor() -> None:
    x, y = cloud(4, 30, 3)
    plain = kernel_sum(x, y, Gaussian(0.6), backend="reference").log_weight()
    soft = kernel_sum(x, y, Gaussian(0.6), softening=0.3, backend="reference").log_weight()
    torch.testing.assert_close(soft, plain - 0.3**2 / (2 * 0.6**2))


@pytest.mark.parametrize(
    "made", [lambda: Riesz(0.0), lambda: Gaussian(-1.0), lambda: Riesz("3")], ids=range(3)
)
def test_parameters_are_checked(made: object) -> None:
    with pytest.raises(InputError, match=r"(power|bandwidth): expected"):
        made()  # type: ignore[operator]


def test_what_is_no_kernel_is_refused() -> None:
    x, y = cloud(2, 5, 3)
    for wrong in ("riesz", Riesz, 3.0):
        with pytest.raises(InputError, match="kernel: expected one of riesz, gaussian"):
            kernel_sum(x, y, wrong)  # type: ignore[arg-type]

    class Unknown(PlainRiesz):
        name: ClassVar[str] = "unknown"

    with pytest.raises(InputError, match=r"register_kernel, got .*Unknown"):
        kernel_sum(x, y, Unknown(3.0))
    with pytest.raises(InputError, match=r"expected a subclass of efm_fast\.Kernel"):
        register_kernel(Unknown(3.0))  # type: ignore[type-var]
    Unknown.name = "riesz"
    with pytest.raises(InputError, match="'riesz', which is taken"):
        register_kernel(Unknown)
