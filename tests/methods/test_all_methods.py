"""What every method of the table keeps: it trains, samples both ways, and gives points for a loop of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import efm_fast
from efm_fast.errors import InputError
from efm_fast.methods import METHODS
from efm_fast.nets import MLP

TOY = "gaussian_to_swissroll"
SMALL = {"train.steps": 4, "train.batch": 32, "net.width": 16, "net.depth": 1, "train.ema": 0.5}
ROWS: list[dict[str, Any]] = [
    *({"method.name": name} for name in METHODS),
    {"method.name": "pfgm++", "method.d": "inf", "method.charges": 64},
    {"method.name": "pfgm++", "method.d": 1.0, "method.sample.spacing": "log"},
    {"method.name": "interaction_field", "method.pairs": "all"},
    {"method.name": "interaction_field", "method.form": "published", "method.sample.solver": "heun"},
    {"method.name": "flow_matching", "method.sample.solver": "multistep"},
    {"method.name": "pfgm", "method.sample.solver": "multistep"},
    {"method.sample.map": "forward", "method.sample.solver": "multistep"},
]


@pytest.mark.parametrize("settings", ROWS, ids=lambda row: "-".join(map(str, row.values())))
def test_every_method_trains_and_samples_both_ways(settings: dict[str, Any], tmp_path: Path) -> None:
    run = efm_fast.train(TOY, {**SMALL, **settings, "runs": str(tmp_path)}, progress=False)
    lines = efm_fast.sample(run, n=8, return_paths=True)
    assert lines.end.shape == (8, 2)
    back = efm_fast.sample(run, n=8, reverse=True)
    assert back.end.shape == (8, 2)
    again = efm_fast.sample(efm_fast.load(run.folder), n=8)
    assert torch.equal(again.end.nan_to_num(), lines.end.nan_to_num())


@pytest.mark.parametrize("name", METHODS)
def test_a_loop_of_ones_own_learns(name: str) -> None:
    """Points and targets of ``sample_location`` are all that a training loop needs."""
    method = efm_fast.method_for(TOY, {"method.name": name})
    generator = torch.Generator().manual_seed(0)
    x0, x1 = method.problem.plus.draw(128, generator), method.problem.minus.draw(128, generator)
    z, x, target = method.sample_location(x0, x1, generator)
    assert z.shape == (128,)
    assert x.shape == (128, 2)
    torch.manual_seed(0)
    backbone = MLP(method.problem.geometry, method.parametrisation.groups, width=64, depth=2)
    network = method.field(backbone)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = method.loss(network, z, x, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.97 * losses[0]


def test_sample_location_depends_on_the_generator_alone_and_checks_its_data() -> None:
    method = efm_fast.method_for(TOY, {"method.name": "flow_matching"})
    x0, x1 = torch.zeros(16, 2), torch.ones(16, 2)
    first, second = (method.sample_location(x0, x1, torch.Generator().manual_seed(3)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(first[2], x1 - x0)
    with pytest.raises(InputError, match=r"^x1: expected 16 rows, got shape \(8, 2\)"):
        method.sample_location(x0, x1[:8], torch.Generator())
    with pytest.raises(InputError, match=r"^x0: expected 2 columns"):
        method.sample_location(x0[:, :1], x1, torch.Generator())
