"""Parametrisations mean what they say, and backbones stay finite wherever a line may go."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from efm_fast.config import Config
from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.field import capacitor_field
from efm_fast.methods import Problem, make_method
from efm_fast.methods.interplate import FluxPoints, LinearPoints
from efm_fast.methods.learned import LearnedField
from efm_fast.methods.parametrisation import DirectField, PlateMeans, PreconditionedMeans
from efm_fast.methods.targets import plate_posterior
from efm_fast.nets.mlp import MLP
from efm_fast.nets.unet import UNet
from efm_fast.runs.run import untrained
from efm_fast.types import Field, Geometry, Plates


def geometry(dimension: int = 2, shape: tuple[int, ...] | None = None) -> Geometry:
    return Geometry(
        L=3.0,
        s=2.0,
        nearest=0.01,
        shape=shape or (dimension,),
        centre=(0.0,) * dimension,
        radius=3.0,
        scale=1.0,
        low=-3.0,
        high=3.0,
    )


def some_plates(dimension: int, count: int = 40) -> Plates:
    g = torch.Generator().manual_seed(0)
    rows = [torch.randn(count, dimension, generator=g).clamp(-2.9, 2.9) for _ in range(2)]
    return Plates(rows[0], rows[1], 3.0)


def raw_that_means(parametrisation: PlateMeans, points, posterior):  # type: ignore[no-untyped-def]
    """Raw output that stands for a given posterior, by inverting the parametrisation's affine form."""
    n, d = points.x.shape
    zero, one = torch.zeros(n, 2, d), torch.ones(n, 2, d)
    base = torch.stack(parametrisation.means(zero, points.x, points.z), 1)
    slope = torch.stack(parametrisation.means(one, points.x, points.z), 1) - base
    features = (torch.stack([posterior.mean_plus, posterior.mean_minus], 1) - base) / slope
    known = parametrisation.logit(torch.zeros(n), points.x, points.z)
    return features, torch.logit(posterior.share_plus.double()).float() - known


@pytest.mark.parametrize("kind", [PlateMeans, PreconditionedMeans])
@pytest.mark.parametrize("dimension", [2, 20])
def test_plate_means_of_the_exact_posterior_are_the_exact_field(
    dimension: int, kind: type[PlateMeans]
) -> None:
    parametrisation = kind(geometry(dimension))
    points = FluxPoints(nearest=0.2)(some_plates(dimension), 200, torch.Generator().manual_seed(1))
    posterior = plate_posterior(points)
    keep = (posterior.share_plus > 1e-6) & (posterior.share_plus < 1 - 1e-6)
    features, scalar = raw_that_means(parametrisation, points, posterior)
    guess = parametrisation.direction(features, scalar, points.x, points.z)
    guess = guess / guess.norm(dim=1, keepdim=True)
    p = points.plates
    exact = capacitor_field(points.x, points.z, p.plus, p.minus, p.L, backend="reference").direction
    assert keep.sum() > 20
    assert (guess - exact.float())[keep].norm(dim=1).max() < 2e-3


def test_an_untrained_network_already_knows_the_far_field_and_the_layer_at_a_plate() -> None:
    parametrisation, plates = PlateMeans(geometry()), some_plates(2)
    angle = torch.linspace(0.1, 3.0, 12)
    far = 200.0 * torch.stack([angle.sin(), torch.zeros(12)], 1)
    z = 200.0 * angle.cos().double() + 1.5
    near_x, near_z = torch.zeros(2, 2), torch.tensor([1e-3, 3.0 - 1e-3], dtype=torch.float64)
    for x, height, tolerance in ((far, z, 0.3), (near_x, near_z, 0.3)):
        n = len(x)
        guess = parametrisation.direction(torch.zeros(n, 2, 2), torch.zeros(n), x, height)
        exact = capacitor_field(x, height, plates.plus * 0.01, plates.minus * 0.01, 3.0).direction
        if x is near_x:
            exact = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
        assert (guess / guess.norm(dim=1, keepdim=True) - exact).norm(dim=1).max() < tolerance


