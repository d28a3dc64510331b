"""Data sets hold equal data: lines end at places where several charges are, and leave them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from efm_fast import native
from efm_fast.lines import launch, trace_lines
from efm_fast.lines.geometry.places import Places

from .conftest import gaussian, swiss_roll


def of_both_plates(d: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(24, d, generator=generator), torch.randn(20, d, generator=generator) + 2


WITH_EXTENSION = pytest.mark.skipif(native.why_missing() is not None, reason="the extension is not built")


@pytest.mark.parametrize(
    ("d", "backend"),
    [
        pytest.param(2, "cpp", marks=WITH_EXTENSION),
        pytest.param(64, "cpp", marks=WITH_EXTENSION),
        (2, "torch"),
        (24, "torch"),
        (100, "torch"),
    ],
)
@pytest.mark.parametrize("times", [2, 5])
def test_charges_that_are_all_repeated_have_the_same_lines(d: int, backend: str, times: int) -> None:
    plus, minus = of_both_plates(d)
    x, z = plus.clone(), torch.full((len(plus),), 0.1)
    once = trace_lines(x, z, plus, minus, 2.0, backend=backend)
    repeated = trace_lines(x, z, plus, minus.repeat(times, 1), 2.0, backend=backend)
    assert once.arrived.all()
    assert torch.equal(repeated.charge, once.charge)  # the first of those at a place
    assert torch.equal(repeated.status, once.status)
    assert torch.equal(repeated.end, once.end)


@pytest.mark.parametrize(
    ("d", "backend"), [pytest.param(2, "cpp", marks=WITH_EXTENSION), (2, "torch"), (100, "torch")]
)
def test_some_twins_pull_lines_as_their_charge_does(d: int, backend: str) -> None:
    """Charges of a heavy place, spread over a sphere too small to matter, pull lines to the same place."""
    plus, minus = of_both_plates(d)
    heavy = minus[3].expand(60, d)
    apart = heavy + 1e-2 * torch.randn(60, d, generator=torch.Generator().manual_seed(1)) / d**0.5
    x, z = plus.clone(), torch.full((len(plus),), 0.1)
    at_one, spread = (
        trace_lines(x, z, plus, torch.cat([minus, more]), 2.0, backend=backend) for more in (heavy, apart)
    )
    assert at_one.arrived.all()
    there = (spread.charge == 3) | (spread.charge >= len(minus))
    assert there.sum() >= 8
    assert torch.equal(at_one.charge == 3, there)
    assert not (at_one.charge >= len(minus)).any()


def test_lines_leave_charges_that_coincide() -> None:
    plus, minus = gaussian(32, 0), swiss_roll(32, 1)
    twins = torch.cat([plus, plus[:5]])
    index = torch.arange(len(twins))
    x, z = launch(twins, index)
    radius = torch.hypot((x - twins).norm(dim=1), z)
    assert (radius > 0).all()
    assert torch.equal(radius[:5].sub(radius[32:]).abs() < 1e-6, torch.ones(5, dtype=torch.bool))
    assert not torch.equal(x[:5], x[32:])  # each has a direction of its own
    assert trace_lines(x, z, twins, minus, 6.0).arrived.all()
    alone, _ = launch(torch.zeros(3, 2), torch.arange(3), share=0.25)
    assert (alone.norm(dim=1) <= 0.25).all()


def test_places_are_in_the_order_of_their_first_charges() -> None:
    charges = torch.tensor([[3.0, 1.0], [0.0, 2.0], [3.0, 1.0], [-1.0, 5.0], [0.0, 2.0], [3.0, 1.0]])
    places = Places.of(charges)
    assert places.first.tolist() == [0, 1, 3]
    assert places.count.tolist() == [3, 2, 1]
    assert torch.equal(places.at, charges[[0, 1, 3]])
    assert places.charge(torch.tensor([2, -1, 0])).tolist() == [3, -1, 0]
    assert Places.of(places.at).at is places.at


def test_nothing_ends_before_the_place() -> None:
    """Halfway between two twin places no place owns the line."""
    minus = torch.tensor([[-1.0], [1.0]]).repeat(3, 1)
    lines = trace_lines(torch.tensor([[1e-3]]), torch.tensor([0.1]), torch.zeros(1, 1), minus, 2.0)
    assert lines.charge.tolist() == [1]
