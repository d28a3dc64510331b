"""Sums over charges on two and three processes; the checks themselves are in check_sums.py."""

from __future__ import annotations

import pytest
import torch
from launch import run

from efm_fast import Sharding, riesz_sum
from efm_fast.errors import InputError
from efm_fast.field.distributed.plan import bytes_sent
from efm_fast.processes import why_no_messages


def test_two_processes_give_what_one_gives() -> None:
    run("check_sums.py", 2)


def test_three_processes_of_which_one_has_no_charges() -> None:
    run(
        "check_sums.py",
        3,
        "check_sums_with_weights_heights_and_pairs_left_out",
        "check_gradients_by_differences",
    )


def test_a_group_without_processes_is_refused() -> None:
    with pytest.raises(InputError, match="group: expected processes that torchrun started"):
        riesz_sum(torch.zeros(1, 2), torch.zeros(1, 2), power=3, group=Sharding())


def test_gloo_does_not_carry_cuda_tensors() -> None:
    assert why_no_messages("cpu", {"cpu": "gloo"}) is None
    assert why_no_messages("cuda", {"cpu": "gloo", "cuda": "nccl"}) is None
    for served in ({"cpu": "gloo"}, {"cpu": "gloo", "cuda": "gloo"}):
        assert "start it with nccl" in str(why_no_messages("cuda", served))


def test_a_single_process_sends_nothing() -> None:
    facts = {"row": 40, "point": 12, "charge": 12}
    assert bytes_sent([5], [7], facts, "replicated") == {"reduce": [0]}
    assert bytes_sent([5], [7], facts, "sharded") == {"ring": [0], "gather": [0]}
    assert set(bytes_sent([5, 5], [7, None], facts, "sharded")) == {"gather"}
