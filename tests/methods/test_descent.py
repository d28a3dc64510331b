"""Generation: the law of the starts and of the points, and lines of the exact field that they follow."""

from __future__ import annotations

import pytest
import torch

from efm_fast.config import Config
from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.lines import LineStatus, Support
from efm_fast.methods import Problem, make_method
from efm_fast.methods.descent import DescentPoints, flux_starts
from efm_fast.methods.interplate import InterplatePoints
from efm_fast.methods.method import Travel
from efm_fast.methods.parametrisation import PreconditionedMeans
from efm_fast.methods.targets import plate_posterior
from efm_fast.types import Geometry, PlatePosterior, Plates

D, WIDTH = 24, 0.5
L = 320 * WIDTH


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plates() -> Plates:
    """A cloud of noise, and four charges of which the first is there five times."""
    plus = WIDTH * torch.randn(256, D, generator=generator())
    corners = WIDTH * torch.randn(4, D, generator=generator(1)).sign()
    return Plates(plus, corners[[0, 0, 0, 0, 0, 1, 2, 3]], L)


def geometry() -> Geometry:
    return Geometry(
        L=L, s=5.0, nearest=0.001, shape=(D,), centre=(0.0,) * D, radius=3.0, scale=WIDTH, low=-2.0, high=2.0
    )


class WithPosterior:
    """The exact field as plate means."""

    L = L

    def __init__(self, plates: Plates) -> None:
        self.plates = plates

    def posterior(self, x: torch.Tensor, z: torch.Tensor) -> PlatePosterior:
        return plate_posterior(InterplatePoints(x, z, self.plates, generated=False))


def test_points_lie_where_lines_of_flux_come_down() -> None:
    charges = plates()
    points = DescentPoints(nearest=0.001, scale=WIDTH)(charges, 4000, generator())
    height = L - points.z
    assert height.min() >= 0.001
    assert height.max() <= L / 2
    assert (height / WIDTH).log().mean() == pytest.approx(-0.9, abs=0.06)
    away = torch.cdist(points.x.double(), charges.minus.double()).min(1).values / height
    from_minus = away < 1000
    assert from_minus.double().mean() > 0.97
    # |g| is about sqrt(D) and |g_0| at least one half
    assert (away[from_minus] / D**0.5).quantile(0.99) < 2.8
    near = plate_posterior(points)
    assert ((near.share_plus < 0.5) == from_minus).double().mean() > 0.99


def test_the_posterior_of_the_points_is_coulombs() -> None:
    """Of the points where a charge has some posterior probability, that share was made from it."""
    plus, one = plates().plus, WIDTH * torch.ones(1, D)
    draw = DescentPoints(nearest=0.001, scale=WIDTH, log_mean=1.0, log_width=0.5)
    points = draw(Plates(plus, torch.cat([one, one, one, -one]), L), 6000, generator(2))
    # what made a point is not in the record: with the last charge elsewhere, the points of the others stay
    elsewhere = draw(Plates(plus, torch.cat([one, one, one, -one + 99.0]), L), 6000, generator(2))
    is_one = torch.isclose(elsewhere.x, points.x).all(1)
    probability = (1 + plate_posterior(points).mean_minus.double() @ one[0].double() / (D * WIDTH**2)) / 2
    for low, high in ((0.1, 0.4), (0.4, 0.7), (0.7, 0.9)):
        some = (probability > low) & (probability < high) & (points.z < L - 0.3)
        assert some.sum() > 150
        assert probability[some].mean() == pytest.approx(float(is_one[some].double().mean()), abs=0.07)


def test_exact_lines_from_afar_arrive_in_proportion_to_charge() -> None:
    charges = plates()
    config = Config.load(
        "gaussian_to_swissroll",
        {
            "method.L": L,
            "method.points.nearest": 0.001,
            "method.sample": {
                "map": "forward",
                "start": "flux",
                "landing": 1e-5,
                "solver": "multistep",
                "spacing": "rho",
            },
        },
    )
    source = make_source("moons")
    method = make_method(config.method, Problem(geometry(), source, source, 0))
    x0 = charges.plus.repeat(2, 1)
    field, support = WithPosterior(charges), Support.of(charges.plus, charges.minus)
    lines = method.sample(field, x0, support, Travel(steps=79, seed=3))  # type: ignore[arg-type]
    assert (lines.status == LineStatus.FRONT).all()
    assert lines.evaluations.max() == 80
    corners = charges.minus[4:]
    distance, arrived = torch.cdist(lines.end, corners).min(1)
    assert distance.max() < 0.05
    share = torch.bincount(arrived, minlength=4) / len(arrived)
    assert torch.allclose(share, torch.tensor([5, 1, 1, 1]) / 8, atol=0.07)
    with pytest.raises(InputError, match="no way back"):
        method.sample(field, x0, support, Travel(reverse=True))  # type: ignore[arg-type]


def test_starts_do_not_depend_on_their_batch() -> None:
    x0 = torch.zeros(5, 300)
    here = Support(torch.zeros(300), torch.ones(300), 1.0, 1.0, 1.0)
    every = flux_starts(x0, 4.0, here, 7)
    assert torch.equal(flux_starts(x0[:2], 4.0, here, 7), every[:2])
    assert not torch.equal(flux_starts(x0, 4.0, here, 8), every)
    # what a direction uniform on the upper half sphere would give, below its median
    direction = torch.randn(40_000, 301, generator=generator())
    ratio = (direction[:, :-1].norm(dim=1) / direction[:, -1].abs()).sort().values[:20_000]
    radius = (flux_starts(torch.zeros(4000, 300), 4.0, here, 0) - 1.0).norm(dim=1)
    for level in (0.1, 0.5, 0.9, 1.0):
        assert radius.quantile(level) == pytest.approx(float(ratio.quantile(level)), rel=0.04)


def test_preconditioned_means_begin_as_those_of_a_gaussian() -> None:
    means = PreconditionedMeans(geometry())
    x = torch.tensor([0.2, 1.0, 40.0])[:, None].expand(3, D)
    z = L - torch.tensor([0.001, 0.5, 8.0], dtype=torch.float64)
    minus = means.means(torch.zeros(3, 2, D), x, z)[1]
    beyond = (40.0**2 * D - 3.0**2) / D
    noise2 = torch.tensor([0.001**2, 0.5**2 + (1.0 * D - 9) / D, 8.0**2 + beyond])
    assert torch.allclose(minus, x * (WIDTH**2 / (WIDTH**2 + noise2))[:, None], rtol=1e-5)
    one = means.means(torch.ones(3, 2, D), x, z)[1] - minus
    assert torch.allclose(one[:, 0], (noise2 * WIDTH**2 / (noise2 + WIDTH**2)).sqrt(), rtol=1e-4)
