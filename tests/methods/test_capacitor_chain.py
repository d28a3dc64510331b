"""The capacitor chain: its velocity, posterior and law of points against float64 sums over plates, and its lines."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from efm_fast import Config, method_for
from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.field import chain_field
from efm_fast.field.image_plates import chain_weights
from efm_fast.lines import LineStatus, Support
from efm_fast.methods import Problem, Travel
from efm_fast.methods.capacitor_chain import (
    CapacitorChain,
    CapacitorChainSettings,
    ChainFlow,
    ChainFluxPoints,
    chain_posterior,
    velocity,
)
from efm_fast.methods.learned import LearnedField
from efm_fast.methods.samplers import carry
from efm_fast.types import Geometry, Plates

L = 3.0
GEOMETRY = Geometry(L, 3.0, 0.03, (2,), (0.0, 0.0), radius=2.0, scale=1.2, low=-2.0, high=2.0)
TOY = "gaussian_to_swissroll"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(n: int, seed: int, d: int = 2) -> Tensor:
    return torch.randn(n, d, generator=generator(seed), dtype=torch.float64)


def plates() -> Plates:
    return Plates(rows(15, 1), 0.7 * rows(20, 2) + 0.5, L)


def method(**settings: object) -> CapacitorChain:
    source = make_source({"name": "gaussian", "dimension": 2})
    return CapacitorChain(
        CapacitorChainSettings(name="capacitor_chain", L=L, **settings), Problem(GEOMETRY, source, source, 0)
    )


def by_plates(x: Tensor, z: Tensor, charges: Plates) -> tuple[Tensor, ...]:
    """For each charge of both plates: sums of r^-n and of |h| r^-n over 4001 copies, the first with its rest."""
    k = 2 * L * torch.arange(-2000, 2001, dtype=torch.float64)
    found = []
    for y, height in ((charges.plus, z), (charges.minus, L - z)):
        r2 = torch.cdist(x, y).square()[:, :, None]
        h = height[:, None, None] - k
        part = (r2 + h**2) ** -1.5
        found += [part.sum(2) + (4001 * L) ** -2 / (2 * L), (part * h).sum(2)]
    return tuple(found)


def test_posterior_and_velocity_are_those_of_all_copies_one_by_one() -> None:
    x, z = 1.2 * rows(20, 3), torch.linspace(0.05, 2.9, 20, dtype=torch.float64)
    w_plus, u_plus, w_minus, u_minus = by_plates(x, z, plates())
    found = chain_posterior(x, z, plates(), tolerance=1e-8)
    flux = [u.mean(1) for u in (u_plus, u_minus)]
    torch.testing.assert_close(found.share, flux[0] / (flux[0] + flux[1]), rtol=1e-4, atol=1e-6)
    for k, (w, u, y, height) in enumerate(
        ((w_plus, u_plus, plates().plus, z), (w_minus, u_minus, plates().minus, L - z))
    ):
        torch.testing.assert_close(found.steepness[:, k], height * w.sum(1) / u.sum(1), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.means[k], (w / w.sum(1, keepdim=True)) @ y, rtol=1e-5, atol=1e-5)
    # the slope of the field, written out
    lateral = (w_plus[:, :, None] * (x[:, None] - plates().plus)).mean(1)
    lateral = lateral - (w_minus[:, :, None] * (x[:, None] - plates().minus)).mean(1)
    wanted = lateral / (flux[0] + flux[1])[:, None]
    got = velocity((*found.rates(), *found.means), x, z[:, None], L)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    exact = chain_field(x, z, plates().plus, plates().minus, L).direction
    torch.testing.assert_close(exact[:, :2] / exact[:, 2:], wanted, rtol=1e-3, atol=1e-4)


def test_points_follow_the_law_of_flux() -> None:
    """The share of points beyond a radius is that of the flux, and so is that of the plates."""
    one = Plates(
        torch.zeros(1, 2), torch.full((1, 2), 1e6), L
    )  # the plates' points are told apart by their place
    points = ChainFluxPoints(0.03)(one, 20000, generator(1))
    from_plus = points.x.norm(dim=1) < 1e5
    for low, high in ((0.03, 0.3), (1.0, 2.0), (2.5, 2.97)):
        rows_there = (points.z > low) & (points.z < high)
        share = float(from_plus[rows_there].double().mean())
        wanted = float((1 - points.z[rows_there] / L).mean())
        assert share == pytest.approx(wanted, abs=4.5 * math.sqrt(0.25 / int(rows_there.sum())))
    here = from_plus & (points.z > 1.0) & (points.z < 1.3)
    r = torch.linspace(0, 30, 6001, dtype=torch.float64)[1:]
    up = r * torch.exp(chain_weights(r**2, torch.full_like(r, 1.15), L, 3)[1])
    inside = float(up[r < 1.5].sum() / up.sum())
    assert float((points.x[here].norm(dim=1) < 1.5).double().mean()) == pytest.approx(
        inside, abs=4.5 * math.sqrt(0.25 / int(here.sum())) + 0.01
    )


def test_targets_of_some_charges_are_unbiased() -> None:
    """At one place the rates' mean over batches that hold the generating charge is the whole distribution's."""
    full = plates()
    made = method(charges=4)
    centre, wide = torch.tensor([0.2, 0.1], dtype=torch.float64), 0.9
    total, count = torch.zeros(2, dtype=torch.float64), 0
    whole, draw = torch.zeros(2, dtype=torch.float64), generator(5)
    for _ in range(80):
        some = Plates(
            full.plus[torch.randint(15, (4,), generator=draw)],
            full.minus[torch.randint(20, (4,), generator=draw)],
            L,
        )
        points = made.points(some, 512, draw, 0)
        near = ((points.x - centre).norm(dim=1) < wide) & (points.z > 0.6) & (points.z < 2.4)
        if not near.any():
            continue
        x, z = points.x[near], points.z[near]
        for posterior, sums in ((chain_posterior(x, z, some), total), (chain_posterior(x, z, full), whole)):
            sums += torch.cat(posterior.rates(), 1).sum(0)
        count += len(x)
    assert count > 300
    torch.testing.assert_close(total / count, whole / count, rtol=0.06, atol=0.0)


class Raw(nn.Module):
    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        parts = [torch.sin(x), torch.cos(x), 0.3 + 0.1 * torch.sin(x), 0.2 * torch.cos(x)]
        return torch.stack(parts, 1), torch.sin(x[:, 0])


def test_direction_and_exponential_step_are_those_of_the_equation() -> None:
    made = method()
    field = LearnedField(Raw(), made.parametrisation, GEOMETRY)
    assert not field.has_posterior
    flow = ChainFlow(field, made.parametrisation)
    x = rows(6, 4).float()
    held = flow.held(x, 0.5)
    direction = field.direction(x, torch.full((6,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(direction[:, :2] / direction[:, 2:], flow.velocity(held, x, 0.5))
    assert torch.equal(flow.advance(held, x, 2.0, L), held[3])
    assert torch.equal(flow.advance(held, x, 2.0, 0.0), held[2])
    at, z, step = x.double(), 0.5, 1e-3
    wide = tuple(part.double() for part in held)
    for _ in range(1000):
        half = at + 0.5 * step * velocity(wide, at, z, L)
        at, z = at + step * velocity(wide, half, z + 0.5 * step, L), z + step
    torch.testing.assert_close(flow.advance(held, x, 0.5, 1.5).double(), at, rtol=1e-4, atol=1e-4)
    bad = torch.tensor([[float("nan"), 0.0], [0.0, 0.0]])
    lost = made.sample(field, bad, Support.of(x, x), Travel(steps=5))
    assert lost.status.tolist() == [LineStatus.FAILED, LineStatus.FRONT]
    there = made.sample(field, x, Support.of(x, x), Travel(steps=5))
    assert (there.evaluations.tolist(), float(there.end_z[0])) == ([9] * 6, L)
    assert torch.isfinite(made.sample(field, x, Support.of(x, x), Travel(steps=5, reverse=True)).end).all()


def test_samples_follow_the_other_plate_close_to_a_plate_and_keep_the_pull_of_both() -> None:
    """Above a charge a of the other plate is about L / z; a bound far away is the same factor for both plates."""
    made = method()
    raw, scalar = torch.zeros(1, 4, 2), torch.zeros(1)
    near = torch.tensor([0.01], dtype=torch.float64)
    found = made.parametrisation.read(raw, scalar, torch.zeros(1, 2), near)
    for k, height in enumerate((near, L - near)):
        w, up = chain_weights(torch.zeros(1, dtype=torch.float64), height, L, 3)
        assert float(found.steepness[0, k]) == pytest.approx(float(height * torch.exp(w - up)), rel=1e-5)
    logs = made.parametrisation._known(torch.tensor([[12.0, 0.0]]), near)
    bounded = torch.log(made.parametrisation._followed(logs, near))
    assert float((logs - bounded).amin()) > 1.0
    torch.testing.assert_close((logs - bounded)[0, 0], (logs - bounded)[0, 1])


class ExactChain:
    """The lines' equation of finite charges."""

    def __init__(self, charges: Plates) -> None:
        self.charges = charges

    def held(self, x: Tensor, z: float) -> tuple[Tensor, ...]:
        found = chain_posterior(x, x.new_full((len(x),), z, dtype=torch.float64), self.charges)
        return (*found.rates(), *found.means)

    def velocity(self, held: tuple[Tensor, ...], x: Tensor, z: float) -> Tensor:
        return velocity(held, x, z, self.charges.L)

    def advance(self, held: tuple[Tensor, ...], x: Tensor, z: float, new_z: float) -> Tensor:
        return held[3]


