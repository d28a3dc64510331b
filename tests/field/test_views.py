"""Sums see numbers as torch shows them: negative-bit views, default devices, layouts of every kind."""

from __future__ import annotations

import pytest
import torch
from field_checks import assert_sum_close, cases

from efm_fast.field import (
    capacitor_field,
    capacitor_potential,
    energy,
    gaussian_sum,
    potential,
    riesz_sum,
)


def _negated(values):
    """A view that holds ``-values`` in memory and shows ``values``."""
    view = torch.complex(torch.zeros_like(values), -values).conj().imag
    assert view.is_neg()
    assert torch.equal(view, values)
    return view


def _draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("which", ["x", "y", "weight", "height"])
@pytest.mark.parametrize(("backend", "d"), cases(2, 40, 100))
@pytest.mark.parametrize("precision", ["default", "exact"])
def test_a_view_that_negates_is_read_as_it_shows(backend, d, which, precision):
    plain = {
        "x": _draw(6, d),
        "y": _draw(9, d, seed=1),
        "weight": _draw(9, seed=2),
        "height": _draw(6, seed=3),
    }
    views = {**plain, which: _negated(plain[which])}
    for sum_, scale in ((riesz_sum, {"power": d + 1}), (gaussian_sum, {"bandwidth": d**0.5})):
        got, want = (sum_(**given, **scale, backend=backend, precision=precision) for given in (views, plain))
        assert torch.equal(got.m, want.m)
        assert torch.equal(got.w, want.w)
        assert torch.equal(got.v, want.v)


@pytest.mark.parametrize(("backend", "d"), cases(2, 40))
def test_gradients_of_and_through_views_that_negate(backend, d):
    def gradients(view):
        leaves = [
            _draw(6, d).requires_grad_(),
            _draw(9, d, seed=1).requires_grad_(),
            _draw(9, seed=2).requires_grad_(),
        ]
        x, y, weight = (view(leaf) for leaf in leaves)
        total = riesz_sum(x, y, power=d + 1, weight=weight, height=1.0, backend=backend)
        upstream = view(_draw(6, d, seed=4)), view(_draw(6, seed=5))
        return torch.autograd.grad((total.v, total.w), leaves, upstream)

    for got, want in zip(gradients(_shown), gradients(lambda t: t), strict=True):
        torch.testing.assert_close(got, want)


def _shown(values):
    return torch.complex(torch.zeros_like(values), -values).conj().imag


@pytest.mark.parametrize(("backend", "d"), cases(2, 40, 100))
def test_a_default_device_does_not_reach_a_sum(backend, d):
    x, y, q = _draw(6, d), _draw(9, d, seed=1), torch.rand(9)
    z = torch.rand(6)

    def everything():
        leaf = x.clone().requires_grad_()
        total = riesz_sum(leaf, y, power=d + 1, weight=q, height=0.5, backend=backend)
        (gradient,) = torch.autograd.grad(total.v.sum() + total.w.sum(), leaf)
        field = capacitor_field(x, z, y, y + 1, 2.0, plus_weight=q, backend=backend)
        logs = [
            potential(x, y, height=z, backend=backend),
            capacitor_potential(x, z, y, y + 1, 2.0, minus_weight=q, backend=backend),
            energy(y, y + 1, 2.0, backend=backend),
            energy(y, y + 1, 2.0, minus_weight=q, backend=backend),
        ]
        smooth = gaussian_sum(x, y, bandwidth=1.0, height=2.0, first_self=0, backend=backend)
        streamed = riesz_sum(x, y.numpy(), power=d + 1, backend=backend)
        return [
            *(total.m, total.w, total.v, gradient, field.direction, field.log_norm, smooth.v, streamed.v),
            *(part for log in logs for part in (log.sign, log.log_abs)),
        ]

    want = everything()
    with torch.device("meta"):
        got = everything()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("backend", "d"), cases(2, 40, 100))
def test_expanded_charges_are_read_row_by_row(backend, d):
    x, y = _draw(5, d), _draw(1, d, seed=1).expand(7, d)
    got = riesz_sum(
        x, y, power=d + 1, weight=torch.ones(1).expand(7), height=torch.ones(1).expand(5), backend=backend
    )
    assert_sum_close(got, riesz_sum(x, y.clone(), power=d + 1, height=1.0, backend="reference"), 1e-5, d**0.5)
