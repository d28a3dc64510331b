"""Interaction field matching: tubes, their superposition and the published form, against float64 sums of pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from efm_fast import Config
from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.lines import Support
from efm_fast.methods import Problem, Travel
from efm_fast.methods.interaction_field import (
    InteractionField,
    InteractionFieldSettings,
    Tube,
    TubeFlow,
    TubeMeans,
    published_field,
)
from efm_fast.methods.learned import LearnedField
from efm_fast.methods.posterior import pair_means
from efm_fast.types import Geometry, Plates

TOY = "gaussian_to_swissroll"
GEOMETRY = Geometry(3.0, 3.0, 0.03, (2,), (0.0, 0.0), radius=2.0, scale=1.2, low=-2.0, high=2.0)
TUBES = [Tube(0.4, 3.0), Tube(0.4, 3.0, 0.2)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(n: int, seed: int, d: int = 2) -> Tensor:
    return torch.randn(n, d, generator=generator(seed), dtype=torch.float64)


def method(**settings: object) -> InteractionField:
    source = make_source({"name": "gaussian", "dimension": 2})
    checked = InteractionFieldSettings(name="interaction_field", L=3.0, **settings)
    return InteractionField(checked, Problem(GEOMETRY, source, source, 0))


@pytest.mark.parametrize("tube", TUBES)
def test_the_radius_is_0_on_both_plates_and_its_slope_its_derivative(tube: Tube) -> None:
    z = torch.linspace(0, 3, 61, dtype=torch.float64)
    radius, slope = tube.at(z)
    assert radius[0] == radius[-1] == 0.0
    assert float(radius.max()) == pytest.approx(0.4)
    step = 1e-6
    numeric = (tube.at(z + step)[0] - tube.at(z - step)[0]) / (2 * step)
    torch.testing.assert_close(slope[1:-1], numeric[1:-1], rtol=1e-4, atol=1e-4)
    if tube.end == 0.5:
        torch.testing.assert_close(radius, 0.4 * torch.sin(math.pi * z / 3.0))


def brute_force(
    x: Tensor, z: Tensor, plus: Tensor, minus: Tensor, tube: Tube
) -> tuple[Tensor, Tensor, Tensor]:
    """Means of both ends and the velocity of the superposition of all pairs' tubes, pair by pair."""
    t, (s, slope) = (z / tube.L)[:, None, None, None], tube.at(z)
    first, second = torch.broadcast_tensors(plus[None, :, None], minus[None, None])
    away = x[:, None, None] - (1 - t) * first - t * second
    weight = torch.softmax((-away.square().sum(3) / (2 * s[:, None, None] ** 2)).flatten(1), 1)
    own = (second - first) / tube.L + (slope / s)[:, None, None, None] * away

    def mean(values: Tensor) -> Tensor:
        return (weight[:, :, None] * values.expand(len(x), -1, -1, -1).flatten(1, 2)).sum(1)

    return mean(first), mean(second), mean(own)


