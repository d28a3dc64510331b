"""A backend that is named is obeyed, gradients flow, and tensors elsewhere are an error."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from efm_fast import native
from efm_fast.errors import BackendUnavailableError, InputError
from efm_fast.field import backends, capacitor_field
from efm_fast.lines import ExactField, Support, forward_map, full_map, trace_lines
from efm_fast.lines.engine import extension
from efm_fast.lines.integrate.slope_step import means_step
from efm_fast.methods.learned import LearnedField
from efm_fast.methods.parametrisation import Parametrisation
from efm_fast.types import PlatePosterior, Plates

from .conftest import gaussian


class Direct:
    """A field of plate means that hides them."""

    L = 1.0

    def __init__(self) -> None:
        self.plus, self.minus = gaussian(1, 1, 3), gaussian(1, 2, 3)

    def means(self, x, z):
        share = torch.sigmoid(x.sum(1) - z)
        return PlatePosterior(share, self.plus + 0.5 * x, self.minus - 0.5 * x)

    def direction(self, x, z):
        return self.means(x, z).moment(x, z, self.L)

    def arrival(self, x, z, plate):
        return self.means(x, z).mean_minus


class Means(Direct):
    """The same field, as a learned one shows it."""

    posterior = Direct.means


FIELDS = [Means, Direct]
METHODS = ["euler", "midpoint", "heun", "rk4"]


@pytest.mark.parametrize("named", ["argument", "environment"])
@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("method", METHODS)
def test_backend_torch_never_calls_the_extension(monkeypatch, kind, method, named):
    def refuse():
        raise AssertionError("the extension was called")

    if named == "environment":
        monkeypatch.setenv("EFM_FAST_BACKEND", "torch")
    monkeypatch.setattr(native, "extension", refuse)
    forward_map(
        kind(), gaussian(5, 0, 3), steps=3, method=method, backend="torch" if named == "argument" else "auto"
    )


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("spacing", ["uniform", "log"])
@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("method", METHODS)
def test_gradients_flow_through_a_field_in_torch(kind, method, spacing, backend):
    field = kind()
    field.plus, field.minus = field.plus.double(), field.minus.double()

    def end(x0):
        return forward_map(field, x0, steps=3, method=method, spacing=spacing, backend=backend).end

    x0 = gaussian(4, 0, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(end, (x0,))
    field.plus, field.minus = field.plus.float(), field.minus.float()
    single = x0.detach().float().requires_grad_()
    (gradient,) = torch.autograd.grad(end(single).sum(), single)
    (want,) = torch.autograd.grad(end(x0).sum(), x0)
    torch.testing.assert_close(gradient.double(), want, rtol=1e-3, atol=1e-4)
    assert not end(single.detach()).requires_grad


@pytest.mark.parametrize("backend", ["auto", "cpp", "torch"])
def test_gradients_of_exact_lines_flow_step_by_step(plates, backend):
    field, x0 = ExactField(plates), gaussian(4, 0, 2).requires_grad_()
    lines = forward_map(field, x0, steps=5, spacing="log", backend=backend)
    (gradient,) = torch.autograd.grad(lines.end.sum(), x0)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().amax() > 0


def whole_lines(monkeypatch) -> list[int]:
    """How many lines each of the extension's calls took."""
    counts, run = [], extension.trace

    def counted(problem, *rest):
        counts.append(len(problem.x))
        return run(problem, *rest)

    monkeypatch.setattr(extension, "trace", counted)
    return counts


