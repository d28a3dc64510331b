"""Few features: the direct-difference kernel against float64."""

from __future__ import annotations

import math

import pytest
import torch
from kernel_cases import DEVICE, asked, assert_close, draw, kernel_sum, kernels, true_sum


@pytest.mark.parametrize("d", [1, 2, 3, 5, 16])
def test_coulomb_agrees_with_float64(d: int) -> None:
    x, y, height = draw(40, 150, d)
    arguments = {"power": d + 1.0, "height": height}
    assert_close(kernel_sum(x, y, **arguments), true_sum(x, y, **arguments), 2e-5)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 9.0, 16.5, 18.0, 60.0])
def test_any_power(power: float) -> None:
    x, y, height = draw(20, 90, 3)
    arguments = {"power": power, "height": height, "softening": 0.1}
    assert_close(kernel_sum(x, y, **arguments), true_sum(x, y, **arguments), 1e-5 + 1e-6 * power, log=1e-4)


def test_gaussian() -> None:
    x, y, height = draw(20, 90, 3)
    arguments = {"bandwidth": 0.3, "height": height}
    assert_close(kernel_sum(x, y, **arguments), true_sum(x, y, **arguments), 1e-5)


def test_weights_of_either_sign_and_none() -> None:
    x, y, _ = draw(33, 70, 2)
    weight = torch.linspace(-1.0, 3.0, 70, device=DEVICE)
    weight[::7] = 0.0
    got = kernel_sum(x, y, power=3.0, weight=weight)
    want = true_sum(x, y, power=3.0, weight=weight)
    scale = torch.exp(got.m - want.m)
    assert (got.m - want.m).abs().max() < 1e-5
    # signed sums cancel: judged against the largest term, which is 1
    assert (got.w * scale - want.w).abs().max() < 1e-4
    assert (got.v * scale[:, None] - want.v).abs().max() < 1e-4


@pytest.mark.parametrize("first", [-3, 0, 5])
def test_leaves_out_the_point_itself(first: int) -> None:
    _, y, _ = draw(1, 50, 3)
    x = y[:20].clone()
    arguments = {"power": 4.0, "first_self": first, "softening": 0.01}
    assert_close(kernel_sum(x, y, **arguments), true_sum(x, y, **arguments), 2e-5)


@pytest.mark.parametrize(
    ("n", "m"), [(1, 1), (255, 15), (256, 16), (257, 17), (3, 63), (3, 64), (3, 65), (2, 2049)]
)
def test_ragged_edges(n: int, m: int) -> None:
    x, y, height = draw(n, m, 2)
    arguments = {"power": 3.0, "height": height}
    assert_close(kernel_sum(x, y, **arguments), true_sum(x, y, **arguments), 2e-5)


def test_point_on_a_charge() -> None:
    x, y, _ = draw(5, 40, 3)
    x[2] = y[7]
    weight = torch.full((40,), 2.5, device=DEVICE)
    got = kernel_sum(x, y, power=4.0, weight=weight)
    assert got.m[2] == math.inf
    assert got.w[2] == 2.5
    assert (got.v[2] == 0).all()
    others = [0, 1, 3, 4]
    assert torch.isfinite(got.m[others]).all()


def test_near_a_charge() -> None:
    x, y, _ = draw(30, 40, 3)
    x = y[:30] + 1e-6 * torch.nn.functional.normalize(x, dim=1)
    assert_close(kernel_sum(x, y, power=4.0), true_sum(x, y, power=4.0), 2e-5)


def test_no_charge_counts() -> None:
    x, y, _ = draw(4, 9, 2)
    got = kernel_sum(x, y, power=3.0, weight=torch.zeros(9, device=DEVICE))
    empty = kernel_sum(x, y[:0], power=3.0)
    for total in (got, empty):
        assert (total.m == -math.inf).all()
        assert (total.w == 0).all()
        assert (total.v == 0).all()


def test_repeats_are_bitwise_equal() -> None:
    x, y, height = draw(30, 4200, 2)
    first = kernels.log_sum(asked(x, y, power=3.0, height=height))
    second = kernels.log_sum(asked(x, y, power=3.0, height=height))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_input_is_checked() -> None:
    x, y, _ = draw(4, 9, 2)
    with pytest.raises(ValueError, match="x, y: expected"):
        kernels.log_sum(asked(x, y[:, :1], power=3.0))
    with pytest.raises(ValueError, match="parameters: expected numbers above 0"):
        asked(x, y, power=-3.0)
    with pytest.raises(ValueError, match=r"kernel: expected riesz or .*gaussian.*, got 'yukawa'"):
        kernels.Request(x, y, "yukawa", (3.0,))
    with pytest.raises(ValueError, match="height: expected"):
        kernels.log_sum(asked(x, y, power=3.0, height=torch.zeros(5)))
