"""A sample of the fuzzers' cases; ``make fuzz`` runs thousands of others."""

from __future__ import annotations

import pytest

from .script import FUZZERS, run


@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("name", FUZZERS)
def test_a_sample_of_cases_agrees_with_float64(name, part):
    failures = []
    for seed in range(10_000_000 + 34 * part, 10_000_000 + 34 * (part + 1)):
        outcome = run(name, seed)
        if outcome.worst > 1:
            failures.append(f"python -m tests.fuzz.script --fuzzer {name} --seed {seed} --cases 1: {outcome}")
    assert not failures, "\n".join(failures)


def test_a_wrong_sum_is_seen(monkeypatch):
    """Each fuzzer can fail: charges moved by a thousandth of their distances are found."""
    from efm_fast.field import torch_op

    honest = torch_op.call

    def moved(request, backend):
        total = honest(request, backend)
        return type(total)(total.m, total.w * 1.001, total.v * 0.999)

    monkeypatch.setattr(torch_op, "call", moved)
    for name in FUZZERS:
        assert any(run(name, seed).worst > 1 for seed in range(40)), name