@pytest.mark.parametrize(
    ("variable", "argument", "whole"),
    [
        (None, "auto", True),
        (None, "cpp", True),
        (None, "torch", False),
        (None, "reference", False),
        ("torch", "auto", False),
        ("torch", "cpp", True),
        ("cpp", "auto", True),
        ("cpp", "torch", False),
    ],
)
def test_one_switch_chooses_sums_and_lines(monkeypatch, plates, variable, argument, whole):
    if variable:
        monkeypatch.setenv("EFM_FAST_BACKEND", variable)
    counts = whole_lines(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace_lines(gaussian(4, 0), torch.ones(4), plates.plus, plates.minus, plates.L, backend=argument)
    assert counts == [4] * whole


def test_a_field_s_own_backend_is_what_auto_stands_for(monkeypatch, plates):
    calls = []
    monkeypatch.setattr(backends.Backend, "centred_sum", recorded(calls, backends.Backend.centred_sum))
    forward_map(ExactField(plates, backend="torch"), gaussian(4, 0), steps=2)
    assert set(calls) == {"torch"}
    calls.clear()
    forward_map(ExactField(plates, backend="torch"), gaussian(4, 0), steps=2, backend="reference")
    assert set(calls) == {"reference"}
    calls.clear()
    forward_map(ExactField(plates, backend="torch"), gaussian(4, 0), steps=2, backend="cpp")
    assert calls == []


def recorded(calls, run):
    def call(self, request):
        calls.append(self.name)
        return run(self, request)

    return call


def test_the_older_spellings_work_and_warn(monkeypatch, plates, uniform_field):
    x0, z = gaussian(4, 0), torch.ones(4)
    counts = whole_lines(monkeypatch)

    def trace(**settings):
        return trace_lines(x0, z, plates.plus, plates.minus, plates.L, **settings)

    for engine, whole in (("torch", []), ("extension", [4]), ("auto", [4])):
        counts.clear()
        with pytest.warns(DeprecationWarning, match="engine will go in the next version"):
            trace(engine=engine)
        assert counts == whole
    counts.clear()
    monkeypatch.setenv("EFM_FAST_LINES", "torch")
    with pytest.warns(DeprecationWarning, match="EFM_FAST_LINES will go") as said:
        trace()
    assert said[0].filename == __file__
    assert counts == []
    trace(backend="cpp")
    assert counts == [4]
    monkeypatch.setenv("EFM_FAST_LINES", "extension")
    with (
        pytest.warns(DeprecationWarning, match="EFM_FAST_LINES"),
        pytest.raises(BackendUnavailableError, match="gradient"),
    ):
        trace_lines(x0.requires_grad_(), z, plates.plus, plates.minus, plates.L)
    with (
        pytest.warns(DeprecationWarning, match="EFM_FAST_LINES"),
        pytest.raises(BackendUnavailableError, match="ExactField"),
    ):
        forward_map(uniform_field, torch.zeros(2, 2), steps=2)
    with pytest.raises(InputError, match="engine: expected one of"):
        trace(engine="cuda")


def test_a_learned_field_names_a_missing_extension(monkeypatch):
    def missing():
        raise BackendUnavailableError("the extension is missing")

    monkeypatch.setattr(native, "extension", missing)
    with pytest.raises(BackendUnavailableError, match="missing"):
        forward_map(Means(), gaussian(4, 0, 3), steps=2, backend="cpp")


class _Linear(Parametrisation):
    """A parametrisation whose direction is the raw features, and one along z."""

    def direction(self, features, scalar, x, z):
        return torch.cat([features, torch.ones_like(z)[:, None]], 1)


def test_a_learned_field_passes_gradients_to_its_points():
    layer = torch.nn.Linear(3, 3)
    field = LearnedField(torch.nn.Identity(), _Linear(), SimpleNamespace(L=1.0))
    field.forward = lambda x, z: (layer(x), z)
    x = gaussian(4, 0, 3)
    assert not field.direction(x, torch.ones(4)).requires_grad
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(field.direction(x, torch.ones(4)).sum(), x)
    torch.testing.assert_close(gradient, layer.weight.sum(0).expand(4, 3))
    with torch.no_grad():
        assert not field.direction(x, torch.ones(4)).requires_grad


def test_means_that_broadcast_are_no_plain_memory():
    base, at = gaussian(7, 0, 3), gaussian(7, 1, 3)
    one = PlatePosterior(torch.full((1,), 0.3), gaussian(1, 2, 3), gaussian(1, 3, 3))
    all_ = PlatePosterior(
        torch.full((7,), 0.3), *(m.expand(7, 3).clone() for m in (one.mean_plus, one.mean_minus))
    )
    got, want = (means_step(base, at, 0.5, means, 1.0, 0.1, 30.0) for means in (one, all_))
    torch.testing.assert_close(got, want)


def test_a_view_that_negates_is_followed_as_it_shows(plates):
    x0 = gaussian(5, 3)
    view = torch.complex(torch.zeros_like(x0), -x0).conj().imag
    assert view.is_neg()
    field = ExactField(plates)
    for backend in ("torch", "cpp"):
        settings = {"steps": 5, "backend": backend}
        assert torch.equal(forward_map(field, view, **settings).end, forward_map(field, x0, **settings).end)
    z = torch.full((5,), 0.5)
    got, want = (trace_lines(x, z, plates.plus, plates.minus, plates.L) for x in (view, x0))
    assert torch.equal(got.length, want.length)
    got, want = (forward_map(Means(), x, steps=3).end for x in (gaussian(5, 0, 3), gaussian(5, 0, 3)))
    assert torch.equal(got, want)


@pytest.mark.parametrize("which", ["z", "plus", "minus"])
def test_tensors_on_another_device_are_named(plates, which):
    x, z = gaussian(5, 0), torch.full((5,), 0.5)
    given = {"z": z, "plus": plates.plus, "minus": plates.minus}
    given[which] = given[which].to("meta")
    for backend in ("auto", "torch", "cpp"):
        with pytest.raises(InputError, match=f"{which}: expected the device of x, cpu, got meta"):
            trace_lines(x, given["z"], given["plus"], given["minus"], plates.L, backend=backend)
    with pytest.raises(InputError, match=f"{which}: expected the device of x, cpu, got meta"):
        capacitor_field(x, given["z"], given["plus"], given["minus"], plates.L)
    if which == "z":
        return
    field = ExactField(Plates(given["plus"], given["minus"], plates.L))
    for backend in ("auto", "torch", "cpp"):
        with pytest.raises(InputError, match=f"{which}: expected the device of x0, cpu, got meta"):
            forward_map(field, x, steps=3, backend=backend)
    with pytest.raises(InputError, match=f"{which}: expected the device of x, cpu, got meta"):
        full_map(field, x, support=Support.of(plates.plus, plates.minus))


def test_a_default_device_does_not_reach_lines(plates):
    x0, z = gaussian(5, 0), torch.full((5,), 0.5)
    field = ExactField(plates)
    support, x3, fields = (
        Support.of(plates.plus, plates.minus),
        gaussian(5, 0, 3),
        [kind() for kind in FIELDS],
    )

    def everything():
        both, spacings = ("torch", "cpp"), ("log", "uniform")
        return [
            *(forward_map(field, x0, steps=3, spacing=s, backend=e).end for e in both for s in spacings),
            *(trace_lines(x0, z, plates.plus, plates.minus, plates.L, backend=e).end for e in both),
            full_map(field, x0, support=support).end,
            *(forward_map(learned, x3, steps=3, spacing="log").end for learned in fields),
        ]

    want = everything()
    torch.set_default_device("meta")
    try:
        got = everything()
    finally:
        torch.set_default_device(None)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)
