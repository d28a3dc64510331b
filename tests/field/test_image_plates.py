"""Sums over charges that repeat on several plates, and the chain of alternating plates, against long float64 sums."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from efm_fast import native
from efm_fast.errors import BackendUnavailableError, InputError
from efm_fast.field import chain_field, image_sum, riesz_sum
from efm_fast.field.image_plates import chain_plates, chain_sum, chain_weights

HAS_EXTENSION = native.why_missing() is None and hasattr(native.extension(), "image_sum")
BACKENDS = ["reference", "torch", *(["cpp"] if HAS_EXTENSION else [])]


def rows(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_calls(x: Tensor, y: Tensor, heights: Tensor, signs: Tensor, weight: Tensor | None) -> list[Tensor]:
    """The same from one ordinary sum for each plate: log scale, and w, u, v in its units."""
    parts = [
        riesz_sum(x, y, power=x.shape[1] + 1.0, height=h, weight=weight, backend="reference")
        for h in heights.T
    ]
    m = torch.stack([part.m for part in parts]).amax(0)
    w = sum(s * part.weight_at(m) for s, part in zip(signs, parts, strict=True))
    u = sum(s * h * part.weight_at(m) for s, h, part in zip(signs, heights.T, parts, strict=True))
    v = sum(s * torch.exp(part.m - m)[:, None] * part.v for s, part in zip(signs, parts, strict=True))
    return [m, w, u, v]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("d", [2, 6, 40])
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_pass_gives_what_a_sum_for_each_plate_gives(backend: str, d: int, dtype: torch.dtype) -> None:
    x, y, weight = rows(23, d, 0).to(dtype), rows(37, d, 1).to(dtype), rows(37, 1, 2)[:, 0].abs().to(dtype)
    heights = rows(23, 5, 3)
    signs = torch.tensor([1.0, -1.0, 0.5, 2.0, -0.3], dtype=torch.float64)
    found = image_sum(x, y, heights, signs, power=d + 1.0, weight=weight, backend=backend)
    wanted = by_calls(x.double(), y.double(), heights, signs, weight.double())
    scale = torch.exp(found.m - wanted[0])
    size = by_calls(x.double(), y.double(), heights, signs.abs(), weight.double())[1]
    bound = 1e-9 if dtype == torch.float64 or backend == "reference" else 3e-5
    for got, true in zip((found.w, found.u, found.v), wanted[1:], strict=True):
        factor = (scale / size) if got.ndim == 1 else (scale / size)[:, None]
        assert (
            float((got.double() * factor - true / (size if got.ndim == 1 else size[:, None])).abs().max())
            < bound * 10
        )


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_gradients_are_those_of_differences(backend: str) -> None:
    x, y, heights = rows(2, 2, 0), rows(3, 2, 1), rows(2, 2, 2)
    signs, weight = torch.tensor([1.0, -0.4], dtype=torch.float64), rows(3, 1, 3)[:, 0].abs()

    def field(x: Tensor, y: Tensor, heights: Tensor, signs: Tensor, weight: Tensor) -> Tensor:
        total = image_sum(x, y, heights, signs, power=3.0, weight=weight, backend=backend)
        return torch.exp(total.m)[:, None] * torch.cat([total.v, total.u[:, None], total.w[:, None]], 1)

    inputs = [part.requires_grad_() for part in (x, y, heights, signs, weight)]
    assert torch.autograd.gradcheck(field, inputs, eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_points_on_an_image_far_away_and_without_charges(backend: str) -> None:
    y = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    on = image_sum(
        y[1:], y, torch.tensor([[3.0, 0.0]]), torch.tensor([1.0, -0.5]), power=3.0, backend=backend
    )
    assert (float(on.m), float(on.w), float(on.u)) == (math.inf, -0.5, 0.0)
    assert on.v.abs().sum() == 0
    far = image_sum(y + 1e9, y, torch.full((2, 1), 1e9), torch.ones(1), power=200.0, backend=backend)
    assert torch.isfinite(far.m).all()
    assert torch.allclose(far.w.double(), torch.full((2,), 2.0, dtype=torch.float64), rtol=1e-3)
    none = image_sum(y, y[:0], torch.ones(2, 1), torch.ones(1), power=3.0, backend=backend)
    assert none.m.tolist() == [-math.inf] * 2
    spoilt = image_sum(
        torch.tensor([[math.nan, 0.0], [1.0, 1.0]]),
        y,
        torch.ones(2, 1),
        torch.ones(1),
        power=3.0,
        backend=backend,
    )
    assert torch.isnan(spoilt.w[0])
    assert torch.isfinite(spoilt.w[1])


def test_wrong_arguments_and_the_backend_that_does_not_serve() -> None:
    y = torch.zeros(2, 2)
    with pytest.raises(InputError, match=r"^heights: expected 3 columns"):
        image_sum(y, y, torch.ones(2, 1), torch.ones(3), power=3.0)
    with pytest.raises(InputError, match=r"^signs: expected at least one plate"):
        image_sum(y, y, torch.ones(2, 0), torch.ones(0), power=3.0)
    with pytest.raises(BackendUnavailableError, match="one height for each point"):
        image_sum(y, y, torch.ones(2, 1), torch.ones(1), power=3.0, backend="triton")
    with pytest.raises(InputError, match=r"^n: expected an integer of at least 2"):
        chain_plates(1.0, 1, 1.0)
    with pytest.raises(InputError, match=r"^tolerance: expected a number from"):
        chain_plates(1.0, 3, 1.0, tolerance=0.5)


def long_sums(r2: Tensor, height: Tensor, L: float, n: int, count: int = 20000) -> tuple[Tensor, Tensor]:
    """sum_k r^-n and sum_k h r^-n over 2 ``count`` + 1 copies and the integral of the rest, in units of the nearest."""
    k = torch.arange(-count, count + 1, dtype=torch.float64)
    nearest = r2 + height**2
    w, u = [], []
    for square, h, near in zip(r2, height, nearest, strict=True):
        heights = h - 2 * L * k
        part = torch.exp(-n / 2 * torch.log((square + heights**2) / near))
        last = (2 * count + 1) * L
        tail = (
            math.exp(n / 2 * math.log(near) - (n - 1) * math.log(last)) / L
        )  # of L h r^-n, its slope at the end
        w.append(part.sum() + tail / (n - 1))
        u.append((part * heights).sum() - h * tail)
    return torch.stack(w), torch.stack(u)


@pytest.mark.parametrize("n", [2, 3, 6, 65, 193])
@pytest.mark.parametrize("L", [0.7, 6.0, 30.0])
def test_the_window_and_its_rest_are_the_whole_chain(L: float, n: int) -> None:
    r2 = torch.tensor([1e-4, 0.3, 2.0, 4.0], dtype=torch.float64) ** 2
    for share in (0.01, 0.5, 0.999):
        height = torch.full_like(r2, share * L)
        w, u = long_sums(r2, height, L, n)
        for tolerance in (1e-4, 1e-8):
            plates, charges = chain_plates(L, n, 4.0, tolerance=tolerance)
            heights = height[:, None] - plates
            ratio = (r2[:, None] + heights**2) / (r2 + height**2)[:, None]
            part = charges * torch.exp(-n / 2 * torch.log(ratio))
            slack = 20 * tolerance + 1e-8  # the long sum's own rest
            assert float((part.sum(1) / w - 1).abs().max()) < slack
            assert float(((part * heights).sum(1) - u).div(L * w).abs().max()) < slack


def test_a_plain_cut_is_not_the_chain_and_its_plates_are_few_at_large_n() -> None:
    r2, height = torch.tensor([4.0], dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64)
    w = long_sums(r2, height, 0.7, 3)[0]
    heights = 0.3 - 1.4 * torch.arange(-8, 9, dtype=torch.float64)
    cut = ((4.0 + heights**2) / (4.0 + 0.09)) ** -1.5
    assert abs(float(cut.sum() / w) - 1) > 1e-3
    assert len(chain_plates(1.0, 193, 1.0)[0]) <= 7
    assert len(chain_plates(6.0, 3, 4.0)[0]) < 90


def test_flux_between_the_plates() -> None:
    """Of one charge's copies, 1 - h / L of half its flux reaches the height h: the rest went to the next plate."""
    L, n = 2.0, 3
    r = torch.linspace(0, 40.0, 8001, dtype=torch.float64)[1:]
    for share in (0.1, 0.5, 0.9):
        up = torch.exp(chain_weights(r**2, torch.full_like(r, share * L), L, n)[1])
        flux = float(torch.trapezoid(2 * math.pi * r * up, r)) / (4 * math.pi)
        # chain_weights keeps at least 1e-9 of the features' part, which is a power of r
        assert flux == pytest.approx((1 - share) / 2, abs=2e-4)


