from __future__ import annotations

import pytest
import torch

from efm_fast.errors import InputError
from efm_fast.lines import ExactField, LineStatus, forward_map
from efm_fast.lines.integrate.heights import heights
from efm_fast.lines.integrate.steps import TABLEAUS, slope

from .conftest import OneCharge, gaussian


class Polynomial:
    """dx/dz = 5 z^4: a method of order p is exact up to its error constant and converges as dz^p."""

    L = 1.0

    def direction(self, x, z):
        # one row per height: the slope must come from the ratio, whatever the multiple
        return torch.cat([(7 * 5 * z**4)[:, None].expand_as(x), torch.full_like(z, 7.0)[:, None]], 1)

    def arrival(self, x, z, plate):
        return None


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2), ("rk4", 4)])
def test_methods_converge_at_their_order(method, order):
    errors = []
    for steps in (8, 16):
        lines = forward_map(Polynomial(), torch.zeros(3, 2, dtype=torch.float64), steps=steps, method=method)
        errors.append(float((lines.end - 1).abs().max()))
        assert (lines.evaluations == steps * len(TABLEAUS[method][0])).all()
        assert (lines.end_z == 1).all()
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize(("method", "order"), [("midpoint", 2), ("rk4", 4)])
def test_methods_keep_their_order_on_log_heights(method, order):
    errors = []
    for steps in (16, 32):
        lines = forward_map(
            Polynomial(),
            torch.zeros(1, 2).double(),
            steps=steps,
            method=method,
            spacing="log",
            start=0.1,
            stop=0.9,
        )
        errors.append(float((lines.end - (0.9**5 - 0.1**5)).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


def test_log_heights_are_symmetric_and_geometric_near_a_plate():
    schedule = heights("log", 6.0, 20, 1e-3, 6 - 1e-3)
    z = [schedule.z(schedule.first + k * schedule.dt) for k in range(21)]
    assert z[0] == pytest.approx(1e-3)
    assert z[20] == pytest.approx(6 - 1e-3)
    assert z[10] == pytest.approx(3.0)
    assert z[1] / z[0] == pytest.approx(z[2] / z[1], rel=2e-3)


def test_derivative_of_log_heights():
    schedule = heights("log", 6.0, 20, 1e-3, 6 - 1e-3)
    for t in (-3.0, 0.0, 2.0):
        numeric = (schedule.z(t + 1e-5) - schedule.z(t - 1e-5)) / 2e-5
        assert schedule.dz_dt(t) == pytest.approx(numeric, rel=1e-6)


def test_last_step_lands_where_the_field_says_lines_arrive():
    target = torch.tensor([0.3, -2.0])
    lines = forward_map(OneCharge(target), gaussian(5, 0), steps=2, method="midpoint", spacing="log")
    assert torch.equal(lines.end, target.expand(5, 2))
    assert (lines.end_z == 1.0).all()
    assert (lines.evaluations == 5).all()
    assert (lines.status == LineStatus.FRONT).all()


def test_without_arrival_a_line_ends_where_it_stops(uniform_field):
    lines = forward_map(uniform_field, gaussian(4, 0), steps=3, spacing="log", stop=1.5)
    assert torch.allclose(lines.end, gaussian(4, 0))
    assert torch.allclose(lines.end_z, torch.full((4,), 1.5))


def test_slope_is_bounded_where_the_line_turns_back():
    direction = torch.tensor([[3.0, 4.0, 0.0], [3.0, 4.0, -5.0], [3.0, 4.0, 5.0], [0.0, 0.0, 0.0]])
    s = slope(direction, steepest=20.0)
    assert torch.allclose(s[0].norm(), torch.tensor(20.0))
    assert torch.allclose(s[1].norm(), torch.tensor(20.0))
    assert torch.allclose(s[2], torch.tensor([0.6, 0.8]))
    assert torch.equal(s[3], torch.zeros(2))


def test_paths_run_from_start_to_end(plates):
    x0 = gaussian(8, 3)
    lines = forward_map(ExactField(plates), x0, steps=5, spacing="log", return_paths=True)
    assert lines.paths.shape == (7, 8, 3)
    assert torch.equal(lines.paths[0, :, :2], x0)
    assert torch.equal(lines.paths[-1, :, :2], lines.end)
    hops = (lines.paths[1:] - lines.paths[:-1]).norm(dim=2).sum(0)
    assert torch.allclose(hops, lines.length, rtol=1e-5)


def test_a_bad_line_leaves_its_neighbours_bitwise_alone(plates):
    x0 = gaussian(32, 4)
    good = forward_map(ExactField(plates), x0, steps=8, spacing="log")
    spoiled = x0.clone()
    spoiled[5] = torch.nan
    lines = forward_map(ExactField(plates), spoiled, steps=8, spacing="log")
    others = torch.arange(32) != 5
    assert torch.equal(lines.end[others], good.end[others])
    assert lines.status[5] == LineStatus.FAILED
    assert lines.end[5].isnan().all()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"method": "rk5"}, "method"),
        ({"spacing": "linear"}, "spacing"),
        ({"start": 3.0, "stop": 2.0}, "start, stop"),
        ({"spacing": "log", "start": 0.0}, "start, stop"),
        ({"x0": torch.zeros(3)}, "x0"),
    ],
)
def test_bad_input_names_the_argument(uniform_field, change, word):
    arguments = {"x0": torch.zeros(3, 2), "steps": 4} | change
    with pytest.raises(InputError, match=word):
        forward_map(uniform_field, arguments.pop("x0"), **arguments)
