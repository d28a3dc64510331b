"""The operator's contract with torch: gradients, opcheck, compile, vmap, and what it refuses."""

import pytest
import torch
from field_checks import assert_sum_close, cases

from efm_fast.errors import InputError
from efm_fast.field import capacitor_field, gaussian_sum, riesz_sum, torch_op
from efm_fast.field.queries import query_set

OPTIONS = (None, "riesz", [3.0], 0.1, None, "auto", "default")
DIMENSIONS = (1, 2, 17)


def _draw(n, m, d, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(k, d, generator=generator, dtype=dtype) for k in (n, m))
    weight = torch.rand(m, generator=generator, dtype=dtype) + 0.5
    height = torch.rand(n, generator=generator, dtype=dtype) + 0.2
    return tuple(t.requires_grad_() for t in (x, y, weight, height))


@pytest.mark.parametrize(("backend", "d"), cases(*DIMENSIONS))
@pytest.mark.parametrize("first_self", [None, 0])
def test_gradients_of_what_does_not_depend_on_the_log_scale(backend, d, first_self):
    inputs = _draw(3, 9, d)
    for options in ({"power": d + 1.0}, {"power": 0.7, "softening": 0.3}, {"bandwidth": 1.2}):
        sum_of = gaussian_sum if "bandwidth" in options else riesz_sum

        def outputs(x, y, weight, height, options=options, sum_of=sum_of):
            total = sum_of(
                x, y, weight=weight, height=height, first_self=first_self, backend=backend, **options
            )
            return total.log_weight(), total.posterior_mean(x)

        assert torch.autograd.gradcheck(outputs, inputs, rtol=1e-5, atol=1e-7, fast_mode=d > 2)


@pytest.mark.parametrize(("backend", "d"), cases(*DIMENSIONS))
def test_gradients_of_the_capacitor_field(backend, d):
    x, plus, plus_weight, z = _draw(3, 7, d)
    minus = _draw(3, 5, d, seed=1)[1]

    def outputs(x, z, plus, minus, plus_weight):
        field = capacitor_field(x, z, plus, minus, 1.7, plus_weight=plus_weight, backend=backend)
        return field.direction, field.log_norm

    inputs = (x, z, plus, minus, plus_weight)
    assert torch.autograd.gradcheck(outputs, inputs, rtol=1e-5, atol=1e-7, fast_mode=d > 2)


def test_gradients_through_merge():
    x, y, weight, height = _draw(3, 9, 2)

    def outputs(x, y, weight, height):
        first = riesz_sum(x, y[:4], power=3, weight=weight[:4], height=height)
        return first.merge(-riesz_sum(x, y[4:], power=3, weight=weight[4:], height=height)).log_weight()

    assert torch.autograd.gradcheck(outputs, (x, y, weight, height), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("d", [2, 64, 784])
@pytest.mark.parametrize("kind", ["interpolated", "tie", "twin"])
def test_float32_gradients_where_it_is_hard(d, kind):
    """Against the float64 path, at points where the plain GEMM form loses the nearest charges."""
    q = query_set(kind, 12, 200, d, seed=3)
    upstream = torch.randn(12, d, generator=torch.Generator().manual_seed(0))
    gradients = []
    for dtype in (torch.float32, torch.float64):
        x, y, height = (t.to(dtype, copy=True).requires_grad_() for t in (q.x, q.plus, q.z))
        mean = riesz_sum(x, y, power=d + 1, height=height).posterior_mean(x)
        (mean * upstream.to(dtype)).sum().backward()
        gradients.append((x.grad.double(), y.grad.double(), height.grad.double()))
    for single, double in zip(*gradients, strict=True):
        assert (single - double).norm() <= 1e-3 * double.norm() + 1e-5 * upstream.norm()


def test_the_chunks_of_the_backward_pass_do_not_matter(monkeypatch):
    from efm_fast.field.backends import gradient

    results = []
    for pairs, charges in ((1 << 21, 4096), (12, 4)):
        monkeypatch.setattr(gradient, "_CHUNK_PAIRS", pairs)
        monkeypatch.setattr(gradient, "_DIRECT_PAIRS", pairs)
        monkeypatch.setattr(gradient, "_CHUNK_CHARGES", charges)
        monkeypatch.setattr(gradient, "_GATHER_ELEMENTS", 64)
        for d in (2, 20):
            inputs = _draw(7, 13, d)
            x, y, weight, height = inputs
            total = riesz_sum(x, y, power=d + 1, weight=weight, height=height, backend="torch")
            total.posterior_mean(x).sin().sum().backward()
            results.append([t.grad for t in inputs])
    for whole, pieces in ((results[0], results[2]), (results[1], results[3])):
        for a, b in zip(whole, pieces, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("d", [2, 20])
def test_gradients_repeat_bit_for_bit(d):
    def gradients():
        inputs = _draw(40, 300, d, dtype=torch.float32)
        x, y, weight, height = inputs
        riesz_sum(x, y, power=d + 1, weight=weight, height=height).posterior_mean(x).sin().sum().backward()
        return [t.grad for t in inputs]

    first = gradients()
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, gradients(), strict=True))


