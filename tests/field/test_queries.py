import pytest
import torch

from efm_fast.errors import InputError
from efm_fast.field.queries import KINDS, query_set


def _r2(x, y):
    return torch.cdist(x.double(), y.double()) ** 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("uint8", [False, True])
def test_shapes_dtypes_and_seed(kind, uint8):
    first, again = (query_set(kind, 5, 8, 3, seed=4, uint8=uint8) for _ in range(2))
    assert first.x.shape == (5, 3)
    assert first.z.shape == (5,)
    assert first.plus.shape == first.minus.shape == (8, 3)
    assert first.plus.dtype == (torch.uint8 if uint8 else torch.float32)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.minus, again.minus)
    assert not torch.equal(first.x, query_set(kind, 5, 8, 3, seed=5, uint8=uint8).x)


@pytest.mark.parametrize("uint8", [False, True])
def test_a_tie_is_equally_far_from_two_positive_charges(uint8):
    q = query_set("tie", 20, 32, 64, uint8=uint8)
    nearest = _r2(q.x, q.plus).sort(1).values
    assert ((nearest[:, 1] - nearest[:, 0]) / nearest[:, 0]).max() < 1e-6
    assert ((nearest[:, 2] - nearest[:, 0]) / nearest[:, 0]).min() > 0.01


def test_a_plate_tie_is_equally_far_from_both_plates():
    q = query_set("plate_tie", 20, 32, 64)
    plus = _r2(q.x, q.plus).amin(1) + q.z**2
    minus = _r2(q.x, q.minus).amin(1) + (q.z - q.L) ** 2
    torch.testing.assert_close(plus, minus, rtol=1e-9, atol=0)
    assert ((q.z > 0) & (q.z < q.L)).all()


def test_twins_are_a_thousandth_apart_and_the_point_between_them():
    q = query_set("twin", 20, 32, 64)
    nearest = _r2(q.x, q.plus).sqrt().sort(1).values / q.L
    assert nearest[:, 1].max() < 3e-3
    assert nearest[:, 2].min() > 0.1


def test_unknown_kind_names_the_near_one():
    with pytest.raises(InputError, match=r"kind: expected one of .* did you mean plate_tie"):
        query_set("plate_ties", 1, 2, 2)
