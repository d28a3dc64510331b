"""The shared steps, against equations whose solutions are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from efm_fast import Config, ExactField, Plates, capacitor_field
from efm_fast.errors import InputError
from efm_fast.lines import LineStatus
from efm_fast.methods.field_matching import FieldSampleSettings, PlateMeansFlow
from efm_fast.methods.samplers import Held, carry, log_spaced, rho_spaced
from efm_fast.types import PlatePosterior

TOY = "gaussian_to_swissroll"
_ORDERS = {"euler": 1, "exponential": 1, "heun": 2, "midpoint": 2, "multistep": 2}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class GaussianData:
    """Data N(0, 1) seen through noise sigma = 1 + (5 - z): m = x / (1 + sigma^2), so x ~ sqrt(1 + sigma^2)."""

    L: float = 6.0

    def held(self, x: Tensor, z: float) -> Held:
        return (x / (1 + (self.L - z) ** 2),)

    def velocity(self, held: Held, x: Tensor, z: float) -> Tensor:
        return (held[0] - x) / (self.L - z)

    def advance(self, held: Held, x: Tensor, z: float, new_z: float) -> Tensor:
        return held[0] + (self.L - new_z) / (self.L - z) * (x - held[0])


@pytest.mark.parametrize(("solver", "order"), _ORDERS.items())
def test_order_of_every_solver(solver: str, order: int) -> None:
    x0 = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    true = x0 * math.sqrt((1 + 0.05**2) / (1 + 4.0**2))
    errors = []
    for steps in (40, 80):
        way = [6.0 - sigma for sigma in log_spaced(4.0, 0.05, steps)]
        lines = carry(GaussianData(), x0, way, solver)  # type: ignore[arg-type]
        errors.append(float((lines.end - true).abs().max()))
        assert int(lines.evaluations) == steps * (2 if solver in ("heun", "midpoint") else 1)
    assert errors[0] / errors[1] > 0.75 * 2**order


def test_lines_of_bad_starts_fail_alone_and_paths_are_kept() -> None:
    x0 = torch.tensor([[1.0], [math.nan]])
    lines = carry(GaussianData(), x0, [2.0, 3.0, 6.0], "heun", lands=True, return_paths=True)
    assert lines.status.tolist() == [LineStatus.FRONT, LineStatus.FAILED]
    assert lines.evaluations.tolist() == [3, 0]
    assert lines.paths is not None
    assert lines.paths[:, 0, 1].tolist() == [2.0, 3.0, 6.0]
    assert math.isnan(float(lines.end[1]))


def test_spacings() -> None:
    rho = torch.tensor(rho_spaced(80.0, 0.002, 17, 7.0), dtype=torch.float64)
    k = torch.arange(18, dtype=torch.float64)
    # EDM, eq. 5
    wanted = (80 ** (1 / 7) + k / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(rho, wanted)
    ratios = torch.tensor(log_spaced(2.0, 0.02, 4)).double()
    torch.testing.assert_close(ratios[1:] / ratios[:-1], torch.full((4,), 0.01**0.25, dtype=torch.float64))
    for spacing in ("log", "uniform"):
        ours = FieldSampleSettings(spacing=spacing).heights(6.0, 0.3, 5.4, 5)
        assert ours[0] == pytest.approx(0.3)
        assert ours[-2:] == [5.4, 6.0]
        assert ours == sorted(set(ours))
    rho_ways = FieldSampleSettings(spacing="rho", solver="multistep").heights(6.0, 0.3, 5.4, 5)
    assert rho_ways[0] == pytest.approx(0.3)
    assert (6.0 - rho_ways[2]) ** (1 / 7) == pytest.approx(
        5.7 ** (1 / 7) + 0.4 * (0.6 ** (1 / 7) - 5.7 ** (1 / 7))
    )


class ExactMeans:
    """The posterior of finite charges by direct differences, float64."""

    def __init__(self, plates: Plates) -> None:
        self.plates, self.L = plates, plates.L

    def posterior(self, x: Tensor, z: Tensor) -> PlatePosterior:
        logs, means = [], []
        for charges, plate in ((self.plates.plus, 0.0), (self.plates.minus, self.L)):
            r2 = (x[:, None] - charges[None]).square().sum(2) + ((z - plate) ** 2)[:, None]
            log = -(x.shape[1] + 1) / 2 * torch.log(r2)
            logs.append(torch.logsumexp(log, 1) - math.log(len(charges)))
            means.append(torch.softmax(log, 1) @ charges)
        return PlatePosterior(torch.sigmoid(logs[0] - logs[1]), means[0], means[1])


def plates() -> Plates:
    plus, minus = (torch.randn(30, 3, generator=generator(k), dtype=torch.float64) for k in (1, 2))
    return Plates(plus, minus + 1.0, 2.0)


def test_velocity_of_plate_means_is_the_slope_of_the_field() -> None:
    flow = PlateMeansFlow(ExactMeans(plates()))  # type: ignore[arg-type]
    x = torch.randn(20, 3, generator=generator(3), dtype=torch.float64)
    for z in (0.3, 1.0, 1.9):
        field = capacitor_field(
            x,
            torch.full((20,), z, dtype=torch.float64),
            plates().plus,
            plates().minus,
            2.0,
            backend="reference",
        ).direction
        wanted = field[:, :-1] / field[:, -1:]
        torch.testing.assert_close(flow.velocity(flow.held(x, z), x, z), wanted, rtol=1e-9, atol=1e-9)


def test_the_held_equation_is_solved_exactly() -> None:
    """A thousand Runge-Kutta steps with the same means and share come to where one exponential step goes."""
    flow = PlateMeansFlow(ExactMeans(plates()))  # type: ignore[arg-type]
    x = torch.randn(20, 3, generator=generator(4), dtype=torch.float64)
    held = flow.held(x, 0.4)
    at, z, dz = x, 0.4, 1e-3
    for _ in range(1000):
        first = flow.velocity(held, at, z)
        at = at + dz * flow.velocity(held, at + 0.5 * dz * first, z + 0.5 * dz)
        z += dz
    torch.testing.assert_close(flow.advance(held, x, 0.4, 1.4), at, rtol=1e-5, atol=1e-5)
    assert torch.equal(flow.advance(held, x, 1.9, 2.0), held[2])
    assert torch.equal(flow.advance(held, x, 0.1, 0.0), held[1])


@pytest.mark.parametrize("solver", ["exponential", "multistep"])
def test_exponential_steps_follow_the_exact_lines(solver: str) -> None:
    from efm_fast.lines import forward_map

    x0, exact = plates().plus[:10], ExactField(plates())
    fine = forward_map(exact, x0, steps=2000, method="rk4", spacing="log", start=0.1, stop=1.9)
    settings = FieldSampleSettings()
    flow = PlateMeansFlow(ExactMeans(plates()))  # type: ignore[arg-type]
    coarse, finer = (
        carry(flow, x0, settings.heights(2.0, 0.1, 1.9, steps), solver, lands=True)  # type: ignore[arg-type]
        for steps in (40, 160)
    )
    errors = [float((lines.end - fine.end).norm(dim=1).median()) for lines in (coarse, finer)]
    assert errors[1] < (0.02 if solver == "exponential" else 0.002)
    assert errors[1] < errors[0]


def test_settings_without_effect_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^method.sample.solver: multistep takes .* plate_means, got direct"
    ):
        Config.load(TOY, {"method.parametrisation": "direct", "method.sample.solver": "multistep"})
    with pytest.raises(InputError, match=r"^method.sample.spacing: rho takes solver = exponential"):
        Config.load(TOY, {"method.sample.spacing": "rho"})
