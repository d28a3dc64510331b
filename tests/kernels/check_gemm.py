"""More features: the fused pass (D up to 256) and the chunked products, against float64."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from kernel_cases import DEVICE, asked, assert_close, draw, kernel_sum, kernels, true_sum
from torch import Tensor

from efm_fast.field.logsum import LogSum
from efm_fast.field.queries import query_set

plan = importlib.import_module(f"{kernels.__name__}.plan")
REGIMES = [40, 300]  # fused, chunked


def direction(plus: LogSum, minus: LogSum, z: Tensor, distance: float) -> Tensor:
    """Unit field [N, D+1] of two plates from their sums."""
    top = torch.maximum(plus.m, minus.m)
    field = 0.0
    for total, height, sign in ((plus, z, 1.0), (minus, z - distance, -1.0)):
        vector = torch.cat([total.v.double(), total.w.double()[:, None] * height[:, None]], 1)
        field = field + sign * torch.exp(total.m - top)[:, None] * vector
    return torch.nn.functional.normalize(field, dim=1)


@pytest.mark.parametrize("uint8", [False, True])
@pytest.mark.parametrize("kind", ["tie", "plate_tie", "twin"])
@pytest.mark.parametrize("d", REGIMES)
def test_direction_where_charges_balance(d: int, kind: str, uint8: bool) -> None:
    q = query_set(kind, 4, 64, d, uint8=uint8)
    found = []
    for summed in (kernel_sum, true_sum):
        sums = [
            summed(
                q.x.to(DEVICE),
                y.to(DEVICE),
                power=d + 1.0,
                height=(q.z - at).abs().to(DEVICE),
                precision="default",
            )
            for y, at in ((q.plus, 0.0), (q.minus, q.L))
        ]
        found.append(direction(*sums, q.z, q.L))
    worst = torch.linalg.vector_norm(found[0] - found[1], dim=1).max().item()
    assert worst <= 1e-4, f"direction off by {worst:.1e}"


@pytest.mark.parametrize("d", REGIMES)
def test_weights_and_the_point_itself(d: int) -> None:
    _, y, height = draw(3, 70, d)
    x = y[:3].clone()
    weight = torch.linspace(0.5, 3.0, 70, device=DEVICE)
    weight[::7] = 0.0
    arguments = {"power": d - 1.0, "height": height, "weight": weight, "first_self": 0, "softening": 0.1}
    assert_close(kernel_sum(x, y, **arguments), true_sum(x, y, **arguments), 2e-5, log=1e-3)


@pytest.mark.parametrize("d", REGIMES)
@pytest.mark.parametrize("bandwidth", [0.5, 3.0])
def test_gaussian(d: int, bandwidth: float) -> None:
    x, y, _ = draw(4, 70, d)
    arguments = {"bandwidth": bandwidth * d**0.5}
    assert_close(kernel_sum(x, y, **arguments), true_sum(x, y, **arguments), 2e-5, log=1e-3)


@pytest.mark.parametrize("d", REGIMES)
def test_on_and_near_a_charge_and_its_twins(d: int) -> None:
    _, y, _ = draw(1, 70, d)
    y[30:60] = y[10]
    x = torch.stack([y[3], y[5] + 1e-5, y[10] + 1e-4])
    got = kernel_sum(x, y, power=d + 1.0)
    assert got.m[0] == math.inf
    assert got.w[0] == 1.0
    assert (got.v[0] == 0).all()
    # 31 equal charges, far more than any list of nearest ones: all of them are found and added exactly
    near = LogSum(got.m[1:], got.w[1:], got.v[1:])
    assert_close(near, true_sum(x[1:], y, power=d + 1.0), 2e-5, log=1e-3)
    assert near.w[1] == 31.0


@pytest.mark.parametrize("same", [1, 70])
@pytest.mark.parametrize("d", REGIMES)
def test_on_the_only_place_that_holds_charge(d: int, same: int) -> None:
    y = draw(1, 1, d)[1].expand(same, d)
    got = kernel_sum(y[:1], y, power=d + 1.0)
    assert got.m[0] == math.inf
    assert got.w[0] == same
    assert (got.v == 0).all()


@pytest.mark.parametrize("d", [3, *REGIMES])
def test_a_gaussian_has_no_pole(d: int) -> None:
    _, y, _ = draw(1, 70, d)
    arguments = {"bandwidth": 0.5 * d**0.5}
    assert_close(kernel_sum(y[:4], y, **arguments), true_sum(y[:4], y, **arguments), 2e-5, log=1e-3)


@pytest.mark.parametrize(
    ("d", "n", "m"), [(17, 1, 1), (32, 63, 65), (33, 65, 64), (257, 1, 129), (384, 129, 127)]
)
def test_ragged_edges(d: int, n: int, m: int) -> None:
    x, y, height = draw(n, m, d)
    arguments = {"power": d + 1.0, "height": 3.0 + height}
    got = kernel_sum(x, y, **arguments, precision="fast")
    assert_close(got, true_sum(x, y, **arguments), 2e-3, log=2e-3)


@pytest.mark.parametrize("d", REGIMES)
def test_many_chunks_slices_and_groups_of_points(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, height = draw(50, 200, d)
    arguments = {"power": d + 1.0, "height": 3.0 + height, "first_self": 40}
    whole = kernel_sum(x, y, **arguments, precision="fast")
    monkeypatch.setattr(plan, "CHARGE_PARTS", 4 * 384 * 64)
    monkeypatch.setattr(plan, "SLICE", 64)
    monkeypatch.setattr(plan, "POINT_PARTS", 4 * 384 * 32)
    monkeypatch.setattr(plan, "PAIRS", 1)
    assert_close(kernel_sum(x, y, **arguments, precision="fast"), true_sum(x, y, **arguments), 2e-3, log=2e-3)
    assert_close(whole, true_sum(x, y, **arguments), 2e-3, log=2e-3)


@pytest.mark.parametrize("d", REGIMES)
def test_rounded_points(d: int) -> None:
    x, y, height = draw(4, 70, d, uint8=True)
    x = kernels.representable_points(x, y)
    arguments = {"power": d + 1.0, "height": height}
    got = kernel_sum(x, y, **arguments, rounded_points=True)
    assert_close(got, true_sum(x, y, **arguments), 2e-5, log=1e-3)


@pytest.mark.parametrize("d", [3, 40])
def test_exact(d: int) -> None:
    x, y, height = draw(3, 40, d)
    weight = torch.linspace(0.0, 1.0, 40, device=DEVICE)
    arguments = {"power": d + 1.0, "height": height, "weight": weight, "first_self": 20}
    assert_close(
        kernel_sum(x, y, **arguments, precision="exact"), true_sum(x, y, **arguments), 2e-7, log=1e-12
    )


def test_exact_in_splits_and_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    d = 20
    x, y, height = draw(2, 200, d)
    arguments = {"power": d + 1.0, "height": height, "weight": torch.linspace(-1.0, 1.5, 200, device=DEVICE)}
    arguments["first_self"] = -100
    sizes = {"EXACT_CHARGES": 64, "EXACT_SPLIT": 32, "EXACT_LAUNCH": 2 * 64 * (d + plan.EXACT_PAIR)}
    for name, size in sizes.items():
        monkeypatch.setattr(plan, name, size)
    assert plan.exact_charges(2, 200, d) == 64
    assert plan.exact_splits(2, 64, d, 4) == 2
    got = kernel_sum(x, y, **arguments, precision="exact")
    assert_close(got, true_sum(x, y, **arguments), 2e-6, log=1e-12)


@pytest.mark.parametrize("d", REGIMES)
def test_no_charge_counts_and_repeats(d: int) -> None:
    x, y, height = draw(3, 70, d)
    got = kernel_sum(x, y, power=d + 1.0, weight=torch.zeros(70, device=DEVICE))
    assert (got.m == -math.inf).all()
    assert (got.w == 0).all()
    assert (got.v == 0).all()
    first, second = (kernels.log_sum(asked(x, y, power=d + 1.0, height=height)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
