"""Pairs of whole sets: exact, the same after a resume, and renewed while training goes on."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from efm_fast import train
from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.methods.pairs import PairBank, transport_pairs


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank(**changes: object) -> PairBank:
    plus = make_source({"name": "gaussian", "dimension": 3})
    minus = make_source({"name": "gaussian", "dimension": 3, "std": 2.0})
    return PairBank(plus, minus, **{"coupling": "ot", "rows": 64, "refresh": 10, "seed": 0, **changes})


def test_pairs_are_those_of_the_optimal_assignment() -> None:
    made = bank()
    plus, minus = made.draw(600, generator(), 3)
    (every_plus, every_minus), _, _ = made._solved(0)
    row, column = linear_sum_assignment(torch.cdist(every_plus, every_minus).square().numpy())
    partner = dict(zip(row.tolist(), column.tolist(), strict=True))
    for x, y in zip(plus, minus, strict=True):
        assert torch.equal(y, every_minus[partner[int((every_plus == x).all(1).nonzero()[0])]])
    assert len(plus.unique(dim=0)) > 60  # of 64 rows


@pytest.mark.parametrize("coupling", ["sinkhorn", "nearest"])
def test_other_couplings_bring_pairs_nearer_than_random_ones(coupling: str) -> None:
    plus, minus = bank(coupling=coupling).draw(400, generator(), 0)
    random = (plus - minus.roll(1, 0)).square().sum(1).mean()
    assert (plus - minus).square().sum(1).mean() < 0.7 * random


def test_a_bank_depends_on_seed_and_edition_alone() -> None:
    straight, jumped = bank(), bank()
    for step in range(25):
        last = straight.draw(16, generator(step), step)
    for a, b in zip(last, jumped.draw(16, generator(24), 24), strict=True):
        assert torch.equal(a, b)
    back = jumped.draw(16, generator(5), 5)
    for a, b in zip(back, bank().draw(16, generator(5), 5), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(back[0], bank(seed=1).draw(16, generator(5), 5)[0])
    assert not torch.equal(back[0], bank().draw(16, generator(5), 15)[0])


def test_a_batch_may_pair_more_rows_than_it_takes() -> None:
    plus, minus = torch.randn(40, 2, generator=generator()), torch.randn(40, 2, generator=generator(1))
    left, right = transport_pairs(plus, minus, generator(), 8)
    assert left.shape == right.shape == (8, 2)
    found = linear_sum_assignment(torch.cdist(plus, minus).square().numpy())[1]
    for x, y in zip(left, right, strict=True):
        assert torch.equal(minus[found[int((plus == x).all(1).nonzero()[0])]], y)


@pytest.mark.parametrize(
    "pairs",
    [
        {"kind": "whole_set", "rows": 64, "refresh": 4},
        {"kind": "optimal_transport", "rows": 48},
        "optimal_transport",
    ],
)
def test_training_takes_every_kind(pairs: object, tmp_path: object) -> None:
    settings = {"method.name": "flow_matching", "method.pairs": pairs, "runs": str(tmp_path)}
    settings |= {"train.steps": 9, "train.batch": 16, "net.width": 16}
    run = train("gaussian_to_swissroll", settings, progress=False)
    assert run.step == 9


def test_a_setting_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"method.pairs.refresh"):
        train(
            "gaussian_to_swissroll",
            {"method.name": "flow_matching", "method.pairs": {"kind": "independent", "refresh": 3}},
        )
