"""What every backend promises at the edges: empty, exact hits, dtypes, layouts, NaN, bad input."""

import subprocess
import sys

import pytest
import torch
from field_checks import assert_sum_close, cases, serving_backends, unscaled

from efm_fast.errors import InputError
from efm_fast.field import capacitor_field, gaussian_sum, riesz_sum

BACKENDS = serving_backends()
DIMENSIONS = [1, 2, 16, 17, 40]


def _draw(n, m, d, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(k, d, generator=generator, dtype=dtype) for k in (n, m))


@pytest.mark.parametrize(("backend", "d"), cases(*DIMENSIONS))
def test_empty_and_single(backend, d):
    x, y = _draw(3, 2, d)
    nothing = riesz_sum(x, y[:0], power=d + 1, backend=backend)
    assert torch.isneginf(nothing.m).all()
    assert not nothing.w.any()
    assert not nothing.v.any()
    assert nothing.v.shape == (3, d)
    nowhere = riesz_sum(x[:0], y, power=d + 1, backend=backend)
    assert nowhere.m.shape == nowhere.w.shape == (0,)
    assert nowhere.v.shape == (0, d)
    single = riesz_sum(x[:1], y[:1], power=d + 1, backend=backend)
    torch.testing.assert_close(
        single.v.double() / single.w.double(), (x[:1] - y[:1]).double(), rtol=1e-5, atol=1e-6
    )
    r2 = ((x[:1] - y[:1]).double() ** 2).sum(1)
    torch.testing.assert_close(single.log_weight(), -(d + 1) / 2 * torch.log(r2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("backend", "d"), cases(*DIMENSIONS))
def test_a_point_on_a_charge(backend, d):
    x, y = _draw(4, 20, d)
    x[1] = y[7]
    weight = torch.linspace(0.5, 2.0, 20)
    total = riesz_sum(x, y, power=d + 1, weight=weight, backend=backend)
    assert total.m[1] == torch.inf
    assert total.w[1].item() == pytest.approx(weight[7].item())
    assert not total.v[1].any()
    assert torch.isfinite(total.m[[0, 2, 3]]).all()
    field = capacitor_field(x, torch.zeros(4), y, y + 1, 1.0, backend=backend)
    assert field.log_norm[1] == torch.inf
    assert not field.direction[1].any()
    torch.testing.assert_close(field.direction.norm(dim=1)[[0, 2, 3]].double(), torch.ones(3).double())


@pytest.mark.parametrize(("backend", "d"), cases(2, 40))
def test_height_or_softening_keeps_a_hit_finite(backend, d):
    x, y = _draw(4, 20, d)
    x[1] = y[7]
    for options in ({"height": 0.5}, {"softening": 0.5}):
        total = riesz_sum(x, y, power=d + 1, backend=backend, **options)
        want = riesz_sum(x, y, power=d + 1, backend="reference", **options)
        assert torch.isfinite(total.m).all()
        assert_sum_close(total, want, 1e-4, d**0.5)


@pytest.mark.parametrize(("backend", "d"), cases(2, 40))
def test_zero_weights_do_not_exist(backend, d):
    x, y = _draw(4, 40, d)
    x[0] = y[0]
    weight = torch.ones(40)
    weight[::2] = 0
    got = riesz_sum(x, y, power=d + 1, weight=weight, backend=backend)
    want = riesz_sum(x, y[1::2].contiguous(), power=d + 1, backend="reference")
    assert_sum_close(got, want, 1e-5, d**0.5)
    none = riesz_sum(x, y, power=d + 1, weight=torch.zeros(40), backend=backend)
    assert torch.isneginf(none.m).all()
    assert not none.w.any()
    assert not none.v.any()


@pytest.mark.parametrize(("backend", "d"), cases(2, 40))
def test_signed_weights_are_a_difference(backend, d):
    x, y = _draw(4, 40, d)
    weight = torch.ones(40)
    weight[20:] = -2.0
    got = riesz_sum(x, y, power=d + 1, weight=weight, backend=backend)
    plus = riesz_sum(x, y[:20], power=d + 1, backend="reference")
    minus = riesz_sum(x, y[20:], power=d + 1, weight=torch.full((20,), 2.0), backend="reference")
    assert_sum_close(got, plus.merge(-minus), 1e-5, d**0.5)


@pytest.mark.parametrize(("backend", "d"), cases(2, 40))
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float16, torch.float64, torch.int32])
def test_charges_of_any_dtype(backend, d, dtype):
    generator = torch.Generator().manual_seed(1)
    y = (torch.rand(50, d, generator=generator) * 255).to(dtype)
    x = torch.rand(6, d, generator=generator) * 255
    got = riesz_sum(x, y, power=d + 1, height=3.0, backend=backend)
    want = riesz_sum(x.double(), y.to(torch.float64), power=d + 1, height=3.0, backend="reference")
    assert_sum_close(got, want, 2e-5, 255 * d**0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64])
