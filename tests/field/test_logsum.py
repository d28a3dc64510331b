"""The merge: sums over parts of the charges, of the points, and in other units, agree with the sum over all."""

from __future__ import annotations

import torch
from field_checks import unscaled

from efm_fast import RieszSum
from efm_fast.field import LogSum, riesz_sum
from efm_fast.field.logsum import CentredSum


def sums(m: int = 40) -> tuple[LogSum, LogSum, LogSum]:
    """Sums over all of some charges, and over either half of them."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (6, m))
    whole, *halves = (riesz_sum(x, part, power=4) for part in (y, y[: m // 2], y[m // 2 :]))
    return whole, halves[0], halves[1]


def centred(total: LogSum) -> CentredSum:
    """The same sum split about the origin, as if half of w were common to all displacements."""
    return CentredSum(total.m, total.w, 0.5 * total.w, total.v, torch.zeros(3))


def test_halves_merge_to_the_whole() -> None:
    whole, left, right = sums()
    torch.testing.assert_close(unscaled(left.merge(right)), unscaled(whole))
    nothing = LogSum.empty(6, 3, dtype=torch.float64, device="cpu")
    assert torch.equal(unscaled(nothing.merge(left)), unscaled(left))
    split = centred(left).merge(centred(right))
    torch.testing.assert_close(split.along, 0.5 * split.w)
    assert torch.equal(split.rest, left.merge(right).v)


def test_infinite_scales_count_as_equal_and_outweigh_all() -> None:
    one = torch.ones(3, dtype=torch.float64)
    on = LogSum(torch.tensor([torch.inf, torch.inf, -torch.inf]), one, one[:, None].expand(3, 2))
    off = LogSum(torch.tensor([torch.inf, 5.0, -torch.inf]), one, one[:, None].expand(3, 2))
    assert on.merge(off).w.tolist() == [2.0, 1.0, 2.0]
    assert on.weight_at(torch.full((3,), torch.inf)).tolist() == [1.0, 1.0, 0.0]


def test_sums_of_other_charges_are_multiples() -> None:
    whole, *_ = sums()
    for kind in (whole, centred(whole)):
        halved = kind.times(torch.tensor(-0.5, dtype=torch.float64))
        merged = halved.merge(halved).merge(kind)
        assert merged.w.abs().max() < 1e-14
        assert torch.equal((-kind).w, -whole.w)


def test_the_sum_over_points_is_one_row() -> None:
    whole, *_ = sums()
    charge = torch.linspace(-1.0, 2.0, 6, dtype=torch.float64)
    one = unscaled(whole.over_points(charge))
    torch.testing.assert_close(one, (charge[:, None] * unscaled(whole)).sum(0, keepdim=True))


def test_blocks_of_points_are_one_sum() -> None:
    whole, *_ = sums()
    blocks = [LogSum(whole.m[part], whole.w[part], whole.v[part]) for part in (slice(0, 2), slice(2, 6))]
    assert torch.equal(unscaled(LogSum.rows(blocks)), unscaled(whole))
    split = CentredSum.rows([centred(block) for block in blocks])
    assert split.along is not None
    assert torch.equal(split.along, 0.5 * whole.w)


def test_the_earlier_name_is_the_same_type() -> None:
    assert isinstance(sums()[0], RieszSum)