def test_every_line_of_a_gaussian_arrives_in_front_of_the_swiss_roll() -> None:
    source = method_for(TOY, {"method.name": "capacitor_chain"}).problem
    draw = generator(3)
    charges = Plates(source.plus.draw(200, draw), source.minus.draw(200, draw), 6.0)
    end = math.log(6.0 / 0.1 - 1)
    way = [6.0 / (1 + math.exp(end * (1 - 2 * k / 24))) for k in range(25)] + [6.0]
    lines = carry(ExactChain(charges), charges.plus[:100], way, "midpoint", lands=True)
    assert (lines.status == LineStatus.FRONT).all()
    assert float((lines.end[:, None] - charges.minus).norm(dim=2).amin(1).median()) < 0.1


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InputError, match=r"^method.nearest: expected less than L / 2"):
        method_for(TOY, {"method.name": "capacitor_chain", "method.L": 1.0, "method.nearest": 0.6})
    with pytest.raises(InputError, match="charge"):
        Config.load(TOY, {"method.name": "capacitor_chain", "method.charge": 3})
    made = method()
    with pytest.raises(InputError, match=r"^max_steps: the forward map takes steps, got max_steps=3"):
        made.sample(
            LearnedField(Raw(), made.parametrisation, GEOMETRY),
            torch.zeros(2, 2),
            Support.of(torch.zeros(2, 2), torch.zeros(2, 2)),
            Travel(max_steps=3),
        )
