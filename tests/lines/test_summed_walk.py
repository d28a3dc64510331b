"""Lines at many features: the sums stand in for a search of the nearest charges, and ends are what they were."""

from __future__ import annotations

import pytest
import torch

from efm_fast import native
from efm_fast.lines import Lines, LineStatus, launch, trace_lines
from efm_fast.lines.engine import summed_walk
from efm_fast.lines.engine.charge_sums import ChargeSums
from efm_fast.lines.engine.choice import LineProblem
from efm_fast.lines.engine.pace import Pace
from efm_fast.lines.geometry.nearest import nearest_charges, nearest_of_candidates
from efm_fast.types import Plates

D, LINES = 96, 100


def images(m: int, seed: int, shift: float = 0.0, d: int = D) -> torch.Tensor:
    """Charges with the inner dimension of small images, [m, d]."""
    basis = torch.randn(20, d, generator=torch.Generator().manual_seed(9)) / 20**0.5
    g = torch.Generator().manual_seed(seed)
    inner = torch.randn(m, 20, generator=g)
    return torch.tanh(inner @ basis + shift) + 0.05 * torch.randn(m, d, generator=g)


def capacitor(share: float) -> Plates:
    """Plates apart by ``share`` of the size of the data."""
    plus = images(200, 0)
    return Plates(plus, images(230, 1, 0.3), share * float(plus.std()) * D**0.5)


@pytest.fixture(scope="module", params=[0.05, 0.5])
def plates(request) -> Plates:
    return capacitor(request.param)


def starts(plates: Plates, n: int = LINES) -> tuple[torch.Tensor, torch.Tensor]:
    return launch(plates.plus, torch.arange(n), seed=2)


def traced(plates: Plates, x: torch.Tensor, z: torch.Tensor, **settings) -> Lines:
    return trace_lines(x, z, plates.plus, plates.minus, plates.L, **settings)


@pytest.mark.parametrize("backend", ["cpp", "torch", "reference"])
def test_sums_tell_the_nearest_charges_and_what_the_others_weigh(plates, backend):
    if backend == "cpp" and native.why_missing():
        pytest.skip("the extension is not built")
    x, _ = starts(plates)
    share = torch.linspace(0.05, 1.2, LINES)
    at = (1 - share)[:, None] * x + share[:, None] * plates.minus[:LINES]
    points = torch.cat([at, (share * plates.L)[:, None]], 1)
    view = ChargeSums(LineProblem(points[:, :-1], points[:, -1], plates), backend)(points)
    p, m = points.double(), []
    for charges, height in ((plates.plus, 0.0), (plates.minus, plates.L)):
        y = torch.cat([charges.double(), torch.full((len(charges), 1), height, dtype=torch.float64)], 1)
        m.append((p[:, None] - y[None]).norm(dim=2))
    nearest = torch.minimum(m[0].amin(1), m[1].amin(1))
    assert torch.allclose(view.nearest, nearest, rtol=1e-5)
    own = m[1].amin(1, keepdim=True)
    weights = [(own / r) ** (D + 1) for r in m]
    others = weights[1].sum(1) - 1 + weights[0].sum(1) * len(plates.minus) / len(plates.plus)
    decides = others < 1e3
    assert 10 < int(decides.sum()) < LINES
    assert torch.allclose(view.others[decides], others[decides], rtol=2e-2, atol=1e-6)


def test_ends_are_those_of_tight_lines_that_search_in_less_than_half_the_evaluations(plates):
    x, z = starts(plates)
    summed_tight = traced(plates, x, z, method="dopri5", tolerance=1e-6)
    ours = traced(plates, x, z)
    assert ours.arrived.all()
    assert (ours.charge == summed_tight.charge).double().mean() >= 0.99
    assert torch.equal(ours.end, plates.minus[ours.charge])
    assert (ours.evaluations.double().mean()) <= 120
    assert summed_tight.evaluations.double().mean() > 2 * ours.evaluations.double().mean()
    assert (ours.length / summed_tight.length - 1).abs().quantile(0.9) < 3e-2


def test_what_the_sums_tell_is_what_a_search_finds(plates, monkeypatch):
    x, z = starts(plates, 40)
    ours = traced(plates, x, z, method="dopri5")
    monkeypatch.setattr("efm_fast.lines.trace._SEARCHED", D)
    searched = traced(plates, x, z, method="dopri5")
    assert torch.equal(ours.charge, searched.charge)
    assert torch.equal(ours.status, searched.status)
    assert torch.allclose(ours.length, searched.length, rtol=1e-3)