@pytest.mark.parametrize("d", [2, 20])
def test_points_on_a_charge_pass_nothing_on(d):
    x, y, weight, _ = (t.detach() for t in _draw(4, 30, d, dtype=torch.float32))
    x[1] = y[5]
    x, y, weight = (t.requires_grad_() for t in (x, y, weight))
    total = riesz_sum(x, y, power=d + 1, weight=weight)
    (total.v.sum() + total.w.sum()).backward()
    assert not x.grad[1].any()
    assert all(torch.isfinite(t.grad).all() for t in (x, y, weight))
    assert x.grad[0].any()
    x.grad = None
    field = capacitor_field(x, torch.zeros(4), y, y.detach() + 1, 1.0)
    (field.direction.sum() + field.log_norm[[0, 2, 3]].sum()).backward()
    assert not x.grad[1].any()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("d", [2, 20])
def test_a_zero_weight_has_a_gradient_too(d):
    x, y, weight, height = _draw(3, 12, d)
    with torch.no_grad():
        weight[4] = 0.0
        y[4] = x[1] + 0.1  # nearer than every charge that counts

    def log_weight(weight):
        return riesz_sum(x.detach(), y.detach(), power=3, weight=weight, height=height.detach()).log_weight()

    (got,) = torch.autograd.grad(log_weight(weight).sum(), weight)
    r2 = torch.cdist(x, y).detach() ** 2 + height.detach()[:, None] ** 2
    kernel = r2**-1.5
    want = (kernel / (kernel * weight.detach()).sum(1, keepdim=True)).sum(0)
    torch.testing.assert_close(got, want)


def test_only_what_is_asked_for_is_differentiated():
    x, y, weight, height = _draw(3, 9, 2)
    total = riesz_sum(x, y.detach(), power=3, weight=weight.detach(), height=height)
    assert not total.m.requires_grad
    total.log_weight().sum().backward()
    assert y.grad is None
    assert weight.grad is None
    assert x.grad is not None
    assert height.grad is not None


def test_uint8_charges_and_half_precision_gradients():
    x = torch.rand(5, 3, requires_grad=True)
    y = torch.randint(0, 3, (20, 3), dtype=torch.uint8)
    riesz_sum(x, y, power=4).log_weight().sum().backward()
    assert torch.isfinite(x.grad).all()
    y = torch.randn(20, 3).bfloat16().requires_grad_()
    riesz_sum(x, y, power=4).log_weight().sum().backward()
    assert y.grad.dtype == torch.bfloat16
    assert y.grad.any()


def test_second_derivatives_are_refused():
    x, y, _, _ = _draw(3, 9, 2)
    value = riesz_sum(x, y, power=3).log_weight().sum()
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives of a field sum are not implemented"):
        gradient.sum().backward()


def test_forward_mode_is_refused():
    x, y, _, _ = (t.detach() for t in _draw(3, 9, 2))
    with pytest.raises((RuntimeError, NotImplementedError), match="forward"):
        torch.func.jvp(lambda x: riesz_sum(x, y, power=3).w, (x,), (x,))


@pytest.mark.parametrize("d", [2, 20])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_opcheck_finds_nothing(d, backend):
    x, y, weight, height = _draw(4, 9, d, dtype=torch.float32)
    options = ("riesz", [d + 1.0], 0.1, None, backend, "default")
    for arguments in (
        (x, y, weight, height, None, *options),
        (x.detach(), y.detach(), None, None, y.detach().mean(0), *options),
        (
            x,
            y.detach().to(torch.uint8),
            None,
            height.detach().double(),
            None,
            "gaussian",
            [1.0],
            0.0,
            0,
            backend,
            "default",
        ),
    ):
        torch.library.opcheck(torch_op.field_sum, arguments)


