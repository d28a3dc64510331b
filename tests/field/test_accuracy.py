"""Every backend against the float64 reference, at the points where a field is hard to get right."""

import pytest
import torch
from field_checks import assert_field_close, assert_sum_close, cases, serving_backends

from efm_fast.field import capacitor_field, gaussian_sum, riesz_sum
from efm_fast.field.queries import KINDS, promised_error, query_set

FAST = [name for name in serving_backends() if name != "reference"]
SIZES = {
    2: (64, 700),
    16: (64, 700),
    17: (64, 700),
    64: (64, 700),
    784: (24, 300),
    3072: (12, 64),
    12288: (6, 24),
}


def _cases(*dimensions):
    return cases(*dimensions, but=("reference",))


def _reference(q, **options):
    return capacitor_field(q.x, q.z, q.plus, q.minus, q.L, backend="reference", **options)


@pytest.mark.parametrize(("backend", "d"), _cases(*SIZES))
@pytest.mark.parametrize("kind", KINDS)
def test_default_precision_meets_its_promise(backend, d, kind):
    n, m = SIZES[d]
    for uint8 in (False, True):
        q = query_set(kind, n, m, d, seed=d, uint8=uint8)
        got = capacitor_field(q.x, q.z, q.plus, q.minus, q.L, backend=backend)
        assert got.direction.dtype == torch.float32
        assert got.log_norm.dtype == torch.float64
        assert_field_close(got, _reference(q), promised_error(kind, d), 1e-3)


@pytest.mark.parametrize(("backend", "d"), _cases(196608))
@pytest.mark.parametrize("kind", ["tie", "plate_tie", "twin"])
def test_a_very_large_dimension(backend, d, kind):
    q = query_set(kind, 2, 4, d)
    got = capacitor_field(q.x, q.z, q.plus, q.minus, q.L, backend=backend)
    assert_field_close(got, _reference(q), promised_error(kind, d), 1e-2)


@pytest.mark.parametrize(("backend", "d"), _cases(2, 64, 784))
@pytest.mark.parametrize("kind", KINDS)
def test_exact_precision_is_right_to_float32_rounding(backend, kind, d):
    q = query_set(kind, 16, 64, d)
    got = capacitor_field(q.x, q.z, q.plus, q.minus, q.L, backend=backend, precision="exact")
    bound = 1e-6 if kind in ("flux", "far") else 4e-7
    assert_field_close(got, _reference(q), bound, bound)


@pytest.mark.parametrize(("backend", "d"), _cases(2, 64))
def test_charges_far_from_the_origin_cost_nothing(backend, d):
    """Distances, not positions, set the error: the data sit a hundred times their own size from 0."""
    q = query_set("tie", 16, 300, d)
    shift = torch.full((d,), 128.0)
    x, plus, minus = (part + shift for part in (q.x, q.plus, q.minus))
    got = capacitor_field(x, q.z, plus, minus, q.L, backend=backend)
    assert_field_close(got, capacitor_field(x, q.z, plus, minus, q.L, backend="reference"), 1e-4, 1e-3)


@pytest.mark.parametrize(("backend", "d"), _cases(2, 17, 784))
@pytest.mark.parametrize("distance", [1e2, 1e5])
def test_far_points_see_one_charge(backend, d, distance):
    q = query_set("interpolated", 16, 300, d)
    direction = torch.nn.functional.normalize(q.x, dim=1)
    x = direction * distance
    got = riesz_sum(x, q.plus, power=d + 1, height=q.z, backend=backend)
    want = riesz_sum(x, q.plus, power=d + 1, height=q.z, backend="reference")
    torch.testing.assert_close(got.log_weight(), want.log_weight(), rtol=0, atol=2e-3)
    got_v, want_v = (torch.nn.functional.normalize(s.v.double(), dim=1) for s in (got, want))
    assert (got_v - want_v).norm(dim=1).max() < 1e-5


@pytest.mark.parametrize(
    ("backend", "d", "dtype"),
    [
        (backend, d, dtype)
        for dtype in (torch.float32, torch.float64)
        for d in (2, 16, 17, 200)
        for backend in serving_backends(d, dtype)
        if backend != "reference"
    ],
)
def test_weights_heights_softening_and_gaussians(backend, d, dtype):
    generator = torch.Generator().manual_seed(d)
    x, y = (torch.randn(k, d, generator=generator, dtype=dtype) for k in (31, 257))
    weight = torch.rand(257, generator=generator) + 0.1
    weight[::5] = 0.0
    height = torch.rand(31, generator=generator, dtype=torch.float64) - 0.5
    tolerance = 2e-5 if dtype == torch.float32 else 1e-11
    size = d**0.5
    for power in (0.5, 1.0, float(d - 1), d + 1.0):
        arguments = {"power": power, "weight": weight, "height": height, "softening": 0.2}
        got = riesz_sum(x, y, **arguments, backend=backend)
        assert got.w.dtype == got.v.dtype == dtype
        assert_sum_close(
            got, riesz_sum(x, y, **arguments, backend="reference"), tolerance * max(1, d / 16), size
        )
    got = gaussian_sum(x, y, bandwidth=0.7, weight=weight, height=height, backend=backend)
    want = gaussian_sum(x, y, bandwidth=0.7, weight=weight, height=height, backend="reference")
    assert_sum_close(got, want, tolerance * max(1, d / 16), size)


@pytest.mark.parametrize(("backend", "d"), _cases(2, 64))
def test_signed_weights(backend, d):
    generator = torch.Generator().manual_seed(d)
    x, y = (torch.randn(k, d, generator=generator) for k in (16, 300))
    weight = torch.randn(300, generator=generator)
    got = riesz_sum(x, y, power=d + 1, weight=weight, backend=backend)
    want = riesz_sum(x, y, power=d + 1, weight=weight, backend="reference")
    torch.testing.assert_close(got.m, want.m, rtol=0, atol=1e-4)
    assert_sum_close(got, want, 1e-4, d**0.5)


@pytest.mark.parametrize("backend", FAST)
def test_a_float64_call_is_right_to_float64(backend):
    for d in (2, 64):
        q = query_set("tie", 16, 100, d)
        x, plus, minus = (part.double() for part in (q.x, q.plus, q.minus))
        got = capacitor_field(x, q.z, plus, minus, q.L, backend=backend)
        assert got.direction.dtype == torch.float64
        assert_field_close(got, capacitor_field(x, q.z, plus, minus, q.L, backend="reference"), 1e-11, 1e-11)


@pytest.mark.parametrize(("backend", "d"), _cases(20, 64, 784, 3072))
@pytest.mark.parametrize(("height", "allowed"), [(1.0, 6e-5), (10.0, 6e-4)])
def test_the_flattest_flux_points(backend, d, height, allowed):
    """All of them at |g0| = 0.05, where the two plates cancel most; half of what is promised."""
    generator = torch.Generator().manual_seed(d)
    plus, minus = (torch.randn(64, d, generator=generator) for _ in range(2))
    L = (2 * d) ** 0.5
    x = plus[:48] + height * L / 0.05 * torch.randn(48, d, generator=generator)
    z = torch.full((48,), height * L, dtype=torch.float64)
    got = capacitor_field(x, z, plus, minus, L, backend=backend)
    want = capacitor_field(x, z, plus, minus, L, backend="reference")
    assert_field_close(got, want, allowed, allowed)
