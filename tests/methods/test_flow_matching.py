"""Flow matching: paths between pairs, and samples that follow their mean velocity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efm_fast import sample, train
from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.lines import Support
from efm_fast.methods import Problem, Travel
from efm_fast.methods.flow_matching import FlowMatching, FlowMatchingSettings, transport_pairs
from efm_fast.methods.learned import LearnedField
from efm_fast.types import Geometry, Plates

GEOMETRY = Geometry(4.0, 4.0, 0.4, (2,), (0.0, 0.0), radius=2.0, scale=1.0, low=-2.0, high=2.0)


def method(**settings: object) -> FlowMatching:
    source = make_source({"name": "gaussian", "dimension": 2})
    return FlowMatching(
        FlowMatchingSettings(name="flow_matching", **settings), Problem(GEOMETRY, source, source, 0)
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_points_lie_on_straight_paths_and_depend_on_the_generator_alone() -> None:
    plus, minus = torch.randn(50, 2, generator=generator(1)), torch.randn(50, 2, generator=generator(2)) + 5
    plates = Plates(plus, minus, GEOMETRY.L)
    torch.manual_seed(5)
    points = method().points(plates, 50, generator(), 0)
    t = (points.z / GEOMETRY.L)[:, None]
    torch.testing.assert_close(points.x, (1 - t) * plus + t * minus)
    torch.testing.assert_close(points.velocity, minus - plus)
    torch.manual_seed(6)
    again = method().points(plates, 50, generator(), 3)
    assert torch.equal(points.x, again.x)
    wide = method(sigma=0.5).points(plates, 50, generator(), 0)
    spread = (wide.x - points.x).std()
    assert 0.4 < float(spread) < 0.6


def test_optimal_transport_pairs_are_those_of_the_assignment() -> None:
    from scipy.optimize import linear_sum_assignment

    plus, minus = torch.randn(40, 2, generator=generator(1)), torch.randn(40, 2, generator=generator(2))
    rows, columns = linear_sum_assignment(torch.cdist(plus, minus).square().numpy())
    wanted = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    before = torch.get_rng_state()
    left, right = transport_pairs(plus, minus, generator())
    assert torch.equal(before, torch.get_rng_state())
    for x, y in zip(left, right, strict=True):
        row = int((plus == x).all(1).nonzero()[0])
        assert torch.equal(minus[wanted[row]], y)
    again = transport_pairs(plus, minus, generator())
    assert torch.equal(again[0], left)


class Shift(nn.Module):
    """The velocity of a plain shift by (1, -2)."""

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([1.0, -2.0]).expand(len(x), 1, 2), torch.zeros(len(x))


@pytest.mark.parametrize("solver", ["euler", "heun", "midpoint", "rk4", "multistep"])
def test_samples_follow_the_velocity_there_and_back(solver: str) -> None:
    flow = method(sample={"solver": solver, "steps": 4})
    field = LearnedField(Shift(), flow.parametrisation, GEOMETRY)
    x0 = torch.randn(5, 2, generator=generator())
    support = Support.of(x0, x0)
    there = flow.sample(field, x0, support, Travel(return_paths=True))
    torch.testing.assert_close(there.end, x0 + torch.tensor([1.0, -2.0]))
    assert there.end_z.tolist() == [GEOMETRY.L] * 5
    assert (
        int(there.evaluations[0])
        == 4 * {"euler": 1, "heun": 2, "midpoint": 2, "rk4": 4, "multistep": 1}[solver]
    )
    back = flow.sample(field, there.end, support, Travel(reverse=True, steps=3))
    torch.testing.assert_close(back.end, x0)
    assert back.end_z.tolist() == [0.0] * 5
    with pytest.raises(InputError, match=r"^max_steps: the flow map takes steps, got max_steps=3"):
        flow.sample(field, x0, support, Travel(max_steps=3))


def test_a_flow_learns_a_shift(tmp_path: object) -> None:
    rows = torch.randn(400, 2, generator=generator())
    settings = {
        "name": "flow",
        "plus": rows,
        "minus": rows + torch.tensor([3.0, 0.0]),
        "runs": str(tmp_path),
        "method": {"name": "flow_matching", "pairs": "optimal_transport"},
        "net": {"width": 32, "depth": 2},
        "train": {"steps": 300, "batch": 128, "lr": 5e-3, "ema": 0.9},
    }
    run = train(settings, progress=False)
    x0 = torch.randn(100, 2, generator=generator(3))
    ends = sample(run, x0, steps=10).end
    moved = ends - x0
    assert float((moved - torch.tensor([3.0, 0.0])).norm(dim=1).median()) < 0.5


def test_pairs_of_a_large_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of 4200 x 4200 has more entries than torch.multinomial draws from at once."""
    from torchcfm.optimal_transport import OTPlanSampler

    count = 4200
    shifted = np.roll(np.eye(count), 1, axis=1) / count
    monkeypatch.setattr(OTPlanSampler, "get_map", lambda self, x0, x1: shifted)
    rows = torch.arange(float(count))[:, None]
    left, right = transport_pairs(rows, rows, generator())
    assert torch.equal((left + 1) % count, right)
    assert len(left.unique()) > count / 2
