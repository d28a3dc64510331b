from __future__ import annotations

import math

import pytest
import torch

from efm_fast.errors import InputError
from efm_fast.lines import LineStatus, launch, trace_lines
from efm_fast.lines.geometry.nearest import nearest_charges
from efm_fast.lines.integrate.embedded import PAIRS
from efm_fast.lines.physics import dipole_drift, flux_p_value, same_target

from .conftest import gaussian, swiss_roll

L = 6.0


@pytest.fixture(scope="module")
def capacitor():
    plus, minus = gaussian(64, 0), swiss_roll(64, 1)
    x, z = launch(plus, torch.arange(64).repeat_interleave(8))
    return plus, minus, x, z


@pytest.mark.parametrize(("d", "n"), [(2, 200), (64, 200), (1024, 24)])
def test_dipole_invariant(d, n):
    drift, lines = dipole_drift(d, 1.0, n)
    assert lines.arrived.all()
    assert torch.quantile(drift, 0.99) < 1e-3
    assert lines.evaluations.max() <= 490


def test_dipole_invariant_tells_a_poor_solver():
    drift, _ = dipole_drift(2, 1.0, 100, method="euler", step=0.2)
    assert torch.quantile(drift, 0.99) > 1e-2


def test_every_charge_draws_its_flux_and_lines_reach_the_reference_charge(capacitor):
    plus, minus, x, z = capacitor
    lines = trace_lines(x, z, plus, minus, L)
    reference = trace_lines(x.double(), z.double(), plus, minus, L, method="dopri5", tolerance=1e-7)
    assert lines.arrived.all()
    assert flux_p_value(lines.charge, 64) > 0.01
    assert same_target(lines, reference) >= 0.995
    assert lines.evaluations.double().mean() <= 275
    assert torch.equal(lines.end, minus[lines.charge])
    assert (lines.end_z == L).all()


def test_flux_test_tells_a_poor_solver(capacitor):
    plus, minus, x, z = capacitor
    poor = trace_lines(x, z, plus, minus, L, method="euler", step=0.5)
    assert flux_p_value(poor.charge, 64) < 0.01


def test_both_methods_agree(capacitor):
    plus, minus, x, z = capacitor
    one = trace_lines(x[:128], z[:128], plus, minus, L)
    two = trace_lines(x[:128], z[:128], plus, minus, L, method="dopri5")
    assert same_target(one, two) > 0.98
    assert torch.allclose(one.length.median(), two.length.median(), rtol=0.02)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_a_bad_line_leaves_its_neighbours_bitwise_alone(capacitor, method):
    plus, minus, x, z = capacitor
    x, z = x[:24].clone(), z[:24].clone()
    good = trace_lines(x, z, plus, minus, L, method=method)
    x[3] = torch.nan
    x[4], z[4] = plus[17], 0.0
    lines = trace_lines(x, z, plus, minus, L, method=method)
    others = (torch.arange(24) < 3) | (torch.arange(24) > 4)
    assert lines.status[3:5].tolist() == [LineStatus.FAILED] * 2
    for name in ("end", "status", "charge", "evaluations", "length"):
        assert torch.equal(getattr(lines, name)[others], getattr(good, name)[others]), name
    alone = trace_lines(x[7:8], z[7:8], plus, minus, L, method=method)
    assert torch.equal(alone.length, good.length[7:8])


def test_lines_back_from_q_to_p_are_the_swapped_plates(capacitor):
    """A line run forth from the mid-plane and one run back from there reach charges that one line joins."""
    plus, minus, _, _ = capacitor
    x, z = gaussian(32, 5), torch.full((32,), L / 2)
    forth = trace_lines(x, z, plus, minus, L, method="dopri5", return_paths=True)
    middle = forth.paths[6]
    back = trace_lines(middle[:, :2], L - middle[:, 2], minus, plus, L, method="dopri5", return_paths=True)
    straight = trace_lines(x, L - z, minus, plus, L, method="dopri5")
    assert (back.charge == straight.charge).double().mean() > 0.9


def test_step_limit_is_told(capacitor):
    plus, minus, x, z = capacitor
    lines = trace_lines(x[:4], z[:4], plus, minus, L, max_steps=3)
    assert (lines.status == LineStatus.STEP_LIMIT).all()
    assert (lines.charge == -1).all()
    assert (lines.evaluations <= 16).all()


def test_starts_lie_uniformly_on_their_spheres():
    plus = gaussian(50, 3)
    index = torch.arange(50).repeat_interleave(100)
    x, z = launch(plus, index, share=0.05)
    gap = torch.cdist(plus, plus).fill_diagonal_(torch.inf).amin(1)
    radius = torch.hypot((x - plus[index]).norm(dim=1), z)
    assert torch.allclose(radius, 0.05 * gap[index], rtol=1e-3)
    height = z / radius  # uniform in (-1, 1) in three dimensions
    assert abs(float(height.mean())) < 0.03
    assert float(height.square().mean()) == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("name", PAIRS)
def test_an_embedded_pair_is_of_its_order(name):
    pair = PAIRS[name]

    def turn(p):
        return torch.stack([-p[:, 1], p[:, 0]], 1)

    start = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    errors, estimates = [], []
    for ds in (0.2, 0.1):
        new, last, _, error = pair.advance(turn, start, turn(start), torch.tensor([ds], dtype=torch.float64))
        angle = torch.tensor(ds, dtype=torch.float64)
        errors.append(float((new - torch.stack([angle.cos(), angle.sin()])).norm()))
        estimates.append(float(error))
        assert torch.equal(last, turn(new))
    assert errors[0] / errors[1] == pytest.approx(2 ** (pair.order + 1), rel=0.15)
    assert estimates[0] / estimates[1] == pytest.approx(2**pair.order, rel=0.15)


@pytest.mark.parametrize("name", PAIRS)
def test_the_length_of_a_step_is_that_of_its_line_at_any_speed(name):
    start = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    ds = torch.tensor([0.1], dtype=torch.float64)
    new, _, length, _ = PAIRS[name].advance(lambda p: p, start, start, ds)  # straight away, ever faster
    torch.testing.assert_close(length, (new - start).norm(dim=1))
    assert float(length) == pytest.approx(5.0 * math.expm1(0.1), rel=1e-4)


def test_nearest_charges_in_order():
    charges = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    distance, index = nearest_charges(torch.tensor([[0.0, 0.4, 2.0]]), charges, 2.0, 4)
    assert index.tolist() == [[0, 2, 1, -1]]
    assert torch.allclose(distance[0, :2], torch.tensor([0.4, 0.6]))
    assert distance[0, 3] == torch.inf


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"method": "ab4"}, "method"),
        ({"step": -1.0}, "step"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"max_steps": 0}, "max"),
    ],
)
def test_bad_input_names_the_argument(capacitor, change, word):
    plus, minus, x, z = capacitor
    with pytest.raises(InputError, match=word):
        trace_lines(x, z, plus, minus, L, **change)
