"""Messages of the checks: one short line that says what came, whatever came."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from efm_fast import checks
from efm_fast.errors import InputError

STRANGE = {
    "tensor": torch.zeros(1000, 1000),
    "meta": torch.zeros((), device="meta"),
    "sparse": torch.zeros(3, 3).to_sparse(),
    "array": np.zeros((1000, 1000)),
    "list": [torch.zeros(1000)] * 1000,
    "text": "long\n" * 1000,
    "number": 10**400,
    "none": None,
    "true": True,
    "dict": {"a": np.zeros(1000)},
    "complex": 1j,
    "function": print,
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize(
    "check",
    [
        checks.positive,
        checks.not_negative,
        checks.count,
        checks.integer,
        lambda n, v: checks.choice(n, v, ["a"]),
    ],
)
def test_whatever_came_is_told_in_one_short_line(check, kind):
    if kind == "number" and check is checks.integer:
        pytest.skip("it is an integer")
    with pytest.raises(InputError, match=r"^step: expected .*, got ") as caught:
        check("step", STRANGE[kind])
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), torch.tensor(2.0), np.array(2.0)])
def test_one_number_of_any_library_is_a_number(value):
    assert checks.positive("step", value) == 2.0
    assert type(checks.positive("step", value)) is float


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2), torch.tensor(2)])
def test_one_integer_of_any_library_is_a_count(value):
    assert type(checks.count("steps", value)) is int


@pytest.mark.parametrize("value", [0, -1, 2.0, 2**31, 10**30, torch.tensor([1, 2]), np.float64(2)])
def test_counts_are_integers_that_the_extension_can_hold(value):
    with pytest.raises(InputError, match="steps: expected an integer of at least 1"):
        checks.count("steps", value)


def test_tensors_are_dense_and_real():
    plain = torch.zeros(3, 2)
    ragged = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)
    for value in (plain.to_sparse(), plain.to_mkldnn(), ragged):
        with pytest.raises(InputError, match=r"x: expected a dense tensor, got a .* tensor of torch.float32"):
            checks.tensor("x", value, ndim=2)
    for value in (plain.bool(), plain.to(torch.complex64)):
        with pytest.raises(InputError, match="x: expected a real dtype, got "):
            checks.tensor("x", value, ndim=2)
