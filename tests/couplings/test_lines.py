"""Couplings by field lines: their pairs beside lines traced one by one, their marginals, and their resumption."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import efm_fast
from efm_fast.couplings import job
from efm_fast.couplings import lines as module
from efm_fast.errors import InputError


def two_sets(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator) + 0.5


@pytest.mark.parametrize("d", [3, 100])
def test_pairs_are_the_ends_of_perpendicular_lines(d: int) -> None:
    plus, minus = two_sets(25, 30, d)
    found = efm_fast.couple(plus, minus, kind="lines", L=1.0)
    assert found.plus[:25].tolist() == list(range(25))
    assert found.minus[25:].tolist() == list(range(30))
    z = torch.full((25,), 1e-3)
    there = efm_fast.trace_lines(plus, z, plus, minus, 1.0)
    assert there.charge is not None
    assert torch.equal(found.minus[:25], there.charge)
    back = efm_fast.trace_lines(minus, torch.full((30,), 1e-3), minus, plus, 1.0)
    assert back.charge is not None
    assert torch.equal(found.plus[25:], back.charge)
    assert float(found.weight[:25].sum()) == pytest.approx(0.5)
    assert sum(found.counts.values()) == 55


def test_far_plates_pair_the_nearest_and_bytes_do_as_floats_do() -> None:
    generator = torch.Generator().manual_seed(0)
    plus, minus = (torch.randint(0, 256, (40, 80), generator=generator).to(torch.uint8) for _ in range(2))
    found = efm_fast.couple(plus, minus, kind="lines", L=700.0, both_ways=False)
    as_floats = efm_fast.couple(plus.float(), minus.float(), kind="lines", L=700.0, both_ways=False)
    assert torch.equal(found.minus, as_floats.minus)
    nearest = efm_fast.couple(plus, minus, kind="nearest")
    assert float((found.minus == nearest.minus).double().mean()) > 0.6


def test_lines_in_flux_directions_reach_all_charges_alike() -> None:
    plus, minus = two_sets(10, 5, 2)
    found = efm_fast.couple(plus, minus, kind="lines", L=2.0, direction="flux", each=200, both_ways=False)
    share = found.minus.bincount(minlength=5).double() / len(found)
    torch.testing.assert_close(share, torch.full_like(share, 0.2), atol=0.03, rtol=0)
    perpendicular = efm_fast.couple(plus, minus, kind="lines", L=2.0, both_ways=False)
    assert sorted(perpendicular.minus.bincount(minlength=5).tolist()) != [2] * 5


@pytest.mark.parametrize("sizes", [(30, 30), (30, 20), (20, 30)])
def test_balanced_lines_take_each_charge_once(sizes: tuple[int, int]) -> None:
    plus, minus = two_sets(*sizes, 5)
    found = efm_fast.couple(plus, minus, kind="lines", L=0.1, balanced=True, both_ways=False)
    assert len(found) == min(sizes)
    assert len(found.plus.unique()) == len(found.minus.unique()) == min(sizes)
    assert found.cost < efm_fast.couple(plus, minus, kind="independent").cost


def test_a_stopped_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plus, minus = two_sets(40, 40, 3)
    settings = {"kind": "lines", "L": 0.5, "direction": "flux", "each": 2}
    monkeypatch.setattr(module, "_CHUNK", 16)
    whole = efm_fast.couple(plus, minus, **settings)  # type: ignore[arg-type]
    monkeypatch.setattr(job, "WRITE_EVERY", 0.0)
    traced, real = 0, module.trace_lines

    def counted(*args: object, **kwargs: object) -> object:
        nonlocal traced
        traced += 1
        if traced == 6:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "trace_lines", counted)
    with pytest.raises(KeyboardInterrupt):
        efm_fast.couple(plus, minus, cache=tmp_path, **settings)  # type: ignore[arg-type]
    resumed = efm_fast.couple(plus, minus, cache=tmp_path, **settings)  # type: ignore[arg-type]
    assert traced == 11  # ten chunks, one of them broken off
    for name in ("plus", "minus", "weight", "evaluations"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name)), name
    assert resumed.counts == whole.counts


def test_lines_that_reach_nothing_are_told_and_left_out() -> None:
    plus, minus = two_sets(30, 30, 3)
    with pytest.warns(RuntimeWarning, match=r"of 30 lines reached no charge and are left out"):
        found = efm_fast.couple(plus, minus, kind="lines", L=0.5, both_ways=False, max_steps=16)
    assert 0 < len(found) < 30
    assert found.counts["step limit"] == 30 - len(found)


def test_settings_without_effect_are_refused() -> None:
    plus, minus = two_sets(5, 5, 2)
    for settings, said in (
        ({"each": 2}, "each: expected 1 for perpendicular lines"),
        ({"balanced": True}, "balanced: expected both_ways=False"),
        ({"L": -1.0}, "L: expected"),
        ({"direction": "up"}, "direction: expected one of"),
    ):
        with pytest.raises(InputError, match=said):
            efm_fast.couple(plus, minus, kind="lines", **settings)  # type: ignore[arg-type]
