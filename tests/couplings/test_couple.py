"""The kinds without a schedule, the cache, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import efm_fast
from efm_fast.errors import InputError, RunError


@pytest.fixture
def sets() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(60, 3, generator=generator), torch.randn(60, 3, generator=generator) + 0.5


def test_optimal_transport_is_the_best_assignment(sets: tuple[Tensor, Tensor]) -> None:
    plus, minus = sets
    c = (plus.double()[:, None] - minus.double()).square().sum(2)
    row, column = linear_sum_assignment(c.numpy())
    found = efm_fast.couple(plus, minus, kind="ot")
    assert found.plus.tolist() == row.tolist()
    assert found.minus.tolist() == column.tolist()
    assert found.cost == pytest.approx(float(c[row, column].mean()))


def test_optimal_transport_of_unequal_sets_has_the_right_marginals(sets: tuple[Tensor, Tensor]) -> None:
    plus, minus = sets[0], sets[1][:40]
    found = efm_fast.couple(plus, minus, kind="ot")
    for index, size in ((found.plus, 60), (found.minus, 40)):
        mass = torch.zeros(size, dtype=torch.float64).index_add_(0, index, found.weight)
        torch.testing.assert_close(mass, torch.full_like(mass, 1 / size))


def test_nearest_is_nearest_also_among_twins() -> None:
    generator = torch.Generator().manual_seed(0)
    minus = 1000.0 + torch.randn(50, 200, generator=generator)
    twins = torch.cat([minus, minus + 1e-4])  # far from 0, and nearer to each other than a product can tell
    plus = minus + 0.3e-4
    found = efm_fast.couple(plus, twins, kind="nearest", both_ways=True)
    wanted = (plus.double()[:, None] - twins.double()).square().sum(2)
    assert torch.equal(found.minus[:50], wanted.argmin(1))
    assert torch.equal(found.plus[50:], wanted.argmin(0))
    assert float(found.weight[:50].sum()) == pytest.approx(0.5)


def test_independent_pairs_take_each_datum_equally_often(sets: tuple[Tensor, Tensor]) -> None:
    plus, minus = sets[0], sets[1][:20]
    found = efm_fast.couple(plus, minus, kind="independent", pairs=120)
    assert set(found.plus.bincount().tolist()) == {2}
    assert set(found.minus.bincount().tolist()) == {6}
    other = efm_fast.couple(plus, minus, kind="independent", pairs=120, seed=1)
    assert not torch.equal(found.minus, other.minus)


def test_images_of_bytes_and_arrays_are_taken_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 4, 4), generator=generator).to(torch.uint8)
    one = efm_fast.couple(images[:10], images[10:], kind="nearest")
    other = efm_fast.couple(images[:10].float().numpy(), np.asarray(images[10:].float()), kind="nearest")
    assert torch.equal(one.minus, other.minus)
    assert one.cost == pytest.approx(other.cost)


def test_a_read_only_map_of_a_file_is_read_where_it_is(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randint(0, 256, (30, 12), generator=generator).to(torch.uint8).numpy()
    np.save(tmp_path / "data.npy", data)
    mapped = np.load(tmp_path / "data.npy", mmap_mode="r")
    one = efm_fast.couple(mapped[:15], mapped[15:], kind="nearest")
    assert torch.equal(one.minus, efm_fast.couple(data[:15], data[15:], kind="nearest").minus)


def test_pairs_are_drawn_by_their_weights(sets: tuple[Tensor, Tensor]) -> None:
    plus, minus = sets[0], sets[1][:7]
    found = efm_fast.couple(plus, minus, kind="ot")
    drawn = found.draw(40000, torch.Generator().manual_seed(0))
    share = drawn[1].bincount(minlength=7).double() / 40000
    torch.testing.assert_close(share, torch.full_like(share, 1 / 7), atol=0.01, rtol=0)
    pairs = set(zip(found.plus.tolist(), found.minus.tolist(), strict=True))
    assert set(zip(*(part.tolist() for part in drawn), strict=True)) <= pairs


@pytest.mark.parametrize("kind", ["sinkhorn", "ot", "nearest", "independent"])
def test_a_cached_coupling_is_read_again(
    kind: str, sets: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = efm_fast.couple(*sets, kind=kind, cache=tmp_path)  # type: ignore[arg-type]
    with monkeypatch.context() as broken:
        broken.setattr("efm_fast.couplings.record._distances", None)
        again = efm_fast.couple(*sets, kind=kind, cache=tmp_path)  # type: ignore[arg-type]
    for name in ("plus", "minus", "weight", "distance", "evaluations"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    assert (first.kind, first.counts, first.numbers) == (again.kind, again.counts, again.numbers)
    moved = sets[0].clone()
    moved[3, 1] += 1e-6
    monkeypatch.setattr("efm_fast.couplings.record._distances", None)
    for change in ({"seed": 1}, {"plus": moved}):
        arguments = {"plus": sets[0], "minus": sets[1], "kind": kind, "cache": tmp_path} | change
        with pytest.raises(TypeError):  # made anew
            efm_fast.couple(**arguments)


def test_a_damaged_cache_is_told(sets: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    efm_fast.couple(*sets, kind="nearest", cache=tmp_path)
    path = next(tmp_path.glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        efm_fast.couple(*sets, kind="nearest", cache=tmp_path)


def test_bad_data_is_refused(sets: tuple[Tensor, Tensor]) -> None:
    plus, minus = sets
    bad = plus.clone()
    bad[2, 1] = torch.nan
    for arguments, said in (
        ((bad, minus), "plus: expected finite numbers"),
        ((plus, minus[:, :2]), "minus: expected 3 features, got 2"),
        ((plus[:0], minus), "plus: expected at least one datum"),
        ((plus.tolist(), minus), "plus: expected a tensor or a numpy array"),
    ):
        with pytest.raises(InputError, match=said):
            efm_fast.couple(*arguments, kind="nearest")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="kind: expected one of"):
        efm_fast.couple(plus, minus, kind="nearst")  # type: ignore[arg-type]


def test_equal_data_are_paired() -> None:
    same = torch.full((6, 2), 0.1), torch.full((5, 2), 0.1)
    for settings in ({}, {"kind": "ot"}, {"kind": "lines"}, {"kind": "nearest"}):
        coupling = efm_fast.couple(*same, **settings)  # type: ignore[arg-type]
        assert coupling.cost == 0.0
        assert coupling.weight.sum() == pytest.approx(1.0)


def test_lines_end_on_data_that_a_set_holds_twice(sets: tuple[Tensor, Tensor]) -> None:
    plus, minus = sets
    settings = {"kind": "lines", "L": 0.5, "both_ways": False}
    once = efm_fast.couple(plus, minus, **settings)  # type: ignore[arg-type]
    twice = efm_fast.couple(plus, minus.repeat(2, 1), **settings)  # type: ignore[arg-type]
    assert torch.equal(once.minus, twice.minus)
    assert torch.equal(once.plus, twice.plus)


def test_a_cache_that_is_a_file_is_told(sets: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*file: File exists"):
        efm_fast.couple(*sets, cache=tmp_path / "file")
