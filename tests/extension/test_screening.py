"""Large D with so many charges that pairs are told by rounded products first: nothing that matters may be left out."""

from __future__ import annotations

import math

import pytest
import torch
from sums import charges, check, cpp_sum, ties
from torch import Tensor

from efm_fast import native
from efm_fast.field.backends import cpp
from efm_fast.field.kernel import Gaussian, Riesz
from efm_fast.field.request import SumRequest

pytestmark = pytest.mark.usefixtures("needs_extension", "poisoned")

MANY = 700


def between(y: Tensor, n: int) -> Tensor:
    mix = torch.linspace(0.01, 0.99, n)[:, None]
    return mix * y[:n] + (1 - mix) * charges(n, y.shape[1], seed=1)


@pytest.mark.parametrize("d", [65, 300, 784])
def test_points_whose_charges_all_count_beside_others_where_few_do(d: int) -> None:
    y = charges(MANY, d)
    height = torch.where(torch.arange(75) % 5 == 0, 100.0, 0.1) * math.sqrt(d)
    check(cpp, SumRequest(x=between(y, 75), y=y, kernel=Riesz(d + 1.0), height=height), 1e-4)
    check(cpp, SumRequest(x=between(y, 75), y=y, kernel=Riesz(d + 1.0), height=height.sort().values), 1e-4)


@pytest.mark.parametrize("d", [300, 784])
def test_ties_and_twins(d: int) -> None:
    y = charges(MANY, d)
    check(cpp, SumRequest(x=ties(y, 40), y=y, kernel=Riesz(d + 1.0), height=torch.full((40,), 1e-3)), 1e-4)
    twins = torch.cat([y, y + 1e-3 * charges(MANY, d, seed=4)])
    x = twins[:60] + 4e-4 * charges(60, d, seed=5)
    check(cpp, SumRequest(x=x, y=twins, kernel=Riesz(d + 1.0)), 1e-4)


def test_many_coincident_charges_count_together() -> None:
    y = charges(MANY, 300)
    y[:90] = y[0]
    result = cpp_sum(SumRequest(x=y[[0, 100]], y=y, kernel=Riesz(301.0)))
    assert result.w.tolist() == [90.0, 1.0]
    assert (result.m == math.inf).all()


def test_charges_of_unlike_weights_and_of_none() -> None:
    y = charges(MANY, 300)
    weight = 10.0 ** torch.linspace(-6, 0, MANY)
    weight[::7] = 0.0
    weight[1::5] *= -1.0
    check(cpp, SumRequest(x=between(y, 50), y=y, kernel=Riesz(301.0), weight=weight), 1e-4)


@pytest.mark.parametrize("first", [0, 650, -20])
def test_leaves_out_each_points_own_charge(first: int) -> None:
    y = charges(MANY, 300)
    x = torch.stack([y[i - first] if 0 <= i - first < MANY else y[i] + 0.1 for i in range(MANY - 10)])
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(301.0), first_self=first), 1e-4)


def test_a_narrow_gaussian() -> None:
    y = charges(MANY, 300)
    request = SumRequest(x=between(y, 50), y=y, kernel=Gaussian(2.0))
    check(cpp, request, 1e-4)


def test_bytes() -> None:
    y = torch.randint(0, 256, (MANY, 784), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    x = 0.7 * y[:50].float() + 0.3 * y[50:100].float()
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(785.0), height=torch.full((50,), 20.0)), 1e-4)


def test_chunks_in_which_nothing_matters() -> None:
    y = charges(4300, 3072)
    y[2048:4096] += 50.0
    x = torch.cat([y[:20] * 0.9, y[4096:4116] * 0.9, y[2050:2060] * 0.99])
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(3073.0)), 1e-4)


def test_a_point_or_a_charge_that_is_not_a_number_spoils_what_it_should() -> None:
    y = charges(MANY, 300)
    x = between(y, 70)
    clean = cpp_sum(SumRequest(x=x, y=y, kernel=Riesz(301.0)))
    x[33, 7] = math.nan
    spoilt = cpp_sum(SumRequest(x=x, y=y, kernel=Riesz(301.0)))
    others = torch.arange(70) != 33
    assert spoilt.v[33].isnan().all()
    assert torch.equal(spoilt.v[others], clean.v[others])
    y[5, 5] = math.nan
    assert cpp_sum(SumRequest(x=x, y=y, kernel=Riesz(301.0))).v.isnan().all()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    if not native.extension().bfloat16_available():
        pytest.skip("the products are those of a library, which promises nothing across numbers of threads")
    y = charges(3000, 784)
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(cpp_sum(SumRequest(x=between(y, 100), y=y, kernel=Riesz(785.0))))
    assert all(torch.equal(results[0].v, other.v) for other in results[1:])
