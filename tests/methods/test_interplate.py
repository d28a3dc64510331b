"""Inter-plate points follow the law they promise, and the target made at flux points is unbiased."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from efm_fast.errors import InputError
from efm_fast.field import capacitor_field
from efm_fast.methods.interplate import BoxPoints, CoupledPoints, FluxPoints, LinearPoints, coulomb_partners
from efm_fast.methods.targets import field_direction, plate_posterior
from efm_fast.types import Plates


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plates(dimension: int, count: int = 64, seed: int = 0) -> Plates:
    g = generator(seed)
    plus = torch.randn(count, dimension, generator=g)
    return Plates(plus, torch.randn(count, dimension, generator=g) + 0.5, 3.0)


def test_heights_are_log_uniform_on_both_sides() -> None:
    z = FluxPoints(nearest=0.01, behind=10.0).heights(2.0, 40_000, generator())
    behind, inside = z[(z < 0) | (z > 2)], z[(z > 0) & (z < 2)]
    assert len(behind) + len(inside) == 40_000
    distance = torch.where(behind < 0, -behind, behind - 2.0)
    level = distance.log() - math.log(0.01)
    assert level.min() >= 0
    assert level.max() <= math.log(1000)
    assert level.mean() == pytest.approx(math.log(1000) / 2, rel=0.03)
    assert len(behind) / 40_000 == pytest.approx(math.log(1000) / (math.log(1000) + math.log(199)), abs=0.02)
    assert (z < 1).double().mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("dimension", [2, 50])
def test_flux_of_one_charge_spreads_as_coulomb_says(dimension: int) -> None:
    """Share of a charge's flux within radius R of the plane at h: 2 F(theta), the fraction of a sphere's cap."""
    one = Plates(torch.zeros(1, dimension), torch.full((1, dimension), 1e6), 2.0)
    points = FluxPoints(nearest=0.5)(one, 40_000, generator())
    mine = points.x.norm(dim=1) < 1e5
    radius = points.x[mine].double().norm(dim=1) / points.z[mine]
    # b = R^2 / (R^2 + h^2) has the law Beta(D / 2, 1 / 2)
    b = radius**2 / (1 + radius**2)
    exact = torch.distributions.Beta(
        torch.tensor(dimension / 2.0, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    )
    assert b.mean() == pytest.approx(float(exact.mean), abs=0.01)
    assert b.var() == pytest.approx(float(exact.variance), rel=0.1)


def test_the_posterior_target_is_unbiased_and_the_linear_one_is_not_needed_for_it() -> None:
    """Averaged over minibatches that generated points in one small cell, T points along the true field."""
    torch.manual_seed(0)
    charges = torch.tensor([[-1.0], [1.0], [2.0]])
    other = torch.tensor([[0.0], [0.5]])
    L, centre, half = 2.0, torch.tensor([0.3, 0.8]), 0.1
    strategy = FluxPoints(nearest=0.4)
    total, g = torch.zeros(2, dtype=torch.float64), generator(1)
    found = 0
    for _ in range(400):
        batch = Plates(
            charges[torch.randint(3, (2,), generator=g)], other[torch.randint(2, (2,), generator=g)], L
        )
        points = strategy(batch, 2000, g)
        cell = ((points.x[:, 0] - centre[0]).abs() < half) & ((points.z - centre[1]).abs() < half)
        moment = plate_posterior(points).moment(points.x, points.z, L)
        total += moment[cell].double().sum(0)
        found += int(cell.sum())
    assert found > 1000
    exact = capacitor_field(centre[None, :1].double(), centre[1:].double(), charges, other, L).direction[0]
    assert torch.allclose(total / total.norm(), exact, atol=0.06), (total / total.norm(), exact)


def test_linear_points_lie_between_their_pair() -> None:
    points = LinearPoints()(Plates(torch.zeros(1, 3), torch.ones(1, 3), 4.0), 100, generator())
    assert torch.allclose(points.x, (points.z / 4)[:, None].float().expand(-1, 3), atol=1e-6)
    assert not points.generated
    noisy = LinearPoints(noise=0.5)(Plates(torch.zeros(1, 3), torch.zeros(1, 3), 4.0), 5000, generator())
    assert noisy.x.std() == pytest.approx(0.5, rel=0.05)


def test_box_points_fill_the_box() -> None:
    pair = plates(2)
    points = BoxPoints(margin=1.0)(pair, 5000, generator())
    both = torch.cat([pair.plus, pair.minus])
    assert (points.x >= both.amin(0) - 1).all()
    assert (points.x <= both.amax(0) + 1).all()
    assert points.z.min() < -0.9
    assert points.z.max() > pair.L + 0.9


def test_field_direction_is_the_capacitor_field_of_the_batch() -> None:
    points = LinearPoints(0.1)(plates(5), 20, generator())
    p = points.plates
    exact = capacitor_field(points.x, points.z, p.plus, p.minus, p.L, backend="reference").direction
    assert torch.allclose(field_direction(points).double(), exact, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: FluxPoints(nearest=0.0), "nearest"),
        (lambda: FluxPoints(nearest=1.0, behind=0.5), "behind"),
        (lambda: FluxPoints(nearest=2.0)(plates(2), 4, generator()), "nearest"),
    ],
)
def test_bad_lengths_are_named(make: object, name: str) -> None:
    with pytest.raises(InputError, match=name):
        make()  # type: ignore[operator]


def test_points_depend_on_the_generator_alone() -> None:
    def draw() -> Tensor:
        return FluxPoints(nearest=0.01)(plates(3), 50, generator(7)).x

    assert torch.equal(draw(), draw())


def test_partners_follow_the_coulomb_posterior() -> None:
    x, charges, L = torch.zeros(1, 2), torch.tensor([[0.5, 0.0], [0.0, 1.0], [-2.0, 0.0]]), 0.8
    weight = (charges.double().square().sum(1) + L * L) ** -1.5
    drawn = coulomb_partners(x.expand(60_000, 2), charges, L, generator())
    for charge, wanted in zip(charges, weight / weight.sum(), strict=True):
        share = (drawn == charge).all(1).double().mean()
        assert share == pytest.approx(float(wanted), abs=0.01)


def test_coupled_points_lie_between_coupled_charges_at_any_height() -> None:
    both = plates(6)
    z = CoupledPoints(nearest=0.01).heights(3.0, 30_000, generator())
    assert z.min() > 0
    assert z.max() < 3
    assert (z < 0.1).double().mean() == pytest.approx((math.log(10) / math.log(300) + 0.1 / 3) / 3, abs=0.02)
    assert z.mean() == pytest.approx(1.5, abs=0.03)
    points = CoupledPoints(nearest=0.01, noise=0.0)(both, 40, generator())
    for x in points.x.double():
        plus, minus = (side.double() for side in (both.plus, both.minus))
        way = minus[None] - plus[:, None]
        t = ((x - plus[:, None]) * way).sum(2) / way.square().sum(2)
        assert (plus[:, None] + t[:, :, None] * way - x).norm(dim=2).min() < 1e-5
    assert not points.generated
    again = CoupledPoints(nearest=0.01, noise=0.0)(both, 40, generator())
    assert torch.equal(points.x, again.x)
    noisy = CoupledPoints(nearest=0.01, noise=0.5)(both, 40, generator())
    assert 0.1 < float((noisy.x - points.x).std()) < 0.5
    assert torch.equal(noisy.z, CoupledPoints(nearest=0.01, noise=0.9)(both, 40, generator()).z)
    with pytest.raises(InputError, match="nearest: expected less than L"):
        CoupledPoints(nearest=5.0)(both, 4, generator())
