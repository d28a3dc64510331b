"""Sinkhorn's potentials beside POT's, its pairs beside the plan, and its resumption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

import efm_fast
from efm_fast.couplings import job, plan, strips
from efm_fast.errors import InputError


def two_sets(n: int, m: int, d: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    plus = torch.randn(n, d, generator=generator, dtype=torch.float64)
    minus = 0.7 * torch.randn(m, d, generator=generator, dtype=torch.float64) + 1.0
    return plus.to(dtype), minus.to(dtype)


def cost(plus: Tensor, minus: Tensor) -> Tensor:
    """Squared distances by direct difference, float64."""
    return (plus.double()[:, None] - minus.double()).square().sum(2)


def apart(ours: Tensor, theirs: np.ndarray) -> float:
    """The largest difference of two potentials that may differ by a constant."""
    difference = ours - torch.from_numpy(theirs)
    return float((difference - difference.mean()).abs().max())


@pytest.mark.parametrize(("n", "m", "d"), [(300, 300, 2), (250, 400, 96)])
def test_potentials_are_those_of_pot(n: int, m: int, d: int) -> None:
    plus, minus = two_sets(n, m, d)
    c = cost(plus, minus)
    epsilon = 0.05 * float(c.mean())
    _, log = ot.sinkhorn(
        [], [], c.numpy(), epsilon, method="sinkhorn_log", numItermax=3000, stopThr=1e-10, log=True
    )
    found = efm_fast.couple(plus, minus, epsilon=epsilon, tolerance=1e-8)
    assert found.potential_plus is not None
    assert found.potential_minus is not None
    assert apart(found.potential_plus, epsilon * log["log_u"]) < 1e-5
    assert apart(found.potential_minus, epsilon * log["log_v"]) < 1e-5


def test_unbalanced_potentials_are_those_of_pot() -> None:
    plus, minus = two_sets(200, 150, 3)
    c = cost(plus, minus)
    epsilon, reach = 0.1 * float(c.mean()), 1.5
    a, b = np.full(200, 1 / 200), np.full(150, 1 / 150)
    theirs = ot.unbalanced.sinkhorn_unbalanced(
        a, b, c.numpy(), epsilon, reach**2, reg_type="kl", numItermax=5000, stopThr=1e-12
    )
    found = efm_fast.couple(plus, minus, epsilon=epsilon, reach=reach, tolerance=1e-9)
    f, g = found.potential_plus, found.potential_minus
    assert f is not None
    assert g is not None
    ours = torch.exp((f[:, None] + g - c) / epsilon) / (200 * 150)
    assert float((ours - torch.from_numpy(theirs)).abs().sum()) < 1e-6
    assert 0.1 < float(ours.sum()) < 0.9
    torch.testing.assert_close(found.weight, ours.sum(1) / ours.sum())
    assert found.numbers["carried"] == pytest.approx(theirs.sum(), rel=1e-6)


@pytest.mark.parametrize("reach", [1e-3, 0.5])
def test_a_reach_that_carries_nothing_is_refused(reach: float) -> None:
    plus, minus = two_sets(60, 50, 3)
    with pytest.raises(InputError, match="reach: expected a distance within which some data"):
        efm_fast.couple(plus, minus + 100, reach=reach)


@pytest.mark.parametrize("size", [2.0**-70, 2.0**60])
def test_the_size_of_the_data_does_not_matter(size: float) -> None:
    """Whose squares are too small, or too large, for float32."""
    plus, minus = two_sets(80, 70, 5, torch.float32)
    found, scaled = (efm_fast.couple(s * plus, s * minus) for s in (1.0, size))
    assert torch.equal(found.minus, scaled.minus)
    assert scaled.cost == pytest.approx(size**2 * found.cost)
    near, far = (efm_fast.couple(s * plus, s * minus, kind="nearest") for s in (1.0, size))
    assert torch.equal(near.minus, far.minus)


def test_float32_and_bytes_come_near_float64() -> None:
    generator = torch.Generator().manual_seed(1)
    plus, minus = (torch.randint(0, 256, (400, 48), generator=generator).to(torch.uint8) for _ in range(2))
    epsilon = 0.05 * float(cost(plus, minus).mean())  # at a small one few pairs tie the potentials together
    exact = efm_fast.couple(plus.double(), minus.double(), epsilon=epsilon, tolerance=1e-5)
    for convert in (torch.Tensor.float, lambda data: data):
        found = efm_fast.couple(convert(plus), convert(minus), epsilon=epsilon, tolerance=1e-5)
        assert found.potential_minus is not None
        assert exact.potential_minus is not None
        assert apart(found.potential_minus, exact.potential_minus.numpy()) < 1e-3 * epsilon


def test_drawn_pairs_follow_the_plan() -> None:
    plus, minus = two_sets(4, 5, 2)
    c = cost(plus, minus)
    found = efm_fast.couple(plus, minus, epsilon=0.5 * float(c.mean()), tolerance=1e-9, each=20000)
    f, g = found.potential_plus, found.potential_minus
    assert f is not None
    assert g is not None
    wanted = torch.exp((f[:, None] + g - c) / found.numbers["epsilon"]) / 20
    counted = torch.zeros(4, 5, dtype=torch.float64)
    counted.index_put_((found.plus, found.minus), found.weight, accumulate=True)
    torch.testing.assert_close(counted, wanted, atol=3e-3, rtol=0)
    hardest = efm_fast.couple(plus, minus, epsilon=0.5 * float(c.mean()), tolerance=1e-9, draw="hardest")
    assert torch.equal(hardest.minus, wanted.argmax(1))


def test_strips_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    plus, minus = two_sets(60, 70, 5)
    whole = efm_fast.couple(plus, minus, tolerance=1e-6)
    monkeypatch.setattr(strips, "_STRIP", 70 * 7)
    monkeypatch.setattr(strips, "_CHUNK", 5 * 11)
    cut = efm_fast.couple(plus, minus, tolerance=1e-6)
    assert torch.equal(whole.minus, cut.minus)
    torch.testing.assert_close(whole.potential_minus, cut.potential_minus)


def test_growing_subsets_lead_to_the_same_potentials(monkeypatch: pytest.MonkeyPatch) -> None:
    plus, minus = two_sets(600, 500, 8)
    epsilon = 0.05 * float(cost(plus, minus).mean())
    whole = efm_fast.couple(plus, minus, epsilon=epsilon, tolerance=1e-7)
    monkeypatch.setattr("efm_fast.couplings.sinkhorn._COARSEST", 64)
    grown = efm_fast.couple(plus, minus, epsilon=epsilon, tolerance=1e-7)
    assert grown.numbers["passes"] != whole.numbers["passes"]
    assert whole.potential_minus is not None
    assert grown.potential_minus is not None
    assert apart(grown.potential_minus, whole.potential_minus.numpy()) < 1e-5 * whole.numbers["epsilon"]


def test_a_stopped_call_goes_on_bitwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plus, minus = two_sets(200, 200, 4)
    whole = efm_fast.couple(plus, minus, epsilon=0.2, tolerance=1e-7)
    monkeypatch.setattr(job, "WRITE_EVERY", 0.0)
    passes, real = 0, plan.Plan.both

    def broken(self: plan.Plan, columns: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal passes
        passes += 1
        if passes == 30:
            raise KeyboardInterrupt
        return real(self, columns)

    monkeypatch.setattr(plan.Plan, "both", broken)
    with pytest.raises(KeyboardInterrupt):
        efm_fast.couple(plus, minus, epsilon=0.2, tolerance=1e-7, cache=tmp_path)
    assert len(list(tmp_path.glob("*.unfinished.safetensors"))) == 1
    resumed = efm_fast.couple(plus, minus, epsilon=0.2, tolerance=1e-7, cache=tmp_path)
    assert torch.equal(resumed.minus, whole.minus)
    assert resumed.potential_minus is not None
    assert whole.potential_minus is not None
    assert torch.equal(resumed.potential_minus, whole.potential_minus)
    assert resumed.numbers == whole.numbers
    assert not list(tmp_path.glob("*.unfinished.*"))


def test_running_out_of_passes_is_told() -> None:
    plus, minus = two_sets(50, 50, 2)
    with pytest.warns(RuntimeWarning, match="marginal error"):
        efm_fast.couple(plus, minus, tolerance=1e-9, max_passes=12)


def test_bad_settings_are_refused() -> None:
    plus, minus = two_sets(5, 5, 2)
    for settings, said in (
        ({"epsilon": 0.0}, "epsilon: expected a finite number above 0"),
        ({"tolerance": -1}, "tolerance: expected"),
        ({"draw": "best"}, "draw: expected one of sample, hardest"),
        ({"reech": 1.0}, "reech: expected a setting of kind='sinkhorn'"),
    ):
        with pytest.raises(InputError, match=said):
            efm_fast.couple(plus, minus, **settings)  # type: ignore[arg-type]
