"""Where the lines of a coupling begin: on the straight part of each, as far from its charge as that goes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import efm_fast
from efm_fast.couplings.starts import gaps, straight
from efm_fast.lines.seeds import sphere
from efm_fast.processes import Processes

from . import test_lines


def two_sets(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    plus, minus = test_lines.two_sets(n, m, d)
    return plus.double(), minus.double()


def reach(plus: Tensor, minus: Tensor, L: float, *, perpendicular: bool) -> Tensor:
    own, other = gaps(plus, minus, Processes.alone())
    return straight(own, other, L, plus.shape[1], len(plus), perpendicular=perpendicular)


def test_gaps_are_distances_to_other_places() -> None:
    plus, minus = two_sets(20, 30, 3)
    plus = torch.cat([plus] * 6)  # more twins than the few nearest that are compared
    own, other = gaps(plus, minus, Processes.alone())
    apart = torch.cdist(plus, plus)
    torch.testing.assert_close(own, apart.masked_fill(apart < 1e-9, torch.inf).amin(1))
    torch.testing.assert_close(other, torch.cdist(plus, minus).amin(1))
    one_place, _ = gaps(plus[:1].expand(5, -1), minus, Processes.alone())
    assert (one_place == torch.inf).all()


@pytest.mark.parametrize("L", [1e-3, 0.1, 3.0, 100.0])
@pytest.mark.parametrize("d", [60, 200, 768])
@pytest.mark.parametrize("perpendicular", [True, False])
def test_lines_are_straight_up_to_their_starts(d: int, L: float, perpendicular: bool) -> None:
    plus, minus = two_sets(300, 200, d)
    minus[0] = plus[0]  # a charge right above another
    plus[2] = plus[1] + 1e-3 / math.sqrt(d)
    radius = reach(plus, minus, L, perpendicular=perpendicular)
    assert (radius > 0).all()
    up = torch.zeros(len(plus), d + 1, dtype=torch.float64)
    up[:, -1] = 1.0
    away = up if perpendicular else sphere(0, torch.arange(len(plus)), 0, d + 1)
    for share in (0.2, 0.7, 1.0):
        step = away * (share * radius)[:, None]
        field = efm_fast.capacitor_field(
            plus + step[:, :-1], step[:, -1], plus, minus, L, precision="exact", backend="reference"
        )
        assert float((field.direction - away).norm(dim=1).max()) < 2e-6


def test_perpendicular_lines_of_many_features_are_straight_beyond_the_nearest_charge() -> None:
    plus, minus = two_sets(300, 200, 768)
    own, _ = gaps(plus, minus, Processes.alone())
    assert (reach(plus, minus, 1e-3, perpendicular=True) > 3.0 * own).all()


def test_with_few_features_lines_begin_at_a_tenth_of_the_distance_to_the_nearest_charge() -> None:
    plus, minus = two_sets(50, 50, 2)
    own, _ = gaps(plus, minus, Processes.alone())
    torch.testing.assert_close(reach(plus, minus, 0.1, perpendicular=True), 0.1 * own.clamp_max(0.1))


def test_lines_from_there_end_where_those_from_the_charges_do_in_fewer_evaluations() -> None:
    plus, minus = (part.float() for part in two_sets(100, 90, 200))
    L = 0.05
    found = efm_fast.couple(plus, minus, kind="lines", L=L, both_ways=False)
    near = efm_fast.trace_lines(plus, torch.full((100,), 0.1 * L), plus, minus, L)
    assert near.charge is not None
    assert float((found.minus == near.charge).double().mean()) >= 0.99
    assert found.evaluations.double().mean() < 0.75 * near.evaluations.double().mean()
