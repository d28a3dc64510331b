from __future__ import annotations

import dataclasses

import numpy as np
import ot
import pytest
import torch

from efm_fast.errors import InputError
from efm_fast.lines import ExactField, LineStatus, Support, full_map
from efm_fast.lines.geometry.discs import DiscGeometry
from efm_fast.lines.physics import dipole_invariant
from efm_fast.types import Plates

from .conftest import OneCharge, gaussian, swiss_roll


def w2(a, b):
    return float(np.sqrt(ot.emd2([], [], ot.dist(a.double().numpy(), b.double().numpy()))))


@pytest.fixture(scope="module")
def support(plates):
    return Support.of(plates.plus, plates.minus)


@pytest.mark.parametrize("gap", [1.0, 6.0, 30.0])
def test_carries_p_to_q_at_every_distance_of_the_plates(gap):
    plates = Plates(gaussian(768, 0), swiss_roll(768, 1), gap)
    support = Support.of(plates.plus, plates.minus)
    lines = full_map(ExactField(plates), gaussian(512, 2), support=support)
    floor = w2(swiss_roll(512, 3), plates.minus)  # as far as fresh samples of Q are from its charges
    assert lines.arrived.all()
    assert lines.evaluations.double().mean() <= 40
    assert lines.evaluations.max() <= 60
    assert w2(lines.end, plates.minus) <= floor + 0.05  # P itself is 0.84 away
    if gap > 1:
        assert 0.3 < (lines.status == LineStatus.BEHIND).double().mean() < 0.6


def test_a_finer_step_changes_few_ends(plates, support):
    x0 = gaussian(256, 5)
    coarse = full_map(ExactField(plates), x0, support=support)
    fine = full_map(ExactField(plates), x0, support=support, step=0.1, max_steps=500)
    apart = (coarse.end - fine.end).norm(dim=1)
    assert apart.median() < 0.03
    assert (apart > 0.3).double().mean() < 0.1


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_line_is_the_same_in_any_batch(plates, support, size):
    x0 = gaussian(64, 6)
    whole = full_map(ExactField(plates), x0, support=support, seed=3)
    rows = torch.arange(64 - size, 64).flip(0)
    part = full_map(ExactField(plates), x0[rows], support=support, seed=3, index=rows)
    assert torch.equal(part.end, whole.end[rows])
    assert torch.equal(part.status, whole.status[rows])
    assert torch.equal(part.evaluations, whole.evaluations[rows])


def test_a_bad_line_leaves_its_neighbours_bitwise_alone(plates, support):
    x0 = gaussian(32, 7)
    good = full_map(ExactField(plates), x0, support=support)
    x0[11, 1] = torch.nan
    x0[12] = torch.inf
    lines = full_map(ExactField(plates), x0, support=support)
    others = (torch.arange(32) < 11) | (torch.arange(32) > 12)
    assert torch.equal(lines.end[others], good.end[others])
    assert lines.status[11:13].tolist() == [LineStatus.FAILED] * 2
    assert lines.end[11:13].isnan().all()
    assert lines.evaluations[11:13].tolist() == [0, 0]


def test_seeds_decide_and_repeat(plates, support):
    x0 = gaussian(128, 8)
    first = full_map(ExactField(plates), x0, support=support, seed=0)
    again = full_map(ExactField(plates), x0, support=support, seed=0)
    other = full_map(ExactField(plates), x0, support=support, seed=1)
    assert torch.equal(first.end, again.end)
    changed = (first.status != other.status).double().mean()
    assert 0.2 < changed < 0.8


def test_ended_lines_cost_nothing_more(plates, support):
    class Counting(ExactField):
        calls = 0

        def direction(self, x, z):
            Counting.calls += len(x)
            return super().direction(x, z)

        def arrival(self, x, z, plate):
            Counting.calls += len(x)
            return super().arrival(x, z, plate)

    lines = full_map(Counting(plates), gaussian(64, 9), support=support)
    assert Counting.calls == int(lines.evaluations.sum())
    assert lines.evaluations.min() < lines.evaluations.max()


def test_starts_and_stops_in_proportion_to_the_flux():
    """A field with axial part 2 in front of the plus plate and -1 behind starts a third of its lines behind."""

    class Slab:
        L = 4.0

        def direction(self, x, z):
            axial = torch.where(z < 0, -1.0, torch.where(z < self.L, 2.0, 0.5))
            return torch.cat([torch.full_like(x[:, :1], 1e-3), 0 * x[:, :1], axial[:, None]], 1)

        def arrival(self, x, z, plate):
            return None

    support = dataclasses.replace(
        Support.of(gaussian(64, 0), gaussian(64, 1)), plus_radius=50.0, minus_radius=50.0
    )
    lines = full_map(Slab(), torch.zeros(4000, 2), support=support, max_steps=40, return_paths=True)
    behind = (lines.paths[0, :, 2] < 0).double().mean()
    assert behind == pytest.approx(1 / 3, abs=0.03)
    stopped = lines.arrived[lines.paths[0, :, 2] > 0].double().mean()
    assert stopped == pytest.approx(0.75, abs=0.03)  # 0.5 of a flux of 2 goes on


def test_lands_where_the_field_says_lines_arrive():
    target = torch.tensor([0.1, 0.2])
    support = Support.of(gaussian(64, 0), gaussian(64, 1))
    lines = full_map(OneCharge(target), gaussian(16, 2).clamp(-2, 2), support=support)
    assert lines.arrived.all()
    assert torch.equal(lines.end, target.expand(16, 2))


def test_far_lines_return_by_the_dipoles_mirror():
    """The mirror image of a far point lies on the same line of the exact field: same dipole invariant."""
    charge = torch.zeros(1, 2, dtype=torch.float64)
    discs = DiscGeometry(Support.of(charge, charge), 1.0, layer=0.1, aspect=1.0, far=50.0)
    x = torch.tensor([[60.0, 0.0], [30.0, -40.0], [1.0, 2.0]], dtype=torch.float64)
    z = torch.tensor([-20.0, -90.0, 0.3], dtype=torch.float64)
    new_x, new_z, mirrored = discs.mirror(x, z)
    assert mirrored.tolist() == [True, True, False]
    assert torch.allclose(new_x, x)
    assert torch.allclose(new_z[:2], 1.0 - z[:2])
    before = dipole_invariant(torch.cat([x, z[:, None]], 1), 1.0)
    after = dipole_invariant(torch.cat([new_x, new_z[:, None]], 1), 1.0)
    assert torch.allclose(before, after, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"step": 0.0}, "step"),
        ({"max_steps": 0}, "max_steps"),
        ({"layer": 4.0}, "layer"),
        ({"index": torch.zeros(2, dtype=torch.int64)}, "index"),
        ({"index": torch.zeros(3)}, "index"),
        ({"x0": torch.zeros(3, 5)}, "x0"),
    ],
)
def test_bad_input_names_the_argument(plates, support, change, word):
    arguments = {"x0": torch.zeros(3, 2)} | change
    with pytest.raises(InputError, match=word):
        full_map(ExactField(plates), arguments.pop("x0"), support=support, **arguments)


def test_support_refuses_what_is_not_data():
    with pytest.raises(InputError, match="minus"):
        Support.of(torch.zeros(3, 2), torch.zeros(0, 2))
    with pytest.raises(InputError, match="plus"):
        Support.of(torch.full((3, 2), torch.nan), torch.zeros(3, 2))
