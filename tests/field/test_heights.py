"""Heights far above the spread of the charges: what all pairs share must not drown what tells them apart."""

from __future__ import annotations

import math

import pytest
import torch
from field_checks import cases

from efm_fast.field import gaussian_sum, riesz_sum


def _draw(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def _mean_and_gradients(sum_, x, y, height, **settings):
    """Posterior mean at height ``height``, and what a loss on it passes on to x and y."""
    leaves = [t.clone().requires_grad_() for t in (x, y)]
    mean = sum_(*leaves, height=height, **settings).posterior_mean(leaves[0])
    return mean.detach(), *torch.autograd.grad(mean, leaves, _draw(len(x), x.shape[1], 3).to(mean.dtype))


SUMS = {
    "gaussian": lambda h, d: (gaussian_sum, {"bandwidth": 1.0}),
    "coulomb": lambda h, d: (riesz_sum, {"power": d + 1.0}),
    # PFGM++ with so many extra dimensions that the kernel is as wide as the charges' spread at this height
    "pfgm++": lambda h, d: (riesz_sum, {"power": d + float(round(h * h)) + 0.5}),
}


@pytest.mark.parametrize("height", [3.0, 300.0, 1e4, 1e6])
@pytest.mark.parametrize("kernel", SUMS)
@pytest.mark.parametrize(("backend", "d"), cases(2, 3, 16, 40, 100))
def test_a_height_does_not_blur_the_mean(backend, d, kernel, height):
    if kernel == "pfgm++" and height > 1e5:
        pytest.skip("so large a power is beyond the reference's float64")
    x, y = _draw(32, d, 0), _draw(100, d, 1)
    sum_, scale = SUMS[kernel](height, d)
    got = _mean_and_gradients(sum_, x, y, height, backend=backend, **scale)
    want = _mean_and_gradients(sum_, x.double(), y.double(), height, backend="reference", **scale)
    for name, a, b in zip(("mean", "g_x", "g_y"), got, want, strict=True):
        error = (a.double() - b).norm(dim=1).amax() / math.sqrt(d)
        assert error < 2e-5 * max(1.0, float(b.abs().amax())), name


@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_the_log_scale_of_a_gaussian_knows_its_height(backend):
    x, y = _draw(5, 3, 0), _draw(9, 3, 1)
    got = gaussian_sum(x, y, bandwidth=0.5, height=2.0, backend=backend).log_weight()
    want = gaussian_sum(x, y, bandwidth=0.5, backend=backend).log_weight() - 2.0**2 / (2 * 0.5**2)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(("backend", "d"), cases(2, 40, 100))
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_height_that_is_no_number_spoils_its_own_row(backend, d, bad):
    x, y, height = _draw(4, d, 0), _draw(9, d, 1), torch.rand(4)
    height[1] = bad
    for sum_, scale in (
        (riesz_sum, {"power": d + 1}),
        (riesz_sum, {"power": 3.3}),
        (gaussian_sum, {"bandwidth": 1}),
    ):
        total = sum_(x, y, height=height, backend=backend, **scale)
        for part in (total.m, total.w, total.v):
            assert part[1].isnan().all()
            assert torch.isfinite(part[[0, 2, 3]]).all()
