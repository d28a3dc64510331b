"""Gradients of the kernels against the float64 gradient of the project's own operator."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from kernel_cases import DEVICE, asked, draw, kernels, request_of

from efm_fast.field import backends, riesz_sum
from efm_fast.field.backends import triton as triton_backend
from efm_fast.field.backends.gradient import Needs, log_sum_backward
from efm_fast.field.request import Precision


def compare(d: int, n: int, m: int, tolerance: float, **arguments: object) -> None:
    x, y, height = draw(n, m, d)
    weight = torch.linspace(-0.5, 2.0, m, device=DEVICE)
    if arguments.pop("positive", False):
        weight = weight.abs() + 0.1
    arguments |= {"weight": weight, "height": height}
    generator = torch.Generator().manual_seed(1)
    g_w, g_v = torch.randn(n, generator=generator), torch.randn(n, d, generator=generator)
    log_scale = kernels.log_sum(asked(x, y, **arguments))[0]
    got = kernels.log_sum_backward(asked(x, y, **arguments), log_scale, g_w.to(DEVICE), g_v.to(DEVICE))
    request = request_of(x, y, **arguments | {"precision": "exact"})
    want = log_sum_backward(
        request, log_scale.cpu(), g_w.double(), g_v.double(), Needs(True, True, True, True)
    )
    for name, one, other in zip(("x", "y", "weight", "height"), got, want, strict=True):
        off = (one.cpu().double() - other).abs().max() / other.abs().max()
        assert off <= tolerance, f"grad {name} off by {off:.1e}"


@pytest.mark.parametrize(("d", "n", "m"), [(1, 1, 1), (2, 65, 33), (40, 5, 70), (70, 4, 31)])
def test_coulomb(d: int, n: int, m: int) -> None:
    compare(d, n, m, 5e-5, power=d + 1.0)


def test_gaussian_softened_without_the_point_itself() -> None:
    compare(3, 20, 40, 5e-5, bandwidth=0.7, softening=0.2, first_self=3)


def test_blocks_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__(f"{kernels.__name__}.launch_backward", fromlist=["BLOCK"])
    monkeypatch.setattr(module, "BLOCK", 32)
    compare(2, 40, 50, 5e-5, power=3.0, first_self=10, positive=True)


def test_rows_without_a_scale_pass_nothing_on() -> None:
    x, y, _ = draw(3, 20, 2)
    x[1] = y[4]
    log_scale = kernels.log_sum(asked(x, y, power=3.0))[0]
    assert log_scale[1] == math.inf
    one = torch.ones(3, device=DEVICE)
    got = kernels.log_sum_backward(asked(x, y, power=3.0), log_scale, one, one[:, None].expand(3, 2))
    assert (got.x[1] == 0).all()
    assert got.x[0].abs().max() > 0
    assert all(torch.isfinite(gradient).all() for gradient in got)


@pytest.mark.parametrize("precision", ["default", "exact"])
def test_the_operator_takes_its_gradients_from_the_kernels(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the interpreter runs on the CPU, which the table keeps from this backend
    table = tuple(replace(row, device_type=None) for row in backends.TABLE if row.name in ("triton", "torch"))
    monkeypatch.setattr(backends, "TABLE", table)
    served = []
    plain = triton_backend.kernels.log_sum_backward
    monkeypatch.setattr(
        triton_backend.kernels, "log_sum_backward", lambda *a, **k: served.append(1) or plain(*a, **k)
    )
    gradients = []
    for backend in ("triton", "torch"):
        x, y, height = draw(5, 30, 3)
        weight = torch.linspace(0.5, 2.0, 30, device=DEVICE)
        leaves = [t.requires_grad_() for t in (x, weight, height)]
        total = riesz_sum(x, y, power=4.0, weight=weight, height=height, backend=backend, precision=precision)
        (total.posterior_mean(x).sin().sum() + total.log_weight().sum()).backward()
        gradients.append([leaf.grad for leaf in leaves])
    assert len(served) == (1 if precision == "default" else 0), "float64 gradients are torch's"
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()