def test_points_of_other_dtypes_are_read_as_float32(dtype):
    x, y = _draw(5, 20, 3)
    x = (4 * x).to(dtype)
    got = riesz_sum(x, y, power=4)
    assert got.v.dtype == torch.float32
    assert_sum_close(got, riesz_sum(x.float(), y, power=4), 0.0)


@pytest.mark.parametrize(("backend", "d"), cases(2, 40))
def test_layout_does_not_matter(backend, d):
    x, y = _draw(8, 60, d)
    weight, height = torch.rand(60), torch.rand(8)
    wide = torch.zeros(120, 2 * d)
    wide[::2, ::2] = y
    doubled = torch.stack([weight, -weight], 1)
    got = riesz_sum(
        x.T.contiguous().T,
        wide[::2, ::2],
        power=d + 1,
        weight=doubled[:, 0],
        height=height[:, None].expand(8, 2)[:, 1],
        backend=backend,
    )
    want = riesz_sum(x, y, power=d + 1, weight=weight, height=height, backend="reference")
    assert_sum_close(got, want, 1e-5, d**0.5)


@pytest.mark.parametrize(("backend", "d"), cases(2, 40, 300))
def test_a_nan_point_spoils_only_its_own_row(backend, d):
    x, y = _draw(8, 60, d)
    clean = riesz_sum(x, y, power=d + 1, backend=backend)
    poisoned = x.clone()
    poisoned[3, d // 2] = torch.nan
    got = riesz_sum(poisoned, y, power=d + 1, backend=backend)
    others = [i for i in range(8) if i != 3]
    assert torch.isnan(got.v[3]).all()
    assert torch.isnan(got.m[3])
    assert torch.isfinite(got.v[others]).all()
    torch.testing.assert_close(got.log_weight()[others], clean.log_weight()[others], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("backend", "d"), cases(2, 40))
@pytest.mark.parametrize("first_self", [0, 5, -3])
def test_first_self_leaves_out_the_points_own_charge(backend, d, first_self):
    x, y = _draw(12, 20, d)
    for i in range(12):
        if 0 <= i - first_self < 20:
            y[i - first_self] = x[i]
    got = riesz_sum(x, y, power=d + 1, first_self=first_self, backend=backend)
    for i in range(12):
        kept = [j for j in range(20) if j + first_self != i]
        want = riesz_sum(x[i : i + 1], y[kept], power=d + 1, backend="reference")
        row = type(got)(got.m[i : i + 1], got.w[i : i + 1], got.v[i : i + 1])
        assert_sum_close(row, want, 1e-5, d**0.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_repeats_bit_for_bit(backend):
    for d in (2, 40):
        x, y = _draw(50, 300, d)
        first = riesz_sum(x, y, power=d + 1, backend=backend)
        for _ in range(20):
            again = riesz_sum(x, y, power=d + 1, backend=backend)
            assert torch.equal(first.m, again.m)
            assert torch.equal(first.w, again.w)
            assert torch.equal(first.v, again.v)


@pytest.mark.parametrize(("backend", "d"), cases(40, 256))
def test_global_matmul_settings_do_not_reach_the_distances(backend, d):
    x, y = _draw(64, 300, d)
    want = riesz_sum(x, y, power=d + 1, backend=backend)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        got = riesz_sum(x, y, power=d + 1, backend=backend)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(got.v, want.v)


@pytest.mark.parametrize(("backend", "d"), cases(40, 256))
def test_autocast_does_not_reach_the_distances(backend, d):
    x, y = _draw(64, 300, d)
    want = capacitor_field(x, torch.ones(64), y, y + 1, 2.0, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = capacitor_field(x, torch.ones(64), y, y + 1, 2.0, backend=backend)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(got.direction, want.direction)
    assert torch.equal(got.log_norm, want.log_norm)


def test_the_field_vanishes_between_equal_charges_of_one_sign():
    x, z = torch.zeros(1, 2), torch.zeros(1)
    plus = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    nothing = torch.zeros(1)
    field = capacitor_field(x, z, plus, torch.ones(1, 2) * 1e6, 1e6, minus_weight=nothing + 1)
    assert field.log_norm.item() < -20
    total = riesz_sum(x, plus, power=3)
    assert not total.v.any()


def test_per_plate_normalisation_is_the_published_codes():
    x, y = _draw(6, 30, 3)
    z = torch.rand(6)
    got = capacitor_field(x, z, y, y + 2, 1.5, normalization="per_plate").direction
    parts = []
    for charges, height in ((y, z), (y + 2, z - 1.5)):
        d = torch.cat([x[:, None] - charges[None], height[:, None, None].expand(6, 30, 1)], -1).double()
        field = (d / d.norm(dim=-1, keepdim=True) ** 4).sum(1)
        parts.append(field / field.norm(dim=1, keepdim=True))
    want = torch.nn.functional.normalize(parts[0] - parts[1], dim=1)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def test_relative_weights_are_scaled_to_charge_one():
    x, y = _draw(6, 30, 3)
    z = torch.rand(6)
    weight = torch.rand(30)
    one, ten = (
        capacitor_field(x, z, y, y + 2, 1.5, plus_weight=weight * k, minus_weight=weight * k) for k in (1, 10)
    )
    torch.testing.assert_close(one.direction, ten.direction)
    torch.testing.assert_close(one.log_norm, ten.log_norm, rtol=0, atol=1e-6)


BAD = {
    r"x: expected a torch.Tensor, got list": {"x": [[0.0, 0.0]]},
    r"x: expected 2 dimensions, got shape \(2,\)": {"x": torch.zeros(2)},
    r"x: expected at least one feature, got shape \(3, 0\)": {"x": torch.zeros(3, 0), "y": torch.zeros(4, 0)},
    r"y: expected 2 columns, got shape \(4, 3\)": {"y": torch.zeros(4, 3)},
    r"y: expected a real dtype, got torch.complex64": {"y": torch.zeros(4, 2, dtype=torch.complex64)},
    r"weight: expected 4 rows, got shape \(5,\)": {"weight": torch.zeros(5)},
    r"height: expected 3 rows, got shape \(1,\)": {"height": torch.zeros(1)},
    r"y: expected the device of x, cpu, got meta": {"y": torch.zeros(4, 2, device="meta")},
    r"power: expected a finite number above 0, got -1": {"power": -1},
    r"softening: expected a finite number of at least 0, got nan": {"softening": float("nan")},
    r"first_self: expected an int or None, got 0.5": {"first_self": 0.5},
    r"precision: expected one of fast, default, exact, got 'exakt'; did you mean exact": {
        "precision": "exakt"
    },
    r"backend: expected one of .*torch.*, got 'tensor'": {"backend": "tensor"},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message):
    arguments = {"x": torch.zeros(3, 2), "y": torch.ones(4, 2), "power": 3.0, **BAD[message]}
    x, y = arguments.pop("x"), arguments.pop("y")
    with pytest.raises(InputError, match=message):
        riesz_sum(x, y, **arguments)


def test_bad_input_of_the_other_doors():
    x, y, z = torch.zeros(3, 2), torch.ones(4, 2), torch.zeros(3)
    with pytest.raises(InputError, match="bandwidth: expected a finite number above 0, got 0"):
        gaussian_sum(x, y, bandwidth=0)
    with pytest.raises(InputError, match="L: expected a finite number above 0, got 0"):
        capacitor_field(x, z, y, y, 0)
    with pytest.raises(InputError, match=r"z: expected 3 rows, got shape \(2,\)"):
        capacitor_field(x, z[:2], y, y, 1)
    with pytest.raises(InputError, match="normalization: expected one of superposition, per_plate"):
        capacitor_field(x, z, y, y, 1, normalization="plates")


_MEMORY = """
import resource, torch
from efm_fast.field import capacitor_field
from efm_fast.field.backends import plain_torch
torch.set_num_threads(1)
plain_torch._CHUNK_PAIRS = 1 << 18
def peak(n, m):
    x, plus = torch.randn(n, 24), torch.randn(m, 24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    capacitor_field(x, torch.rand(n), plus, plus, 5.0, backend="torch")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
peak(64, 4096)
print(peak(1500, 4000) / 1024)
"""


def test_memory_is_linear_in_points_and_charges():
    """1500 x 4000 pairs are 24 MB for a single float32 matrix, and the sum needs several such temporaries."""
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 40


def test_the_broadcast_formula_agrees():
    """The plain formula of the published codes, where it can be computed at all."""
    x, y = _draw(5, 9, 3, dtype=torch.float64)
    difference = x[:, None] - y[None]
    kernel = difference.norm(dim=-1) ** -4
    want = torch.cat([kernel.sum(1, keepdim=True), (kernel[..., None] * difference).sum(1)], 1)
    for backend in BACKENDS:
        torch.testing.assert_close(unscaled(riesz_sum(x, y, power=4, backend=backend)), want)