@pytest.mark.parametrize("kind", [PlateMeans, PreconditionedMeans])
def test_the_loss_is_least_at_the_posterior(kind: type[PlateMeans]) -> None:
    parametrisation = kind(geometry())
    points = FluxPoints(nearest=0.2)(some_plates(2), 100, torch.Generator().manual_seed(2))
    posterior = parametrisation.target(points)
    features, scalar = raw_that_means(parametrisation, points, posterior)
    least = parametrisation.loss(features, scalar, points, posterior)
    g = torch.Generator().manual_seed(3)
    for _ in range(5):
        moved = features + 0.1 * torch.randn(features.shape, generator=g)
        assert parametrisation.loss(moved, scalar, points, posterior) > least
        assert parametrisation.loss(features, scalar + 0.3, points, posterior) > least


def test_direct_targets() -> None:
    direct, plates = DirectField(geometry()), some_plates(2)
    linear = LinearPoints(0.1)(plates, 50, torch.Generator().manual_seed(0))
    assert torch.allclose(direct.target(linear).norm(dim=1), torch.ones(50), atol=1e-5)
    flux = FluxPoints(nearest=0.1)(plates, 50, torch.Generator().manual_seed(0))
    exact = capacitor_field(flux.x, flux.z, plates.plus, plates.minus, 3.0).direction
    along = torch.nn.functional.cosine_similarity(direct.target(flux), exact)
    assert along.min() > 0.999
    assert direct.target(flux).norm(dim=1).max() < 20


def build_field(config: Config, lengths: Geometry) -> LearnedField:
    source = make_source("moons")
    return untrained(config, make_method(config.method, Problem(lengths, source, source, 0)))


@pytest.mark.parametrize(
    ("preset", "shape"), [("gaussian_to_swissroll", (2,)), ("cifar10_generation", (3, 16, 16))]
)
def test_learned_fields_satisfy_the_protocol_and_stay_finite_far_away(
    preset: str, shape: tuple[int, ...]
) -> None:
    small = {"net.width": 16, "net.depth": 1} | ({"net.levels": [1, 2]} if len(shape) == 3 else {})
    dimension = math.prod(shape)
    field = build_field(Config.load(preset, small), geometry(dimension, shape)).eval()
    assert isinstance(field, Field)
    x = torch.randn(4, dimension) * torch.tensor([1.0, 1e2, 1e4, 1e6])[:, None]
    z = torch.tensor([0.0, -50.0, 3.0, 1e6])
    assert field.direction(x, z).shape == (4, dimension + 1)
    assert torch.isfinite(field.direction(x, z)).all()
    arrival = field.arrival(x, z, "minus")
    assert arrival is not None
    assert arrival.abs().max() <= 3.5, "arrivals stay in the data's range"


def test_a_backbone_that_cannot_serve_says_so() -> None:
    for overrides, shape, name in (
        ({}, (12,), "net.backbone"),
        ({"net.levels": [1, 2, 2, 2]}, (3, 4, 4), "net.levels"),
        ({"net.levels": [1, 2], "net.patch": 3}, (3, 16, 16), "net.levels"),
        ({"net.width": 12}, (3, 16, 16), "net.width"),
    ):
        config = Config.load("cifar10_generation", overrides)
        with pytest.raises(InputError, match=name):
            build_field(config, geometry(math.prod(shape), shape))


def test_patches_lose_no_pixel() -> None:
    """Where the network is the identity on its folded input, the folded image comes back as it was."""
    lengths = geometry(3 * 8 * 8, (3, 8, 8))
    net = UNet(lengths, 2, width=8, depth=1, levels=(1, 1), patch=2)
    folded: list[torch.Tensor] = []

    def twice(x: torch.Tensor, time: torch.Tensor, class_labels: torch.Tensor) -> SimpleNamespace:
        folded.append(x)
        return SimpleNamespace(sample=torch.cat([x, -x, x[:, :1]], 1))

    net.unet.forward = twice  # type: ignore[method-assign]
    x = torch.randn(2, 192)
    features, scalar = net(x, torch.rand(2))
    assert folded[0].shape == (2, 12, 4, 4)
    images = net.features(x)[0]
    assert torch.equal(folded[0][:, :4].flatten(1).sort().values, images[:, :64].sort().values)
    assert torch.equal(features, torch.stack([images, -images], 1))
    assert scalar.shape == (2,)


def test_mlp_gives_what_the_parametrisation_needs() -> None:
    features, scalar = MLP(geometry(5), 2, width=8, depth=2)(torch.randn(3, 5), torch.rand(3))
    assert features.shape == (3, 2, 5)
    assert scalar.shape == (3,)
