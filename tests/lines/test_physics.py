from __future__ import annotations

import pytest
import torch
from scipy import stats

from efm_fast.lines import seeds
from efm_fast.lines.physics import cap_fraction, flux_p_value, gauss_flux, swap_antisymmetry, tangential_jump

from .conftest import gaussian, swiss_roll

L = 3.0


@pytest.fixture(scope="module")
def capacitor():
    return gaussian(128, 0).double(), swiss_roll(128, 1).double()


def test_cap_fraction_in_three_dimensions_is_linear_in_the_cosine():
    cosine = torch.linspace(-1, 1, 9)
    assert torch.allclose(cap_fraction(cosine, 3), (1 - cosine.double()) / 2, atol=1e-7)


def test_swapping_the_plates_mirrors_the_field(capacitor):
    plus, minus = capacitor
    x, z = gaussian(200, 2).double(), torch.linspace(-2, 5, 200).double()
    assert swap_antisymmetry(x, z, plus, minus, L) < 1e-9


@pytest.mark.parametrize("plate", [0.0, L])
def test_tangential_field_is_continuous_across_a_plate(capacitor, plate):
    plus, minus = capacitor
    x = gaussian(200, 3).double()
    near = tangential_jump(x, plate, 1e-6, plus, minus, L)
    assert near.median() < 1e-5
    assert tangential_jump(x, plate, 0.3, plus, minus, L).median() > 1e-3


def test_gauss_flux_counts_the_charge_inside(capacitor):
    plus, minus = capacitor
    charge = plus[5]
    gap = (plus - charge).norm(dim=1)[torch.arange(128) != 5].min()
    center = torch.cat([charge, charge.new_zeros(1)])
    for point, radius, inside in (
        (center, 0.3 * float(gap), 1 / 128),
        (center + torch.tensor([0, 0, 1.0]), 0.5, 0.0),
        (torch.tensor([0.0, 0.0, -8.0], dtype=torch.float64), 9.0, 1.0),
    ):
        flux, error = gauss_flux(point, radius, plus, minus, L, n_points=20000)
        assert flux == pytest.approx(inside, abs=4 * error + 1e-6)
        assert error < 0.05


def test_flux_p_value_tells_uniform_from_not():
    even = torch.randint(32, (3200,), generator=torch.Generator().manual_seed(0))
    assert flux_p_value(even, 32) > 0.01
    assert flux_p_value(even.clamp_max(20), 32) < 1e-6


def test_random_numbers_belong_to_their_sample():
    index = torch.arange(20000)
    u = seeds.uniform(7, index, 0)
    assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-3
    assert torch.equal(u[123:124], seeds.uniform(7, index[123:124], 0))
    for other in (seeds.uniform(8, index, 0), seeds.uniform(7, index, 1), seeds.uniform(7, index + 1, 0)):
        assert abs(float(torch.corrcoef(torch.stack([u, other]))[0, 1])) < 0.03
    points = seeds.sphere(0, index, 0, 3)
    assert torch.allclose(points.norm(dim=1), torch.ones(20000, dtype=torch.float64))
    assert stats.kstest(points[:, 2].numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3
