"""Laws that hold for any charges: the monoid, the symmetries of space, the scaling of lengths."""

import itertools
import math

import pytest
import torch
from field_checks import assert_field_close, assert_sum_close, serving_backends
from hypothesis import given, settings
from hypothesis import strategies as st

from efm_fast.field import capacitor_field, riesz_sum

EXAMPLES = settings(max_examples=15, deadline=None, derandomize=True, database=None)
BACKENDS = [name for name in serving_backends() if name != "reference"]

seeds = st.integers(0, 2**20)
dimensions = st.sampled_from([1, 2, 3, 16, 17, 33])
pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def _draw(seed, n, m, d):
    generator = torch.Generator().manual_seed(seed)
    x, plus, minus = (torch.randn(k, d, generator=generator) for k in (n, m, m + 1))
    weight = torch.rand(m, generator=generator) + 0.1
    z = torch.rand(n, generator=generator).double() * 2 + 0.1
    return x, z, plus, minus, weight


def _sum(x, z, y, weight, backend):
    return riesz_sum(x, y, power=x.shape[1] + 1, height=z, weight=weight, backend=backend)


@EXAMPLES
@given(seed=seeds, d=dimensions, cuts=st.lists(st.integers(0, 40), min_size=0, max_size=4))
def test_any_split_of_the_charges_gives_the_same_sum(backend, seed, d, cuts):
    x, z, y, _, weight = _draw(seed, 5, 40, d)
    whole = _sum(x, z, y, weight, backend)
    edges = [0, *sorted(cuts), 40]
    parts = [_sum(x, z, y[a:b], weight[a:b], backend) for a, b in itertools.pairwise(edges)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert_sum_close(merged, whole, 2e-5, d**0.5)


@EXAMPLES
@given(seed=seeds, d=dimensions)
def test_merge_is_associative_and_commutative_to_rounding(backend, seed, d):
    x, z, y, other, weight = _draw(seed, 5, 12, d)
    a, b = (_sum(x, z, part, weight, backend) for part in (y, other[:12]))
    c = -_sum(x, z, 3 * y, weight, backend)
    assert_sum_close(a.merge(b).merge(c), a.merge(b.merge(c)), 1e-5, d**0.5)
    assert_sum_close(a.merge(b), b.merge(a), 1e-6, d**0.5)
    assert_sum_close(a.merge(type(a).empty(5, d, dtype=x.dtype, device="cpu")), a, 0.0)


@EXAMPLES
@given(seed=seeds, d=dimensions)
def test_the_order_of_the_charges_does_not_matter(backend, seed, d):
    x, z, y, _, weight = _draw(seed, 5, 40, d)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    got = _sum(x, z, y[order], weight[order], backend)
    assert_sum_close(got, _sum(x, z, y, weight, backend), 2e-5, d**0.5)


@EXAMPLES
@given(seed=seeds, d=dimensions)
def test_swapping_the_plates_flips_the_field(backend, seed, d):
    x, z, plus, minus, _ = _draw(seed, 5, 20, d)
    field = capacitor_field(x, z, plus, minus, 2.5, backend=backend)
    swapped = capacitor_field(x, 2.5 - z, minus, plus, 2.5, backend=backend)
    mirror = torch.cat([-swapped.direction[:, :d], swapped.direction[:, d:]], 1)
    assert_field_close(type(field)(mirror, swapped.log_norm), field, 2e-5, 2e-5)


@EXAMPLES
@given(seed=seeds, d=dimensions)
def test_translation_and_rotation_carry_the_field_along(backend, seed, d):
    x, z, plus, minus, _ = _draw(seed, 5, 20, d)
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    shift = torch.randn(d, generator=generator, dtype=torch.float64)
    moved = [(part.double() @ rotation.T + shift).float() for part in (x, plus, minus)]
    field = capacitor_field(x, z, plus, minus, 2.5, backend=backend)
    got = capacitor_field(moved[0], z, moved[1], moved[2], 2.5, backend=backend)
    turned = torch.cat([field.direction[:, :d].double() @ rotation.T, field.direction[:, d:].double()], 1)
    assert_field_close(got, type(field)(turned, field.log_norm), 5e-5, 5e-5)


@EXAMPLES
@given(seed=seeds, d=dimensions, log_factor=st.floats(-8, 8))
def test_lengths_scale_by_the_power(backend, seed, d, log_factor):
    """E(k x) = E(x) / k^D: n - 1 = D for the field of point charges in R^n."""
    factor = 2.0 ** round(log_factor)  # a power of two, so that scaling is exact
    x, z, plus, minus, _ = _draw(seed, 5, 20, d)
    field = capacitor_field(x, z, plus, minus, 2.5, backend=backend)
    scaled = capacitor_field(
        factor * x, factor * z, factor * plus, factor * minus, factor * 2.5, backend=backend
    )
    want = type(field)(field.direction, field.log_norm - d * math.log(factor))
    assert_field_close(scaled, want, 2e-6, 2e-6)


@EXAMPLES
@given(seed=seeds, d=dimensions)
def test_a_doubled_charge_is_a_charge_of_weight_two(backend, seed, d):
    x, z, y, _, _ = _draw(seed, 5, 20, d)
    twice = _sum(x, z, torch.cat([y, y[:7]]), None, backend)
    weight = torch.ones(20)
    weight[:7] = 2
    assert_sum_close(twice, _sum(x, z, y, weight, backend), 2e-5, d**0.5)
