"""The reversed field carries Q back to P along the same lines."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from efm_fast.errors import InputError
from efm_fast.lines import ExactField, Reversed, Support, forward_map, full_map, mirrored, reversed_field
from efm_fast.lines.exact import ExactField as Exact
from efm_fast.metrics import sampling_floor, wasserstein2
from efm_fast.types import Field, PlatePosterior, Plates, PosteriorField

from .conftest import gaussian, swiss_roll


class Opaque:
    """An exact field that is not known to be one, with its posterior."""

    def __init__(self, plates: Plates) -> None:
        self.exact = Exact(plates, precision="exact")
        self.L = plates.L

    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        return self.exact.direction(x, z)

    def arrival(self, x: Tensor, z: Tensor, plate: str) -> Tensor:
        return self.exact.arrival(x, z, plate)


class WithPosterior(Opaque):
    def posterior(self, x: Tensor, z: Tensor) -> PlatePosterior:
        n = x.shape[1] + 1
        weights, means = [], []
        for charges, height in ((self.exact.plates.plus, 0.0), (self.exact.plates.minus, self.L)):
            r2 = (x[:, None] - charges).square().sum(2) + (z - height)[:, None] ** 2
            log = -0.5 * n * r2.log()
            weights.append(log.logsumexp(1))
            means.append(log.softmax(1) @ charges)
        return PlatePosterior(torch.sigmoid(weights[0] - weights[1]), *means)


@pytest.fixture(scope="module")
def double(plates: Plates) -> Plates:
    return Plates(plates.plus.double(), plates.minus.double(), plates.L)


def points(n: int) -> tuple[Tensor, Tensor]:
    x = gaussian(n, 7).double() * 2
    return x, torch.linspace(-2.0, 8.0, n, dtype=torch.float64)  # outside the plates too


@pytest.mark.parametrize("kind", [Opaque, WithPosterior])
def test_it_is_the_field_of_the_exchanged_plates(double: Plates, kind: type[Opaque]) -> None:
    x, z = points(100)
    truth = ExactField(Plates(double.minus, double.plus, double.L), precision="exact")
    found = Reversed(kind(double))
    assert isinstance(found, Field)
    torch.testing.assert_close(found.direction(x, z), truth.direction(x, z))
    for plate in ("plus", "minus"):
        torch.testing.assert_close(found.arrival(x, z, plate), truth.arrival(x, z, plate))
    with pytest.raises(InputError, match="plate"):
        found.arrival(x, z, "other")


def test_its_posterior_makes_its_direction(double: Plates) -> None:
    x, z = points(100)
    field = Reversed(WithPosterior(double))
    assert isinstance(field, PosteriorField)
    posterior = field.posterior(x, z)
    assert posterior is not None
    direction = torch.nn.functional.normalize(posterior.moment(x, z, field.L), dim=1)
    torch.testing.assert_close(direction, field.direction(x, z))
    assert Reversed(Opaque(double)).posterior(x, z) is None


def test_twice_reversed_is_the_field_itself_and_exact_fields_stay_exact(double: Plates) -> None:
    field = Opaque(double)
    assert reversed_field(reversed_field(field)) is field
    exact = ExactField(double, precision="exact")
    turned = reversed_field(exact)
    assert isinstance(turned, ExactField)
    assert turned.plates.plus is double.minus
    assert turned.precision == "exact"


@pytest.mark.parametrize("kind", [ExactField, Opaque, WithPosterior])
def test_a_line_followed_forward_and_back_returns_to_its_start(double: Plates, kind: type) -> None:
    field = kind(double)
    x0 = 0.3 * gaussian(64, 3).double()
    settings = {"steps": 400, "method": "midpoint", "spacing": "log", "start": 0.6, "stop": 5.0}
    # a first stretch between the heights alone, where no jump to a plate forgets the line
    there = forward_map(_Unlanded(field), x0, **settings)
    back = forward_map(_Unlanded(reversed_field(field)), there.end, **{**settings, "start": 1.0, "stop": 5.4})
    assert (there.end - x0).norm(dim=1).median() > 0.3
    error = (back.end - x0).norm(dim=1)
    straight = error < 1e-3
    assert straight.double().mean() > 0.95, error


class _Unlanded:
    """A field that does not know where its lines land."""

    def __init__(self, field: Field) -> None:
        self.field, self.L = field, field.L

    def direction(self, x: Tensor, z: Tensor) -> Tensor:
        return self.field.direction(x, z)

    def arrival(self, x: Tensor, z: Tensor, plate: str) -> None:
        return None


def test_the_full_map_back_carries_the_swiss_roll_to_the_gaussian() -> None:
    plus, minus = gaussian(1024, 10), swiss_roll(1024, 11)
    field = Reversed(ExactField(Plates(plus, minus, 6.0)))
    x0 = swiss_roll(500, 12)
    assert str(Support.of(plus, minus).exchanged()) == str(Support.of(minus, plus))
    lines = full_map(field, x0, support=Support.of(plus, minus).exchanged(), return_paths=True)
    assert lines.arrived.double().mean() > 0.98
    target = gaussian(500, 13)
    reached = wasserstein2(lines.end[lines.arrived], target)
    floor = sampling_floor(lambda n, g: torch.randn(n, 2, generator=g), 500)
    assert reached < 0.6 * wasserstein2(x0, target)
    assert reached < floor + 0.15

    own = mirrored(lines, 6.0)
    assert (own.end_z[own.arrived] == 0).all()
    assert own.paths is not None
    assert lines.paths is not None
    assert torch.equal(own.paths[..., :2], lines.paths[..., :2])
    torch.testing.assert_close(own.paths[0, :, 2], 6.0 - lines.paths[0, :, 2])