def test_flux_through_a_closed_box_is_that_of_its_charges() -> None:
    """Gauss: 4 pi times half of each charge on its bottom, and nothing where there is none."""
    plus, minus = 0.3 * rows(4, 2, 0), 0.3 * rows(3, 2, 1) + 0.2
    L, edge, count = 2.0, 1.5, 40
    for low, high, inside in ((0.0, 0.9, 0.5), (0.3, 1.6, 0.0)):
        total = 0.0
        nodes = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        flat = edge * (2 * nodes - 1)
        grid = torch.cartesian_prod(flat, flat)
        cell = (2 * edge / count) ** 2
        for z, sign in ((high, 1), (low, -1)):
            if z:  # on the plate the height's part is that of the charges alone
                total += (
                    sign * cell * float(field(grid, torch.full((len(grid),), z), plus, minus, L)[:, 2].sum())
                )
        up = low + (high - low) * nodes
        for axis in range(2):
            for sign in (1, -1):
                side = torch.cartesian_prod(flat, up)
                x = torch.zeros(len(side), 2, dtype=torch.float64)
                x[:, axis], x[:, 1 - axis] = sign * edge, side[:, 0]
                area = 2 * edge * (high - low) / count**2
                total += sign * area * float(field(x, side[:, 1], plus, minus, L)[:, axis].sum())
        assert total / (4 * math.pi) == pytest.approx(inside, abs=2e-3)