@pytest.mark.parametrize("d", [2, 20])
def test_compiled_calls_agree_with_eager_ones(d):
    x, y, weight, height = _draw(6, 30, d, dtype=torch.float32)

    def loss(x, y, weight, height):
        total = riesz_sum(x, y, power=d + 1, weight=weight, height=height)
        field = capacitor_field(x, height, y, y + 1, 2.0, plus_weight=weight)
        return total.posterior_mean(x).sin().sum() + field.direction.cos().sum() + field.log_norm.sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=None)
    for n in (6, 5):
        inputs = [t.detach().clone().requires_grad_() for t in (x[:n], y, weight, height[:n])]
        again = [t.detach().clone().requires_grad_() for t in inputs]
        eager_value, compiled_value = loss(*inputs), compiled(*again)
        torch.testing.assert_close(compiled_value, eager_value)
        eager_value.backward()
        compiled_value.backward()
        for a, b in zip(inputs, again, strict=True):
            torch.testing.assert_close(a.grad, b.grad)
    assert torch._dynamo.utils.counters["graph_break"] == {}


def test_a_compiled_function_may_return_the_records():
    x, y, _, height = (t.detach() for t in _draw(6, 30, 2, dtype=torch.float32))
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x, h, L: capacitor_field(x, h, y, y + 1, L), fullgraph=True, backend="aot_eager"
    )
    for L in (2.0, 2.5):  # the second value makes it a symbolic number
        got, want = compiled(x, height, L), capacitor_field(x, height, y, y + 1, L)
        torch.testing.assert_close(got.direction, want.direction)
        torch.testing.assert_close(got.log_norm, want.log_norm)


def test_bad_input_is_named_inside_compile_too():
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, y: riesz_sum(x, y, power=3).w, backend="aot_eager")
    with pytest.raises(InputError, match="y: expected 2 columns"):
        compiled(torch.zeros(3, 2), torch.zeros(3, 3))


@pytest.mark.parametrize("d", [2, 20])
@pytest.mark.parametrize(
    "batched",
    [("x",), ("y",), ("height",), ("x", "height"), ("weight",), ("x", "y", "weight", "height")],
    ids="+".join,
)
def test_vmap_is_a_loop(d, batched):
    names = ("x", "y", "weight", "height")
    single = dict(zip(names, (t.detach() for t in _draw(4, 9, d)), strict=True))
    many = {name: torch.stack([single[name] * (1 + 0.1 * k) for k in range(3)]) for name in batched}

    def sums(x, y, weight, height):
        total = riesz_sum(x, y, power=d + 1, weight=weight, height=height)
        return total.m, total.w, total.v

    inputs = {**single, **many}
    got = torch.func.vmap(sums, in_dims=tuple(0 if name in batched else None for name in names))(
        *(inputs[name] for name in names)
    )
    for k in range(3):
        want = sums(*(inputs[name][k] if name in batched else inputs[name] for name in names))
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a[k], b, rtol=1e-12, atol=1e-12)


def test_vmap_with_an_excluded_charge_and_with_gradients():
    x, y, _, _ = (t.detach() for t in _draw(4, 4, 2))
    batch = torch.stack([x, 2 * x])
    got = torch.func.vmap(lambda x: riesz_sum(x, y, power=3, first_self=0).v)(batch)
    for k in range(2):
        torch.testing.assert_close(got[k], riesz_sum(batch[k], y, power=3, first_self=0).v)

    def energy(x):
        return riesz_sum(x, y, power=3, height=0.5).log_weight().sum()

    got = torch.func.vmap(torch.func.grad(energy))(batch)
    for k in range(2):
        leaf = batch[k].clone().requires_grad_()
        energy(leaf).backward()
        torch.testing.assert_close(got[k], leaf.grad)


def test_the_operator_and_the_fast_path_agree():
    x, y, weight, height = _draw(6, 40, 3, dtype=torch.float32)
    watched = riesz_sum(x, y, power=3, softening=0.1, weight=weight, height=height)
    plain = riesz_sum(
        *(t.detach() for t in (x, y)), power=3, softening=0.1, weight=weight.detach(), height=height.detach()
    )
    raw = torch.ops.efm_fast.field_sum(x, y, weight, height, *OPTIONS)
    assert_sum_close(watched, plain, 0.0)
    assert torch.equal(raw[3], plain.v)


@pytest.mark.parametrize("d", [20, 100])
@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_gradients_of_a_field_that_is_split_about_a_centre(backend, d):
    q = query_set("flux", 16, 60, d, seed=2)
    weight = torch.rand(60, generator=torch.Generator().manual_seed(d)) + 0.5
    found = []
    for name in (backend, "reference"):
        leaves = [t.clone().requires_grad_() for t in (q.x, q.z, q.plus, q.minus, weight)]
        x, z, plus, minus, charge = leaves
        field = capacitor_field(x, z, plus, minus, q.L, plus_weight=charge, backend=name)
        scalar = (field.direction * torch.linspace(-1, 1, d + 1)).sum() + 0.1 * field.log_norm.sum()
        found.append(torch.autograd.grad(scalar, leaves))
    for got, want in zip(*found, strict=True):
        assert (got.double() - want.double()).norm() <= 1e-3 * want.double().norm()
