import math

import pytest
import torch

from efm_fast.errors import InputError
from efm_fast.field import capacitor_field, riesz_sum
from efm_fast.field.potential import capacitor_potential, energy, potential


def _draw(n, m, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(k, d, generator=generator, dtype=torch.float64) for k in (n, m))


@pytest.mark.parametrize("d", [2, 3, 40])
def test_the_potential_by_its_formula(d):
    x, y = _draw(5, 9, d)
    weight = torch.linspace(-1, 2, 9, dtype=torch.float64)
    got = potential(x, y, weight=weight, height=0.4, softening=0.1)
    r2 = torch.cdist(x, y) ** 2 + 0.16 + 0.01
    want = (weight * r2 ** (-(d - 1) / 2)).sum(1) / (d - 1)
    torch.testing.assert_close(got.value(), want)
    assert torch.equal(got.sign, torch.sign(want))


@pytest.mark.parametrize("d", [2, 5])
def test_the_field_is_minus_the_gradient_of_the_potential(d):
    """By central differences of the potential, against the field sum of another power."""
    x, plus = _draw(4, 7, d)
    minus = plus.flip(0) + 0.3
    z = torch.tensor([0.3, 0.9, -0.4, 1.9], dtype=torch.float64)
    field = capacitor_field(x, z, plus, minus, 1.5)
    vector = field.direction * torch.exp(field.log_norm)[:, None]
    step = 1e-5
    for k in range(d + 1):
        dx, dz = torch.zeros(d, dtype=torch.float64), 0.0
        if k < d:
            dx[k] = step
        else:
            dz = step
        ahead, behind = (
            capacitor_potential(x + s * dx, z + s * dz, plus, minus, 1.5).value() for s in (1, -1)
        )
        torch.testing.assert_close(-(ahead - behind) / (2 * step), vector[:, k], rtol=1e-6, atol=1e-8)


def test_autograd_gives_the_field_too():
    x, plus = _draw(4, 7, 3)
    minus, z = plus.flip(0) + 0.3, torch.rand(4, dtype=torch.float64)
    x, z = x.requires_grad_(), z.requires_grad_()
    gradients = torch.autograd.grad(capacitor_potential(x, z, plus, minus, 1.5).value().sum(), (x, z))
    field = capacitor_field(x, z, plus, minus, 1.5)
    vector = field.direction * torch.exp(field.log_norm)[:, None]
    torch.testing.assert_close(-gradients[0], vector[:, :3])
    torch.testing.assert_close(-gradients[1], vector[:, 3])


def test_the_potential_is_zero_midway_between_mirrored_plates():
    x, plus = _draw(4, 7, 3)
    got = capacitor_potential(x, torch.full((4,), 0.75, dtype=torch.float64), plus, plus, 1.5)
    scale = potential(x, plus, height=0.75)
    assert (got.log_abs < scale.log_abs - 30).all()


def test_the_energy_by_its_formula():
    plus, minus = _draw(6, 8, 3)
    q_plus, q_minus = torch.rand(6, dtype=torch.float64) + 0.1, torch.rand(8, dtype=torch.float64) + 0.1
    got = energy(plus, minus, 1.3, plus_weight=q_plus, minus_weight=q_minus, softening=0.1)
    charge = torch.cat([q_plus / q_plus.sum(), -q_minus / q_minus.sum()])
    points = torch.cat(
        [torch.nn.functional.pad(plus, (0, 1)), torch.nn.functional.pad(minus, (0, 1), value=1.3)]
    )
    r2 = ((points[:, None] - points[None]) ** 2).sum(-1) + 0.01
    pair = charge[:, None] * charge[None] / r2 / 2
    want = (pair.sum() - pair.diagonal().sum()) / 2
    torch.testing.assert_close(got.value(), want)
    assert got.sign == torch.sign(want)
    assert got.log_abs.shape == ()


def test_the_energy_of_many_dimensions_and_bytes_does_not_overflow():
    generator = torch.Generator().manual_seed(0)
    plus, minus = (
        torch.randint(0, 256, (30, 3072), generator=generator, dtype=torch.uint8) for _ in range(2)
    )
    got = energy(plus, minus, 6000.0)
    assert torch.isfinite(got.log_abs)
    assert got.sign == 1  # charges of one plate are nearer to each other than to the other plate
    nearest = torch.cdist(plus.double(), plus.double()).fill_diagonal_(torch.inf).min()
    assert abs(got.log_abs.item() + 3071 * math.log(nearest)) < 40


def test_twice_the_size_is_less_energy_by_the_power():
    plus, minus = _draw(6, 8, 5)
    one, two = energy(plus, minus, 1.0), energy(2 * plus, 2 * minus, 2.0)
    torch.testing.assert_close(two.log_abs, one.log_abs - 4 * math.log(2))


def test_coinciding_charges_have_infinite_energy_unless_softened():
    plus, minus = _draw(6, 8, 3)
    plus[1] = plus[0]
    assert energy(plus, minus, 1.0).log_abs == torch.inf
    assert torch.isfinite(energy(plus, minus, 1.0, softening=0.1).log_abs)


def test_one_dimension_is_refused():
    x, y = _draw(3, 4, 1)
    with pytest.raises(
        InputError, match="expected at least 2 features, for the potential of 1 is a logarithm"
    ):
        potential(x, y)
    with pytest.raises(InputError, match="L: expected a finite number above 0"):
        energy(y, y, 0.0)


def test_the_same_triple():
    """The potential is the weight of the sum with power D - 1, as documented."""
    x, y = _draw(5, 9, 4)
    torch.testing.assert_close(
        potential(x, y).log_abs, riesz_sum(x, y, power=3).log_weight() - math.log(3), rtol=0, atol=1e-12
    )
