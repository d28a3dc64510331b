"""The C++ backend against float64, where the field is hard: ties, twins, charges, ragged shapes, all types."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator

import mpmath
import pytest
import torch
from sums import charges, check, cpp_sum, errors, ties

from efm_fast import native
from efm_fast.field.backends import cpp, reference
from efm_fast.field.kernel import Gaussian, Riesz
from efm_fast.field.logsum import LogSum
from efm_fast.field.request import SumRequest

pytestmark = pytest.mark.usefixtures("needs_extension", "poisoned")

SMALL = (1, 2, 3, 5, 8, 9, 16, 64)
DIMENSIONS = (*SMALL, 65, 100, 784)


def tolerance(d: int) -> float:
    return 1e-5 if d <= 16 else 1e-4


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("extra", [1.0, 2.5])
def test_agrees_with_float64_between_the_plates(d: int, extra: float) -> None:
    y = charges(333, d)
    mix = torch.linspace(0.01, 0.99, 45)[:, None]
    x = mix * y[:45] + (1 - mix) * charges(45, d, seed=1)
    height = (1 - mix[:, 0]) * math.sqrt(2 * d)
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(d + extra), height=height), tolerance(d))


@pytest.mark.parametrize("d", DIMENSIONS)
def test_agrees_far_from_the_charges_where_hundreds_count(d: int) -> None:
    u = charges(40, d, seed=2)
    x = u / u.norm(dim=1, keepdim=True) * 0.45 * math.sqrt(d + 1) * math.sqrt(2 * d)
    height = torch.full((40,), 0.5 * math.sqrt(2 * d))
    check(cpp, SumRequest(x=x, y=charges(700, d), kernel=Riesz(d + 1.0), height=height), tolerance(d))


@pytest.mark.parametrize("d", DIMENSIONS)
def test_tells_tied_charges_apart(d: int) -> None:
    y = charges(300, d)
    check(cpp, SumRequest(x=ties(y, 40), y=y, kernel=Riesz(d + 1.0), height=torch.full((40,), 1e-3)), 1e-4)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_direction_at_a_tie_between_the_plates(d: int) -> None:
    plus, minus = charges(200, d), charges(200, d, seed=3)
    x = (plus[:40] + minus[:40]) / 2
    height = torch.full((40,), 0.5 * math.sqrt(d))
    fields = []
    for summed in (cpp_sum, reference.log_sum):
        a = summed(SumRequest(x=x, y=plus, kernel=Riesz(d + 1.0), height=height))
        b = summed(SumRequest(x=x, y=minus, kernel=Riesz(d + 1.0), height=-height))
        a, b = (LogSum(s.m, s.w.double(), s.v.double()) for s in (a, b))
        both = LogSum(*_superpose(a, b, height.double()))
        fields.append(torch.cat([both.v, both.w[:, None]], 1))
    directions = [f / f.norm(dim=1, keepdim=True) for f in fields]
    assert float((directions[0] - directions[1]).norm(dim=1).max()) < 1e-4


def _superpose(a: LogSum, b: LogSum, height: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """m, E_z and E_x of the plates a at distance ``height`` and b at minus that."""
    a = LogSum(a.m, a.w * height, a.v)
    b = LogSum(b.m, b.w * -height, b.v)
    both = a.merge(-b)
    return both.m, both.w, both.v


@pytest.mark.parametrize("d", [2, 64, 784])
@pytest.mark.parametrize("gap", [1e-3, 1e-5])
def test_resolves_twins(d: int, gap: float) -> None:
    y = charges(100, d)
    y = torch.cat([y, y + gap * charges(100, d, seed=4)])
    x = y[:60] + 0.4 * gap * charges(60, d, seed=5)
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(d + 1.0)), 1e-4)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_points_on_charges(d: int) -> None:
    y = charges(80, d)
    y[70:] = y[:10]
    weight = torch.linspace(0.5, 2.0, 80)
    x = torch.cat([y[:20], charges(7, d, seed=6)])
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(d + 1.0), weight=weight), 1e-4)


@pytest.mark.parametrize("d", [2, 5, 96])
def test_many_coincident_charges_count_together(d: int) -> None:
    y = charges(50, d)
    y[:30] = y[0]
    result = cpp_sum(SumRequest(x=y[:1], y=y, kernel=Riesz(d + 1.0)))
    assert float(result.m) == math.inf
    assert float(result.w) == 30.0


@pytest.mark.parametrize("d", [2, 7, 12, 64, 70, 130])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 300), (17, 1), (33, 257), (70, 31), (16, 256)])
def test_ragged_shapes(d: int, n: int, m: int) -> None:
    check(cpp, SumRequest(x=charges(n, d, seed=8), y=charges(m, d), kernel=Riesz(d + 1.0)), 1e-4)


@pytest.mark.parametrize("d", [2, 80])
def test_no_points_or_no_charges(d: int) -> None:
    none = cpp_sum(SumRequest(x=torch.zeros(0, d), y=charges(5, d), kernel=Riesz(3.0)))
    assert none.v.shape == (0, d)
    empty = cpp_sum(SumRequest(x=charges(5, d), y=torch.zeros(0, d), kernel=Riesz(3.0)))
    assert (empty.m == -math.inf).all()
    assert not empty.w.any()
    assert not empty.v.any()


@pytest.mark.parametrize("d", DIMENSIONS)
def test_only_the_point_itself_leaves_nothing(d: int) -> None:
    x = charges(1, d)
    result = cpp_sum(SumRequest(x=x, y=x, kernel=Riesz(d + 1.0), first_self=0))
    assert float(result.m) == -math.inf
    assert float(result.w) == 0.0
    assert not result.v.any()


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("first", [0, 13, -9])
def test_leaves_out_each_points_own_charge(d: int, first: int) -> None:
    y = charges(290, d)
    x = torch.zeros(300, d)
    for i in range(300):
        x[i] = y[i - first] if 0 <= i - first < 290 else charges(1, d, seed=100 + i)[0]
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(d + 1.0), first_self=first), 1e-4)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_weights_of_both_signs_and_zero(d: int) -> None:
    weight = charges(400, 1, seed=9)[:, 0]
    weight[::3] = 0.0
    x = charges(50, d, seed=10)
    height = torch.full((50,), 0.3)
    request = SumRequest(x=x, y=charges(400, d), kernel=Riesz(d + 1.0), weight=weight, height=height)
    result, truth = cpp_sum(request), reference.log_sum(request)
    scale = torch.exp(result.m - truth.m)
    assert float((result.m - truth.m).abs().max()) < 1e-3
    # signs cancel: judge by the size of the terms, not of what is left
    assert float((result.w.double() * scale - truth.w).abs().max()) < 1e-3
    size = SumRequest(x=x, y=request.y, kernel=Riesz(d + 1.0), weight=weight.abs(), height=height)
    bound = reference.log_sum(size).w * (x.double().norm(dim=1) + request.y.double().norm(dim=1).max())
    assert float(((result.v.double() * scale[:, None] - truth.v).norm(dim=1) / bound).max()) < 1e-4


@pytest.mark.parametrize("d", [2, 12, 100])
def test_weights_of_very_different_size(d: int) -> None:
    weight = torch.ones(500)
    weight[:250] = 1e-12
    x = charges(500, d)[:60] + 0.01
    check(cpp, SumRequest(x=x, y=charges(500, d), kernel=Riesz(d + 1.0), weight=weight), 1e-4)


@pytest.mark.parametrize("d", [2, 9, 64, 100])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float16, torch.int16, torch.float64])
def test_reads_every_type_of_charge(d: int, dtype: torch.dtype) -> None:
    y = torch.randint(0, 256, (200, d), generator=torch.Generator().manual_seed(1)).float()
    y = (y if dtype in (torch.uint8, torch.int16) else y / 128 - 1).to(dtype)
    x = y.float()[:33] + charges(33, d)
    request = SumRequest(x=x, y=y, kernel=Riesz(d + 1.0), height=torch.full((33,), 0.5))
    if cpp.why_not(request) is None:
        check(cpp, request, 1e-4)
    else:
        assert dtype == torch.float64
        assert d > 64


@pytest.mark.parametrize("d", [2, 10, 100])
def test_strided_input(d: int) -> None:
    x = charges(d, 40).T
    y = torch.cat([charges(300, d), charges(300, d)], 1)[::2, ::2]
    assert not x.is_contiguous()
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(d + 1.0), height=torch.full((40,), 0.2)), 1e-4)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_softening_and_the_gaussian_kernel(d: int) -> None:
    y = charges(300, d)
    x = torch.cat([y[:20], charges(20, d, seed=11)])
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(d + 1.0), softening=0.3), 1e-4)
    width = 0.4 * math.sqrt(d)
    check(cpp, SumRequest(x=x + 0.05, y=y, kernel=Gaussian(width)), 1e-4)


@pytest.mark.parametrize("d", [1, 2, 8, 20, 200])
def test_float64_points_and_exact_precision(d: int) -> None:
    x, y = charges(30, d, seed=12), charges(150, d)
    height = torch.full((30,), 0.1, dtype=torch.float64)
    request = SumRequest(x=x.double(), y=y, kernel=Riesz(d + 0.5), height=height, precision="exact")
    check(cpp, request, 1e-11)
    assert cpp_sum(request).v.dtype == torch.float64
    check(cpp, SumRequest(x=x, y=y, kernel=Riesz(d + 1.0), height=height, precision="exact"), 3e-7)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12, 1e25])
def test_lengths_at_the_ends_of_float32(scale: float) -> None:
    request = SumRequest(x=charges(20, 2, seed=13) * scale, y=charges(90, 2) * scale, kernel=Riesz(3.0))
    check(cpp, request, 1e-5)


@pytest.mark.parametrize("d", [2, 12, 96])
def test_nan_stays_in_its_row(d: int) -> None:
    x, y = charges(70, d, seed=14), charges(90, d)
    clean = cpp_sum(SumRequest(x=x, y=y, kernel=Riesz(d + 1.0)))
    x[11, d - 1] = torch.nan
    dirty = cpp_sum(SumRequest(x=x, y=y, kernel=Riesz(d + 1.0)))
    assert dirty.v[11].isnan().all()
    assert dirty.w[11].isnan()
    others = torch.arange(70) != 11
    assert torch.equal(clean.v[others], dirty.v[others])
    assert torch.equal(clean.m[others], dirty.m[others])


@pytest.mark.parametrize("d", DIMENSIONS)
def test_same_bits_for_any_number_of_threads_and_from_run_to_run(d: int) -> None:
    request = SumRequest(x=charges(700, d, seed=15), y=charges(400, d), kernel=Riesz(d + 1.0))
    results = []
    own_products = d <= 64 or native.extension().bfloat16_available()
    for count in (1, 2, 3, 7, 2) if own_products else (2, 2):  # a library's products promise less
        torch.set_num_threads(count)
        results.append(cpp_sum(request))
    for other in results[1:]:
        assert torch.equal(results[0].m, other.m)
        assert torch.equal(results[0].w, other.w)
        assert torch.equal(results[0].v, other.v)


def test_against_many_digits() -> None:
    """mpmath, 60 digits: two charges 1e-6 apart and a point a ten-thousandth of that off their middle."""
    d, power = 48, 49.0
    y = charges(3, d)
    y[1] = y[0] + 1e-6 * charges(1, d, seed=16)[0]
    x = ((y[0].double() + y[1].double()) / 2 + 1e-10).float()[None]
    with mpmath.workdps(60):
        terms = []
        for row in y.tolist():
            difference = [mpmath.mpf(a) - mpmath.mpf(b) for a, b in zip(x[0].tolist(), row, strict=True)]
            terms.append((mpmath.fsum(c * c for c in difference) ** (-mpmath.mpf(power) / 2), difference))
        v = [mpmath.fsum(weight * difference[k] for weight, difference in terms) for k in range(d)]
        log_norm = float(mpmath.log(mpmath.sqrt(mpmath.fsum(c * c for c in v))))
        norm = mpmath.sqrt(mpmath.fsum(c * c for c in v))
        direction = torch.tensor([float(c / norm) for c in v], dtype=torch.float64)
    result = cpp_sum(SumRequest(x=x, y=y, kernel=Riesz(power)))
    size = result.v[0].double().norm()
    assert float((result.v[0].double() / size - direction).norm()) < 1e-4
    assert abs(float(result.m[0] + size.log()) - log_norm) < 1e-3


def test_errors_see_a_wrong_sum() -> None:
    """The comparison itself can fail: a sum with one charge missing is not close."""
    x, y = charges(20, 3, seed=17), charges(50, 3)
    truth = reference.log_sum(SumRequest(x=x, y=y, kernel=Riesz(4.0)))
    assert max(errors(cpp_sum(SumRequest(x=x, y=y[1:], kernel=Riesz(4.0))), truth)) > 1e-3


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own answer to SIGINT, which a shell's background jobs start without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_breaks_off_a_long_sum() -> None:
    x = charges(1 << 15, 64)
    request = SumRequest(x=x, y=charges(1 << 16, 64), kernel=Riesz(65.0))  # tens of seconds
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        cpp_sum(request)
    assert time.monotonic() - start < 8.0
