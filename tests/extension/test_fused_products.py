"""7 to 64 features: distances by float products about a centre, and what they cannot tell."""

from __future__ import annotations

import math

import pytest
import torch
from sums import charges, check, cpp_sum

from efm_fast.field.backends import cpp, reference
from efm_fast.field.kernel import Gaussian, Riesz
from efm_fast.field.request import SumRequest

pytestmark = pytest.mark.usefixtures("needs_extension", "poisoned")


def clustered(m: int, d: int, clusters: int = 12) -> torch.Tensor:
    """Charges in tight clusters, which lie apart: most pairs within one are told by their differences only."""
    middle = charges(clusters, d, seed=7)
    return middle[torch.arange(m) % clusters] + 1e-3 * charges(m, d, seed=8)


@pytest.mark.parametrize("d", [7, 9, 23, 24, 33, 64])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_points_in_clusters(d: int, n: int) -> None:
    """Few points, and many; powers by squaring, and by the logarithm."""
    y = clustered(900, d)
    x = y[:n] + 3e-4 * charges(n, d, seed=9)
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(d + 1.0), height=torch.full((n,), 1e-4)), 1e-4)
    check(
        cpp, SumRequest(x=x, y=y, kernel=Riesz(d + 1.5), height=torch.full((n,), 1e-2 * math.sqrt(d))), 1e-4
    )


@pytest.mark.parametrize("bandwidth", [1e-2, 1.0, 10.0])
@pytest.mark.parametrize("n", [1, 40])
def test_gaussians_narrower_than_the_rounding_of_products(bandwidth: float, n: int) -> None:
    y = 30.0 + charges(600, 16)
    y[300:] = y[:300] + 1e-2 * charges(300, 16, seed=2)
    x = y[:n] + 1e-3 * charges(n, 16, seed=3)
    check(cpp, SumRequest(x=x, y=y, kernel=Gaussian(bandwidth)), 1e-4)


@pytest.mark.parametrize("d", [16, 64])
def test_a_point_does_not_depend_on_the_others(d: int) -> None:
    y = clustered(500, d)
    near, far = y[:40] + 1e-3, charges(200, d, seed=4)
    alone = cpp_sum(SumRequest(x=near, y=y, kernel=Riesz(d + 1.0)))
    among = cpp_sum(SumRequest(x=torch.cat([far, near, near]), y=y, kernel=Riesz(d + 1.0)))
    for part in ("m", "w", "v"):
        assert torch.equal(getattr(alone, part), getattr(among, part)[200:240])
        assert torch.equal(getattr(alone, part), getattr(among, part)[240:])


@pytest.mark.parametrize("n", [1, 40])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_charge_that_is_no_number_is_not_lost(n: int, bad: float) -> None:
    y = charges(300, 40)
    y[7, 39] = bad
    total = cpp_sum(SumRequest(x=charges(n, 40, seed=1), y=y, kernel=Riesz(41.0)))
    assert total.m.isnan().all()
    assert total.v.isnan().all()


@pytest.mark.parametrize("d", [9, 33, 64])
def test_displacements_from_a_close_charge_at_a_large_height(d: int) -> None:
    """The height keeps r2 large, and all the same x - y has to be right: nothing else may count."""
    y = 100.0 * charges(30, d)
    x = y[:8] + 1e-2 * charges(8, d, seed=1)
    request = SumRequest(x=x, y=y, kernel=Riesz(1e6), height=torch.full((8,), 1e4))
    truth, got = reference.log_sum(request), cpp.centred_sum(request).whole(x)
    scale = torch.exp(got.m - truth.m)[:, None]
    assert ((got.v.double() * scale - truth.v).norm(dim=1) < 1e-4 * truth.v.norm(dim=1)).all()