def field(x: Tensor, z: Tensor, plus: Tensor, minus: Tensor, L: float) -> Tensor:
    found = chain_field(x, z, plus, minus, L)
    return found.direction * torch.exp(found.log_norm)[:, None]


@pytest.mark.parametrize("d", [2, 70])
def test_the_field_between_the_plates_points_up_and_has_no_divergence(d: int) -> None:
    plus, minus, x = rows(20, d, 0), rows(25, d, 1) + 0.5, 1.5 * rows(12, d, 2)
    z = torch.linspace(0.1, 2.9, 12, dtype=torch.float64)
    assert (chain_field(x, z, plus, minus, 3.0).direction[:, -1] > 0).all()
    if d > 2:
        return
    step, total = 1e-5, torch.zeros(12, dtype=torch.float64)
    for axis in range(3):
        move = step * torch.eye(3, dtype=torch.float64)[axis]
        ahead, behind = (field(x + s * move[:2], z + s * move[2], plus, minus, 3.0)[:, axis] for s in (1, -1))
        total += (ahead - behind) / (2 * step)
    size = field(x, z, plus, minus, 3.0).norm(dim=1)
    assert float((total.abs() / size).max()) < 1e-3


def test_the_chain_of_far_plates_is_the_capacitor() -> None:
    from efm_fast import capacitor_field

    plus, minus, x = rows(20, 2, 0), rows(25, 2, 1), rows(9, 2, 2)
    z = torch.full((9,), 1.0, dtype=torch.float64)
    one, chain = capacitor_field(x, z, plus, minus, 3000.0), chain_field(x, z, plus, minus, 3000.0)
    torch.testing.assert_close(chain.direction, one.direction, atol=1e-3, rtol=1e-3)
    with pytest.raises(InputError, match=r"^minus: expected at least one charge, got none"):
        chain_field(x, z, plus, minus[:0], 1.0)
    assert chain_sum(x, z, plus, 3.0).w.shape == (9,)
