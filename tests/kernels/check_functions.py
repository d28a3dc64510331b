"""Every kernel function of the package in Triton against float64. A new one is checked without a change here."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from kernel_cases import DEVICE, assert_close, draw, kernels

from efm_fast.field import kernel as functions
from efm_fast.field.backends import reference
from efm_fast.field.backends.gradient import Needs, log_sum_backward
from efm_fast.field.logsum import LogSum
from efm_fast.field.request import SumRequest


def example(name: str) -> functions.Kernel:
    """The kernel function of that name, with 2.5 for each of its parameters."""
    own = functions._REGISTERED[name]
    return own(*(2.5 for _ in fields(own)))  # type: ignore[arg-type]


def test_python_and_triton_have_the_same_kernel_functions() -> None:
    assert set(kernels.KERNELS) == set(functions._REGISTERED)


@pytest.mark.parametrize("d", [2, 20])  # direct differences in registers, and a matrix product
@pytest.mark.parametrize("name", sorted(functions._REGISTERED))
def test_sum_and_gradient(name: str, d: int) -> None:
    own = example(name)
    x, y, height = draw(5, 70, d)
    x[0], height[0] = y[3], 0.0  # a point on a charge
    weight = torch.linspace(0.1, 2.0, 70, device=DEVICE)
    asked = kernels.Request(x, y, own.name, own.parameters, weight=weight, height=height)
    request = SumRequest(
        x.cpu(), y.cpu(), own, weight=weight.cpu(), height=height.cpu().double(), precision="exact"
    )
    got = kernels.log_sum(asked)
    assert_close(LogSum(*(part.cpu() for part in got)), reference.log_sum(request), 2e-5)
    generator = torch.Generator().manual_seed(1)
    g_w, g_v = torch.randn(5, generator=generator), torch.randn(5, d, generator=generator)
    one = kernels.log_sum_backward(asked, got.m, g_w.to(DEVICE), g_v.to(DEVICE))
    other = log_sum_backward(request, got.m.cpu(), g_w.double(), g_v.double(), Needs(True, True, True, True))
    for which, mine, theirs in zip(("x", "y", "weight", "height"), one, other, strict=True):
        off = (mine.cpu().double() - theirs).abs().max() / theirs.abs().max()
        assert off <= 5e-5, f"grad {which} off by {off:.1e}"
