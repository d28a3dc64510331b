"""Distances against cases whose answer is known on paper."""

import math

import pytest
import torch

from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.metrics import (
    outlier_share,
    outlier_threshold,
    sampling_floor,
    sliced_wasserstein2,
    transport_report,
    wasserstein2,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_w2_of_a_shifted_set_is_the_shift():
    a = torch.randn(200, 5, generator=generator())
    shift = torch.tensor([3.0, 0, -4, 0, 0])
    assert wasserstein2(a, a + shift) == pytest.approx(5.0, rel=1e-6)
    assert wasserstein2(a, a[torch.randperm(200, generator=generator())]) == pytest.approx(0.0, abs=1e-6)


def test_w2_on_a_line_pairs_sorted_points_and_splits_mass():
    a, b = torch.tensor([[0.0], [1], [5]]), torch.tensor([[6.0], [1], [1]])
    assert wasserstein2(a, b) == pytest.approx(math.sqrt((1 + 0 + 1) / 3))
    assert wasserstein2(torch.zeros(1, 2), torch.tensor([[3.0, 4], [0, 0]])) == pytest.approx(
        math.sqrt(12.5), rel=1e-6
    )


def test_w2_of_a_scaled_set_is_the_scale():
    a = torch.randn(300, 2, generator=generator()).double()
    expected = 0.5 * a.square().sum(1).mean().sqrt()
    assert wasserstein2(a, 1.5 * a) == pytest.approx(expected.item(), rel=1e-9)


def test_sliced_w2_of_a_shift_averages_its_projections():
    a = torch.randn(100, 3, generator=generator())
    shift = torch.tensor([2.0, -1, 2])
    found = sliced_wasserstein2(a, a + shift, 4000, generator(1))
    assert found == pytest.approx(3 / math.sqrt(3), rel=0.03)
    assert found == sliced_wasserstein2(a, a + shift, 4000, generator(1))
    line = a[:, :1]
    assert sliced_wasserstein2(line, line[:50] * 2, 3, generator()) == pytest.approx(
        wasserstein2(line, line[:50] * 2), rel=1e-6
    )


@pytest.mark.parametrize("distance", [wasserstein2, lambda a, b: sliced_wasserstein2(a, b, 5, generator())])
def test_distances_refuse_bad_sets(distance):
    good = torch.zeros(3, 2)
    with pytest.raises(InputError, match=r"a: expected at least one row, got shape \(0, 2\)"):
        distance(good[:0], good)
    with pytest.raises(InputError, match="b: expected finite numbers, got 6 NaN"):
        distance(good, good / 0)
    with pytest.raises(InputError, match="same number of columns, got 2 and 3"):
        distance(good, torch.zeros(3, 3))
    with pytest.raises(InputError, match="a: expected 2 dimensions"):
        distance(good[0], good)


def test_sampling_floor_shrinks_with_n_and_is_fixed_by_the_seed():
    draw = make_source("swiss_roll").draw
    small, large = sampling_floor(draw, 100, 3, 0), sampling_floor(draw, 500, 3, 0)
    assert 0.2 < large < small < 0.8
    assert small == sampling_floor(draw, 100, 3, 0)
    with pytest.raises(InputError, match="repeats: expected at least 1, got 0"):
        sampling_floor(draw, 100, 0)


def test_swiss_roll_is_scaled_against_the_unit_gaussian():
    roll, noise = make_source("swiss_roll").draw, make_source("gaussian").draw
    assert 0.75 < wasserstein2(noise(1000, generator(3)), roll(1000, generator(1))) < 0.95
    assert 0.15 < sampling_floor(roll, 1000, 1) < 0.3


def test_outliers_are_what_strays_beyond_the_threshold():
    grid = torch.cartesian_prod(torch.arange(10.0), torch.arange(10.0))
    assert outlier_threshold(grid) == pytest.approx(3.0)
    assert outlier_threshold(grid.repeat(3, 1)) == pytest.approx(3.0)  # repeats do not shrink it
    assert outlier_threshold(grid, grid + torch.tensor([0.25, 0])) == pytest.approx(0.75)
    samples = torch.tensor([[4.5, 4.5], [-2.9, 0], [-3.1, 0], [100, 100], [math.nan, 0]])
    assert outlier_share(samples, grid) == pytest.approx(3 / 5)
    assert outlier_share(grid, grid) == 0
    draw = make_source("swiss_roll").draw
    assert outlier_share(draw(2000, generator(1)), draw(2000, generator(2)), draw(2000, generator(3))) == 0


def test_outliers_refuse_bad_sets():
    grid = torch.arange(8.0).reshape(4, 2)
    with pytest.raises(InputError, match="samples: expected at least one row"):
        outlier_share(grid[:0], grid)
    with pytest.raises(InputError, match="samples: expected 2 columns"):
        outlier_share(torch.zeros(3, 3), grid)
    with pytest.raises(InputError, match="target: expected at least 2 distinct rows, got 1"):
        outlier_share(grid, torch.zeros(3, 2))


def test_transport_report_sets_the_number_beside_its_floor():
    draw = make_source("swiss_roll").draw
    target, held_out = draw(300, generator(1)), draw(300, generator(2))
    noise = torch.randn(300, 2, generator=generator(3))
    report = transport_report(draw(300, generator(4)), target, held_out, noise)
    assert report.w2 == pytest.approx(report.floor, rel=0.3)
    assert report.start > 1.5 * report.w2
    assert report.sliced_w2 < report.w2
    assert report.outliers == 0
    assert set(report.as_dict()) == {"w2", "floor", "start", "sliced_w2", "outliers", "samples"}
    far = transport_report(target + 50, target, held_out)
    assert far.outliers == 1
    assert far.w2 == pytest.approx(50 * math.sqrt(2), rel=1e-3)
    assert math.isnan(far.start)