@pytest.mark.parametrize("tube", TUBES)
def test_posterior_over_all_pairs_is_that_of_brute_force(tube: Tube) -> None:
    plus, minus, x = rows(9, 1), rows(12, 2) + 1, rows(20, 3)
    z = torch.linspace(0.1, 2.9, 20, dtype=torch.float64)
    got = pair_means(x, z / 3.0, tube.at(z)[0], plus, minus)
    first, second, velocity = brute_force(x, z, plus, minus, tube)
    torch.testing.assert_close(got[0], first, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(got[1], second, rtol=1e-8, atol=1e-8)
    s, slope = (part[:, None] for part in tube.at(z))
    t = (z / 3.0)[:, None]
    # the issue's formula: (m- - m+) / L + (s' / s) (x - (1 - t) m+ - t m-)
    made = (got[1] - got[0]) / 3.0 + slope / s * (x - (1 - t) * got[0] - t * got[1])
    torch.testing.assert_close(made, velocity, rtol=1e-7, atol=1e-7)


def test_blocks_of_charges_give_what_all_give_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plus, minus, x = rows(9, 1), rows(12, 2) + 1, rows(20, 3)
    t, s = torch.linspace(0.1, 0.9, 20, dtype=torch.float64), torch.full((20,), 0.05, dtype=torch.float64)
    whole = pair_means(x, t, s, plus, minus)
    monkeypatch.setattr("efm_fast.methods.posterior._ENTRIES", 25)  # two charges of one plate at a time
    for part, wanted in zip(pair_means(x, t, s, plus, minus), whole, strict=True):
        torch.testing.assert_close(part, wanted, rtol=1e-10, atol=1e-10)


def test_log_weights_of_far_points_and_many_dimensions_do_not_underflow() -> None:
    plus, minus, x = rows(5, 1, 200), rows(6, 2, 200), 30 + rows(4, 3, 200)
    t = torch.full((4,), 0.3, dtype=torch.float64)
    means = pair_means(x, t, torch.full((4,), 0.01, dtype=torch.float64), plus, minus)
    assert all(bool(torch.isfinite(part).all()) for part in means)
    axis = 0.7 * plus[:, None] + 0.3 * minus[None]
    r2 = (x[:, None, None] - axis[None]).square().sum(3).flatten(1)
    torch.testing.assert_close(means[2], torch.logsumexp(-r2 / 2e-4, 1), rtol=1e-9, atol=1e-3)
    nearest = r2.argmin(1)
    torch.testing.assert_close(means[0], plus[nearest // 6], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tube", TUBES)
def test_the_superposition_of_tubes_conserves_flux(tube: Tube) -> None:
    """d rho / dz + div(rho v) = 0, by differences of the density and flux of all pairs."""
    plus, minus, x = rows(4, 1), rows(5, 2), 0.5 * rows(12, 3)
    z = torch.linspace(0.25, 2.8, 12, dtype=torch.float64)

    def density(x: Tensor, z: Tensor) -> Tensor:
        s = tube.at(z)[0]
        return torch.exp(pair_means(x, z / 3.0, s, plus, minus)[2]) / s**2

    def flux(x: Tensor, z: Tensor) -> Tensor:
        return density(x, z)[:, None] * brute_force(x, z, plus, minus, tube)[2]

    step = 1e-5
    change = (density(x, z + step) - density(x, z - step)) / (2 * step)
    spread = torch.zeros_like(change)
    for k in range(2):
        to = torch.zeros(2, dtype=torch.float64)
        to[k] = step
        spread += (flux(x + to, z) - flux(x - to, z))[:, k] / (2 * step)
    size = change.abs() + spread.abs() + 1e-9
    assert float(((change + spread).abs() / size).max()) < 1e-4


def published_by_loops(x: Tensor, z: float, plus: Tensor, minus: Tensor, tube: Tube) -> list[float]:
    """The published formulas with their angles, one pair at a time."""
    L, K = tube.L, math.pi / (2 * tube.end * tube.L)
    D = tube.end * L
    total = [0.0] * (len(x) + 1)
    for q, a in zip(plus.tolist(), minus.tolist(), strict=True):
        d = [b - c for b, c in zip(a, q, strict=True)]
        rho = [p - c - e * z / L for p, c, e in zip(x.tolist(), q, d, strict=True)]
        r = math.hypot(*rho)
        if z < D:
            s, angle = math.sin(K * z), math.atan(r * K / math.tan(K * z))
        elif z > L - D:
            s = math.cos(K * (z - L + D))
            angle = math.atan(r * K * math.tan(math.pi - K * (z - L + D)))
        else:
            s, angle = 1.0, 0.0
        far = math.hypot(*d, L)
        size = math.exp(-(r**2) / (2 * (tube.radius * s) ** 2)) / (math.cos(angle) * s ** len(x) + 1e-2)
        for k in range(len(x)):
            total[k] += size * (math.cos(angle) * d[k] / far + math.sin(angle) * rho[k] / r)
        total[-1] += size * math.cos(angle) * L / far
    return total


def test_the_published_form_is_that_of_its_formulas() -> None:
    plus, minus = rows(7, 1), rows(7, 2) + 1
    tube = Tube(0.9, 3.0, 0.3)
    x = rows(6, 3)
    for z in (0.3, 1.0, 1.5, 2.7):
        got = published_field(x, torch.full((6,), z, dtype=torch.float64), plus, minus, tube)
        wanted = torch.tensor([published_by_loops(p, z, plus, minus, tube) for p in x], dtype=torch.float64)
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-8)


def test_what_the_published_form_changes() -> None:
    """One pair: its slope off the axis is |d| / L as large as the consistent one; on the axis both are the same."""
    plus, minus, tube = torch.zeros(1, 2).double(), torch.tensor([[4.0, 0.0]]).double(), Tube(0.5, 3.0)
    z = torch.tensor([0.6], dtype=torch.float64)
    on_axis = torch.tensor([[0.8, 0.0]]).double()
    for off, factor in ((0.0, 1.0), (0.3, 5.0 / 3.0)):
        x = on_axis + torch.tensor([[0.0, off]]).double()
        field = published_field(x, z, plus, minus, tube)
        slope = field[:, :-1] / field[:, -1:]
        consistent = brute_force(x, z, plus, minus, tube)[2]
        torch.testing.assert_close(slope[:, 0], consistent[:, 0])
        torch.testing.assert_close(slope[:, 1], factor * consistent[:, 1], rtol=1e-6, atol=1e-12)


class Parts(nn.Module):
    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([torch.sin(x), torch.cos(x)], 1), torch.zeros(len(x))


def test_velocity_of_the_parametrisation_and_its_exponential_step() -> None:
    consistent = method(tube={"form": "sine", "radius": 0.4})
    assert isinstance(consistent.parametrisation, TubeMeans)
    field = LearnedField(Parts(), consistent.parametrisation, GEOMETRY)
    x, z = rows(5, 1).float(), 0.7
    shift, offset = 1.2 * torch.sin(x), torch.cos(x)
    slope = 0.4 * math.pi / 3 * math.cos(math.pi * z / 3)
    wanted = shift / 3 + slope * offset
    direction = field.direction(x, torch.full((5,), z, dtype=torch.float64))
    torch.testing.assert_close(direction[:, :-1] / direction[:, -1:], wanted)
    flow = TubeFlow(field, consistent.parametrisation)
    torch.testing.assert_close(flow.velocity((shift, offset), x, z), wanted)
    rise = 0.4 * (math.sin(math.pi * 0.9 / 3) - math.sin(math.pi * z / 3))
    wanted = x + 0.2 / 3 * shift + rise * offset
    torch.testing.assert_close(flow.advance((shift, offset), x, z, 0.9), wanted)


@pytest.mark.parametrize("pairs", ["independent", "optimal_transport", "all"])
def test_points_lie_in_the_tubes_of_pairs(pairs: str) -> None:
    made = method(pairs=pairs, charges=20, tube={"form": "sine", "radius": 0.4})
    plus, minus = rows(64, 1).float(), rows(64, 2).float() + 4
    assert made.charges(64) == 64
    plates = Plates(plus, minus, 3.0)
    points = made.points(plates, 64, generator(), 0)
    radius = made.tube.at(points.z)[0]
    t = (points.z / 3.0).float()[:, None]
    first = points.x - radius.float()[:, None] * points.offset - t * points.shift
    if pairs == "all":
        wanted = brute_force(points.x.double(), points.z, plus[:20].double(), minus[:20].double(), made.tube)
        torch.testing.assert_close(first, wanted[0].float(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(points.shift, (wanted[1] - wanted[0]).float(), rtol=1e-3, atol=1e-3)
        return
    nearest = torch.cdist(first.double(), plus.double())
    assert float(nearest.amin(1).max()) < 1e-5
    partner = torch.cdist((first + points.shift).double(), minus.double())
    assert float(partner.amin(1).max()) < 1e-4
    cost = float(points.shift.square().sum(1).mean())
    random = float((minus - plus).square().sum(1).mean())
    assert cost < 0.99 * random if pairs == "optimal_transport" else cost == pytest.approx(random)


def test_samples_go_there_and_back_and_settings_without_effect_are_refused() -> None:
    made = method(sample={"solver": "heun", "steps": 400})
    field = LearnedField(Parts(), made.parametrisation, GEOMETRY)
    x0 = rows(6, 5).float()
    support = Support.of(x0, x0)
    there = made.sample(field, x0, support, Travel())
    back = made.sample(field, there.end, support, Travel(reverse=True))
    torch.testing.assert_close(back.end, x0, rtol=1e-3, atol=1e-3)
    assert there.evaluations.tolist() == [800] * 6
    assert (there.end_z[0], back.end_z[0]) == (3.0, 0.0)
    base = {"method.name": "interaction_field", "method.form": "published"}
    with pytest.raises(
        InputError, match=r"^method.sample.solver: the published form takes euler, heun or midpoint"
    ):
        Config.load(TOY, base)
    with pytest.raises(InputError, match=r"^method.pairs: the published form takes independent or"):
        Config.load(TOY, {**base, "method.sample.solver": "heun", "method.pairs": "all"})
    with pytest.raises(InputError, match=r"^max_steps: the forward map takes steps, got max_steps=3"):
        made.sample(field, x0, support, Travel(max_steps=3))
