"""The reference against what physics and mpmath say, so that everything else may be compared with it."""

import math

import mpmath
import numpy as np
import pytest
import torch
from field_checks import unscaled

from efm_fast.field import capacitor_field, gaussian_sum, riesz_sum
from efm_fast.field.queries import query_set


def _sphere(count):
    """Quadrature on the unit sphere of R^3: points [Q, 3] and weights [Q] that add up to 4 pi."""
    cosine, weight = np.polynomial.legendre.leggauss(count)
    angle = np.arange(2 * count) * math.pi / count
    sine = np.sqrt(1 - cosine**2)
    points = np.stack(
        [np.outer(sine, np.cos(angle)), np.outer(sine, np.sin(angle)), np.outer(cosine, np.ones_like(angle))],
        -1,
    )
    return torch.from_numpy(points.reshape(-1, 3)), torch.from_numpy(
        np.repeat(weight * math.pi / count, 2 * count)
    )


@pytest.mark.parametrize("d", [1, 2, 5, 300])
def test_one_charge_is_coulombs_law(d):
    generator = torch.Generator().manual_seed(d)
    x, y = (torch.randn(k, d, generator=generator, dtype=torch.float64) for k in (4, 1))
    height = torch.rand(4, generator=generator, dtype=torch.float64)
    total = riesz_sum(x, y, power=d + 1, height=height, backend="reference")
    r2 = ((x - y) ** 2).sum(1) + height**2
    torch.testing.assert_close(total.m, -(d + 1) / 2 * torch.log(r2), rtol=1e-14, atol=1e-13)
    torch.testing.assert_close(total.w, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(total.v, x - y)
    torch.testing.assert_close(total.log_weight(), total.m)
    torch.testing.assert_close(total.posterior_mean(x), y.expand(4, d))


def test_a_dipole_by_hand():
    """One charge per plate, D = 1, at a point that is as far from both: E = (d+ - d-) / 2."""
    x, z = torch.tensor([[1.0]]), torch.tensor([0.5])
    field = capacitor_field(x, z, torch.tensor([[0.0]]), torch.tensor([[2.0]]), 1.0, backend="reference")
    r2 = 1.25
    expected = torch.tensor([[1.0 - (-1.0), 0.5 - (-0.5)]], dtype=torch.float64) / r2
    norm = torch.linalg.vector_norm(expected)
    torch.testing.assert_close(field.direction, expected / norm)
    torch.testing.assert_close(field.log_norm, torch.log(norm)[None])


def test_gauss_law_counts_the_charge_inside():
    sphere, area = _sphere(60)
    charges = torch.tensor([[0.1, 0.2, -0.1], [-0.3, 0.0, 0.2], [3.0, 0.0, 0.0], [0.0, -2.0, 1.0]]).double()
    weight = torch.tensor([1.0, 2.5, 7.0, -3.0])
    field = unscaled(riesz_sum(sphere, charges, power=3, weight=weight, backend="reference"))[:, 1:]
    flux = (area * (field * sphere).sum(1)).sum().item()
    assert flux == pytest.approx(4 * math.pi * 3.5, rel=1e-9)


def test_gauss_law_of_the_capacitor():
    """The flux around one of four positive charges is a quarter of the plate's; around none it is 0."""
    sphere, area = _sphere(60)
    plus = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]).double()
    minus = torch.tensor([[0.5, 0.5], [3.0, 0.0]]).double()
    for centre, inside in (((0.0, 0.0, 0.0), 0.25), ((0.5, 0.5, 2.0), -0.5), ((0.5, 0.3, 1.0), 0.0)):
        points = torch.tensor(centre) + 0.4 * sphere
        field = capacitor_field(points[:, :2], points[:, 2], plus, minus, 2.0, backend="reference")
        vector = field.direction * torch.exp(field.log_norm)[:, None]
        flux = (0.4**2 * area * (vector * sphere).sum(1)).sum().item()
        assert flux == pytest.approx(4 * math.pi * inside, abs=1e-9)


@pytest.mark.parametrize("kind", ["tie", "plate_tie", "twin"])
@pytest.mark.parametrize(("d", "points", "charges"), [(64, 3, 8), (3072, 1, 4)])
def test_mpmath_agrees(kind, d, points, charges):
    q = query_set(kind, points, charges, d)
    got = capacitor_field(q.x, q.z, q.plus, q.minus, q.L, backend="reference")
    with mpmath.workdps(40):
        for i in range(points):
            field = [mpmath.mpf(0)] * (d + 1)
            for sign, plate, z_plate in ((1, q.plus, 0.0), (-1, q.minus, q.L)):
                for y in plate.tolist():
                    difference = [
                        mpmath.mpf(a) - mpmath.mpf(b) for a, b in zip(q.x[i].tolist(), y, strict=True)
                    ]
                    difference.append(mpmath.mpf(q.z[i].item()) - mpmath.mpf(z_plate))
                    factor = (
                        sign * mpmath.fsum(c * c for c in difference) ** (-mpmath.mpf(d + 1) / 2) / charges
                    )
                    field = [e + factor * c for e, c in zip(field, difference, strict=True)]
            norm = mpmath.sqrt(mpmath.fsum(e * e for e in field))
            error = mpmath.sqrt(
                mpmath.fsum(
                    (e / norm - u) ** 2 for e, u in zip(field, got.direction[i].tolist(), strict=True)
                )
            )
            assert error < 1e-10
            assert abs(mpmath.log(norm) - got.log_norm[i].item()) < 1e-8


def test_gaussian_and_softened_kernels_by_formula():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(k, 3, generator=generator, dtype=torch.float64) for k in (5, 7))
    weight = torch.randn(7, generator=generator, dtype=torch.float64)
    height = torch.rand(5, generator=generator, dtype=torch.float64)
    difference = x[:, None] - y[None]
    r2 = (difference**2).sum(-1) + height[:, None] ** 2
    for total, kernel in (
        (
            riesz_sum(x, y, power=2.5, weight=weight, height=height, softening=0.3, backend="reference"),
            (r2 + 0.09) ** -1.25,
        ),
        (
            gaussian_sum(x, y, bandwidth=0.8, weight=weight, height=height, backend="reference"),
            torch.exp(-r2 / 1.28),
        ),
    ):
        pair = weight * kernel
        expected = torch.cat([pair.sum(1, keepdim=True), (pair[..., None] * difference).sum(1)], 1)
        torch.testing.assert_close(unscaled(total), expected, rtol=1e-12, atol=1e-14)


def test_blocks_do_not_change_the_sum(monkeypatch):
    from efm_fast.field.backends import reference

    q = query_set("interpolated", 33, 70, 5)
    whole = riesz_sum(q.x, q.plus, power=6, height=q.z, backend="reference")
    monkeypatch.setattr(reference, "_BLOCK_ELEMENTS", 100)
    pieces = riesz_sum(q.x, q.plus, power=6, height=q.z, backend="reference")
    torch.testing.assert_close(pieces.m, whole.m, rtol=0, atol=0)
    torch.testing.assert_close(pieces.v, whole.v, rtol=1e-12, atol=1e-12)
