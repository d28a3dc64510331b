"""PFGM++: its law, posterior, preconditioning and samples, against formulas of their own in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from efm_fast import Config, gaussian_sum
from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.lines import Support
from efm_fast.methods import Problem, Travel
from efm_fast.methods.learned import LearnedField
from efm_fast.methods.pfgmpp import (
    PFGMPP,
    DenoiserFlow,
    NoisyPoints,
    PFGMPPSettings,
    perturbation,
    posterior_mean,
)
from efm_fast.metrics.distance import wasserstein2
from efm_fast.types import Geometry, Plates

DIMENSIONS = [1.0, 16.0, 128.0, math.inf]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def method(dimension: int = 2, **settings: object) -> PFGMPP:
    checked = PFGMPPSettings(name="pfgm++", **settings)
    scale = 1.3
    L, nearest = checked.lengths(1.0, scale)
    geometry = Geometry(
        L, 1.0, nearest, (dimension,), (0.4,) * dimension, radius=3.0, scale=scale, low=-5.0, high=5.0
    )
    source = make_source({"name": "gaussian", "dimension": dimension})
    return PFGMPP(checked, Problem(geometry, source, source, 0))


def brute_force(x: Tensor, charges: Tensor, sigma: Tensor, d: float) -> Tensor:
    r2 = (x.double()[:, None] - charges.double()[None]).square().sum(2)
    if math.isinf(d):
        log = -r2 / (2 * sigma.double()[:, None] ** 2)
    else:
        log = -(x.shape[1] + d) / 2 * torch.log(r2 + d * sigma.double()[:, None] ** 2)
    return torch.softmax(log, 1) @ charges.double()


@pytest.mark.parametrize("d", [*DIMENSIONS, 2.5])
def test_posterior_is_that_of_brute_force(d: float) -> None:
    charges = torch.randn(60, 5, generator=generator(1), dtype=torch.float64)
    x = charges[:12] + torch.randn(12, 5, generator=generator(2), dtype=torch.float64)
    sigma = torch.logspace(-2, 2, 12, dtype=torch.float64)
    wanted = brute_force(x, charges, sigma, d)
    torch.testing.assert_close(posterior_mean(x, charges, sigma, d), wanted, rtol=1e-8, atol=1e-8)
    single = posterior_mean(x.float(), charges.float(), sigma, d)
    torch.testing.assert_close(single.double(), wanted, rtol=1e-3, atol=1e-4)


def test_many_dimensions_are_gaussian() -> None:
    charges = torch.randn(60, 5, generator=generator(1), dtype=torch.float64)
    x = charges[:12] + torch.randn(12, 5, generator=generator(2), dtype=torch.float64)
    for width in (0.5, 3.0):
        sigma = torch.full((12,), width, dtype=torch.float64)
        wanted = gaussian_sum(x, charges, bandwidth=width).posterior_mean(x)
        assert float((posterior_mean(x, charges, sigma, 1e7) - wanted).abs().max()) < 1e-4
        assert float((posterior_mean(x, charges, sigma, math.inf) - wanted).abs().max()) < 1e-9
    noises = [
        perturbation(torch.zeros(50_000, 2), torch.ones(50_000), d, generator()) for d in (1e7, math.inf)
    ]
    assert float(noises[0].std()) == pytest.approx(float(noises[1].std()), rel=0.01)


@pytest.mark.parametrize("d", [1.0, 16.0])
def test_the_law_of_flux_in_d_more_dimensions(d: float) -> None:
    """R^2 / (R^2 + r^2) is Beta(D / 2, d / 2)."""
    from scipy import stats

    n, sigma = 20_000, 0.7
    noise = perturbation(torch.zeros(n, 3), torch.full((n,), sigma, dtype=torch.float64), d, generator())
    r2 = noise.square().sum(1)
    share = (r2 / (r2 + d * sigma**2)).numpy()
    assert stats.kstest(share, stats.beta(1.5, d / 2).cdf).pvalue > 1e-3
    assert float(torch.nn.functional.normalize(noise).mean(0).norm()) < 0.03


class Raw(nn.Module):
    """A network whose output is a plain function of what it sees."""

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sin(3 * x)[:, None], torch.zeros(len(x))


@pytest.mark.parametrize("d", [1.0, 128.0])
def test_velocity_and_loss_are_those_of_edm(d: float) -> None:
    """The published formulas, written out for data shifted to their centre, at random points."""
    pfgmpp = method(d=d)
    geometry, width = pfgmpp.problem.geometry, 1.3
    field = LearnedField(Raw(), pfgmpp.parametrisation, geometry)
    x = 3 * torch.randn(9, 2, generator=generator(), dtype=torch.float64)
    sigma = torch.logspace(-2, 1, 9, dtype=torch.float64)
    centred, s = x - 0.4, sigma[:, None]
    seen = centred / (s**2 + width**2).sqrt() * width + 0.4
    skip, out = width**2 / (s**2 + width**2), s * width / (s**2 + width**2).sqrt()
    mean = 0.4 + skip * centred + out * torch.sin(3 * seen)
    raw, _ = field(x, geometry.L - sigma)
    got = pfgmpp.parametrisation.denoised(raw, x, geometry.L - sigma)
    torch.testing.assert_close(got, mean, rtol=1e-9, atol=1e-9)
    for row in range(9):
        at, z = x[row : row + 1], geometry.L - float(sigma[row])
        flow = DenoiserFlow(field)
        bounded = mean[row : row + 1].clamp(-5.5, 5.5)
        velocity = flow.velocity((bounded,), at, z)
        torch.testing.assert_close(velocity, -(at - bounded) / sigma[row], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(flow.held(at, z)[0].double(), bounded, rtol=1e-4, atol=1e-4)
    y = torch.randn(9, 2, generator=generator(1), dtype=torch.float64)
    points = NoisyPoints(x, geometry.L - sigma, y, None)
    loss = pfgmpp.parametrisation.loss(raw, raw[:, 0, 0], points, pfgmpp.parametrisation.target(points))
    wanted = ((mean - y).square().mean(1) * (sigma**2 + width**2) / (sigma * width) ** 2).mean()
    torch.testing.assert_close(loss, wanted, rtol=1e-8, atol=1e-8)


def test_points_are_perturbed_data_and_targets_the_datum_or_the_mean_of_all() -> None:
    rows = torch.randn(300, 2, generator=generator(5))
    for charges in (None, 300):
        pfgmpp = method(charges=charges)
        assert pfgmpp.charges(100) == (100 if charges is None else 300)
        plates = Plates(rows, rows, pfgmpp.problem.geometry.L)
        points = pfgmpp.points(plates, 100, generator(), 0)
        sigma = (pfgmpp.problem.geometry.L - points.z) / 2.6
        assert float(torch.log(sigma).mean()) == pytest.approx(-1.2, abs=0.3)
        assert float(torch.log(sigma).std()) == pytest.approx(1.2, abs=0.25)
        target = pfgmpp.parametrisation.target(points)
        wanted = rows[:100] if charges is None else brute_force(points.x, rows, 2.6 * sigma, 128.0).float()
        torch.testing.assert_close(target, wanted, rtol=1e-3, atol=1e-3)


class ExactDenoiser:
    """What a perfect network gives: the posterior mean of a mixture's draws."""

    def __init__(self, charges: Tensor, L: float, d: float, geometry: Geometry) -> None:
        self.charges, self.L, self.d, self.geometry = charges, L, d, geometry

    def arrival(self, x: Tensor, z: Tensor, plate: str) -> Tensor:
        return posterior_mean(x, self.charges, self.L - z, self.d)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_samples_of_a_mixture_reach_the_floor(d: float) -> None:
    mixture = make_source({"name": "mixture"})
    pfgmpp = method(d="inf" if math.isinf(d) else d)
    exact = ExactDenoiser(
        mixture.draw(2000, generator(1)), pfgmpp.problem.geometry.L, d, pfgmpp.problem.geometry
    )
    x0 = pfgmpp.start(1000, generator(2))
    support = Support.of(x0, x0)
    lines = pfgmpp.sample(exact, x0, support, Travel())  # type: ignore[arg-type]
    assert lines.evaluations.tolist() == [35] * 1000
    real, other = mixture.draw(1000, generator(3)), mixture.draw(1000, generator(4))
    assert wasserstein2(lines.end, real) < 1.35 * wasserstein2(other, real)
    # back to where the lines came from: the same distribution's radius
    few = pfgmpp.sample(exact, lines.end[:50], support, Travel(reverse=True, steps=60))  # type: ignore[arg-type]
    assert few.end_z.tolist() == pytest.approx([0.0] * 50, abs=1e-3)


@pytest.mark.parametrize("wrong", ["many", 0, -3.0, True, math.nan])
def test_d_is_a_number_above_0_or_inf(wrong: object) -> None:
    with pytest.raises(InputError, match=r"^method\.d: expected a number above 0 or inf, got "):
        Config.load("gaussian_to_swissroll", {"method.name": "pfgm++", "method.d": wrong})
    settings = Config.load("gaussian_to_swissroll", {"method.name": "pfgm++", "method.d": "inf"})
    assert settings.method.d == "inf"  # type: ignore[attr-defined]


def test_max_steps_is_refused() -> None:
    with pytest.raises(InputError, match=r"^max_steps: the lines map takes steps, got max_steps=3"):
        method().sample(None, torch.zeros(1, 2), None, Travel(max_steps=3))  # type: ignore[arg-type]
