"""Batch k depends on the seed and k alone: not on where the loader started, nor on its workers."""

import itertools

import pytest
import torch

from efm_fast.data import charge_loader, make_source, step_generator
from efm_fast.errors import InputError


def batches(count, **options):
    loader = charge_loader(make_source({"name": "digits", "label": 3}), 5, **options)
    return torch.stack(list(itertools.islice(iter(loader), count)))


def test_resuming_anywhere_yields_the_same_batches():
    whole = batches(7, seed=1)
    assert whole.shape == (7, 5, 192)
    for start in (1, 4):
        assert torch.equal(batches(7 - start, seed=1, start_step=start), whole[start:])
    assert len({tuple(b.flatten().tolist()) for b in whole}) == 7


def test_workers_change_nothing_and_keep_the_order():
    alone = batches(6, seed=2, start_step=3)
    assert torch.equal(batches(6, seed=2, start_step=3, workers=2), alone)


def test_seeds_and_streams_are_independent():
    one = batches(2, seed=1)
    assert not torch.equal(batches(2, seed=2), one)
    other = batches(2, seed=1, stream=1)
    assert not torch.equal(other, one)
    assert not torch.equal(batches(2, seed=1, split="test"), one)
    a, b = (torch.rand(5000, generator=step_generator(1, 0, stream)) for stream in (0, 1))
    assert torch.stack([a, b]).corrcoef()[0, 1].abs() < 0.05


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(0)
    batches(2, seed=1, workers=1)
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), after)


def test_bad_numbers_are_named():
    source = make_source("moons")
    with pytest.raises(InputError, match="batch: expected an integer of at least 1, got 0"):
        charge_loader(source, 0, seed=0)
    with pytest.raises(InputError, match="start_step: expected an integer of at least 0, got -1"):
        charge_loader(source, 1, seed=0, start_step=-1)
    with pytest.raises(InputError, match="seed: expected"):
        charge_loader(source, 1, seed=0.5)
