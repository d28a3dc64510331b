"""Plates without charge are refused, and what is not a number stays visible, on every backend."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from field_checks import cases

from efm_fast.errors import InputError
from efm_fast.field import capacitor_field, capacitor_potential, energy, potential, riesz_sum


def _capacitor(d):
    generator = torch.Generator().manual_seed(0)
    x, plus, minus = (torch.randn(n, d, generator=generator) for n in (4, 9, 7))
    return x, torch.rand(4, generator=generator), plus, minus


NOTHING = {
    "no charges": lambda y: (y[:0], None),
    "no weight": lambda y: (y, torch.zeros(len(y))),
    "weights that cancel": lambda y: (y[:2], torch.tensor([1.0, -1.0])),
}


@pytest.mark.parametrize("kind", NOTHING)
@pytest.mark.parametrize("name", ["plus", "minus"])
@pytest.mark.parametrize(("backend", "d"), cases(2, 40))
def test_a_plate_without_charge_is_refused(backend, d, name, kind):
    x, z, plus, minus = _capacitor(d)
    plates = {"plus": plus, "minus": minus}
    plates[name], weight = NOTHING[kind](plates[name])
    options = {f"{name}_weight": weight, "backend": backend}
    for call in (
        lambda: capacitor_field(x, z, plates["plus"], plates["minus"], 1.0, **options),
        lambda: capacitor_potential(x, z, plates["plus"], plates["minus"], 1.0, **options),
        lambda: energy(plates["plus"], plates["minus"], 1.0, **options),
    ):
        with pytest.raises(InputError, match=f"{name}: expected charges whose weights do not add up to 0"):
            call()
    if weight is None:
        streamed = {key: y.numpy() for key, y in plates.items()}
        with pytest.raises(InputError, match=f"{name}: expected charges"):
            capacitor_field(x, z, streamed["plus"], streamed["minus"], 1.0, backend=backend)


def test_a_generator_that_is_spent_is_no_plate():
    x, z, plus, _ = _capacitor(3)
    chunks = (part for part in plus.split(4))
    with pytest.raises(InputError, match="minus: expected charges"):
        capacitor_field(x, z, chunks, chunks, 1.0)


@pytest.mark.parametrize("per_plate", [False, True])
@pytest.mark.parametrize("where", ["z", "x"])
@pytest.mark.parametrize(("backend", "d"), cases(2, 40, 100))
def test_a_point_that_is_no_number_has_no_direction(backend, d, where, per_plate):
    x, z, plus, minus = _capacitor(d)
    clean = capacitor_field(x, z, plus, minus, 1.0, backend=backend)
    (z if where == "z" else x)[1] = math.nan
    normalization = "per_plate" if per_plate else "superposition"
    field = capacitor_field(x, z, plus, minus, 1.0, backend=backend, normalization=normalization)
    assert field.direction[1].isnan().all()
    assert field.log_norm[1].isnan()
    assert torch.isfinite(field.direction[[0, 2, 3]]).all()
    if not per_plate:
        torch.testing.assert_close(
            field.direction[[0, 2, 3]], clean.direction[[0, 2, 3]], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("what", ["plus", "minus", "plus_weight"])
@pytest.mark.parametrize(("backend", "d"), cases(2, 40, 100))
def test_a_charge_that_is_no_number_spoils_every_row(backend, d, what):
    x, z, plus, minus = _capacitor(d)
    given = {"plus": plus, "minus": minus, "plus_weight": torch.rand(9)}
    given[what][3] = math.nan
    field = capacitor_field(x, z, L=1.0, backend=backend, **given)
    assert field.direction.isnan().all()
    assert field.log_norm.isnan().all()
    y, q = (minus, None) if what == "minus" else (plus, given["plus_weight"])
    assert potential(x, y, weight=q, backend=backend).log_abs.isnan().all()


def test_arrays_of_any_byte_order_are_read_and_masks_refused():
    x, _, plus, _ = _capacitor(3)
    want = riesz_sum(x, plus, power=4)
    for order in (">", "<", "="):
        array = plus.numpy().astype(np.dtype(np.float32).newbyteorder(order))
        assert torch.equal(riesz_sum(x, array, power=4).v, want.v)
    hidden = np.ma.MaskedArray(plus.numpy(), mask=plus.numpy() > 1)
    with pytest.raises(InputError, match="y: expected an array without a mask"):
        riesz_sum(x, hidden, power=4)
    for strange in (
        plus.numpy().astype(str),
        np.array([[object()] * 3]),
        np.zeros((2, 3), dtype="datetime64[s]"),
    ):
        with pytest.raises(InputError, match="y: expected numbers that torch can hold, got dtype"):
            riesz_sum(x, strange, power=4)