def test_lines_are_bitwise_the_same_alone_in_any_batch_and_in_any_window(plates, monkeypatch):
    ends = ("end", "end_z", "charge", "status")
    # torch's own matrix products round otherwise for another number of rows
    own_products = native.why_missing() is None and native.extension().bfloat16_available()
    names = (*ends, "length", "evaluations") if own_products else ends
    x, z = starts(plates)
    every = traced(plates, x, z)
    for part in (slice(7, 8), slice(20, 27), slice(40, 90)):
        some = traced(plates, x[part], z[part])
        for name in names:
            assert torch.equal(getattr(some, name), getattr(every, name)[part]), name
    monkeypatch.setattr(summed_walk, "CPU", Pace(16))
    narrow = traced(plates, x, z)
    for name in names:
        assert torch.equal(getattr(narrow, name), getattr(every, name)), name


def test_a_bad_line_never_affects_its_neighbours(plates):
    x, z = starts(plates, 40)
    good = traced(plates, x, z)
    x, z = x.clone(), z.clone()
    x[3] = torch.nan
    x[7], z[7] = plates.plus[5], 0.0
    x[11] = torch.inf
    bad = traced(plates, x, z)
    others = torch.ones(40, dtype=torch.bool)
    others[[3, 7, 11]] = False
    assert torch.equal(bad.end[others], good.end[others])
    assert bad.status[~others].tolist() == [LineStatus.FAILED] * 3
    assert bad.end[[3, 11]].isnan().all()


def test_paths_and_limits(plates):
    x, z = starts(plates, 12)
    lines = traced(plates, x, z, method="bs23", return_paths=True)
    assert torch.equal(lines.paths[0], torch.cat([x, z[:, None]], 1))
    assert torch.equal(lines.paths[-1, :, :-1], lines.end)
    assert torch.equal(lines.end, traced(plates, x, z).end)
    short = traced(plates, x, z, max_steps=2)
    assert (short.status == LineStatus.STEP_LIMIT).all()
    assert (short.evaluations == 1 + 3 * 3).all()


def test_candidates_hold_the_nearest_charge():
    charges = images(300, 4) + 100.0
    points = torch.cat([charges[::7] + 0.02 * images(43, 5), torch.full((43, 1), 0.3)], 1)
    distance, index = nearest_of_candidates(points, charges, 0.1, charges.mean(0))
    want, which = nearest_charges(points, charges, 0.1, 1)
    assert torch.equal(index, which[:, 0])
    assert torch.allclose(distance, want[:, 0], rtol=1e-4)


def test_with_fewer_features_the_sums_tell_what_a_search_finds(monkeypatch):
    plus, minus = images(150, 0, d=24), images(160, 1, 0.3, d=24)
    plates = Plates(plus, minus, 0.3 * float(plus.std()) * 24**0.5)
    x, z = starts(plates, 12)
    searched = traced(plates, x, z, method="dopri5", backend="torch")
    monkeypatch.setattr("efm_fast.lines.trace._SEARCHED", 16)  # as on a CUDA device
    ours = traced(plates, x, z, method="dopri5", backend="torch")
    assert not torch.equal(ours.evaluations, searched.evaluations)
    assert torch.equal(ours.charge, searched.charge)
    assert torch.equal(ours.status, searched.status)
    assert torch.allclose(ours.length, searched.length, rtol=1e-3)


@pytest.mark.parametrize("size", [1.0, 1e-12, 1e-30])
def test_lines_slow_down_in_fields_weaker_than_at_the_start_of_a_step(size):
    toward = torch.nn.functional.normalize(torch.randn(4, 9, generator=torch.Generator().manual_seed(0)))
    rate = toward * (size * torch.tensor([100.0, 1.0, 0.01, 0.0]))[:, None]
    velocity = summed_walk._velocity(rate, torch.full((4,), size, dtype=torch.float64))
    want = torch.tensor([1.0, 0.5**0.5, 0.01, 0.0])
    torch.testing.assert_close(velocity, toward * want[:, None], rtol=1e-4, atol=0)


def test_slowing_down_where_the_plates_cancel_makes_lines_more_exact(plates, monkeypatch):
    x, z = starts(plates)
    tight = traced(plates, x, z, method="dopri5", tolerance=1e-6)

    def error() -> float:
        return float((traced(plates, x, z).length / tight.length - 1).abs().mean())

    slowing = error()
    monkeypatch.setattr(summed_walk, "_EASE", 0.0)
    assert slowing < 0.7 * error()
