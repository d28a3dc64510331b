"""Calls every entry to native code with every wrong thing, each announced; run by test_door.py in a child process."""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from efm_fast import native
from efm_fast.field import (
    capacitor_field,
    capacitor_potential,
    energy,
    gaussian_sum,
    potential,
    riesz_sum,
)
from efm_fast.field.backends import cpp
from efm_fast.field.backends.gradient import Needs
from efm_fast.field.kernel import Riesz
from efm_fast.field.request import SumRequest
from efm_fast.lines import ExactField, forward_map, trace_lines
from efm_fast.lines.integrate.slope_step import means_step, slope_step
from efm_fast.types import PlatePosterior, Plates

warnings.simplefilter("ignore")
N, M, D = 5, 7, 3


def _fake(t: Tensor) -> Tensor:
    with FakeTensorMode(allow_non_fake_inputs=True):
        return torch.empty(t.shape, dtype=t.dtype)


#: Ways to spoil a tensor; what native code would read is missing, elsewhere, or of another size.
WRONG: dict[str, Callable[[Tensor], Any]] = {
    "None": lambda t: None,
    "a list": lambda t: t.tolist(),
    "meta": lambda t: t.to("meta"),
    "fake": _fake,  # what a tracer traces with
    "sparse": lambda t: t.to_sparse(),
    "mkldnn": lambda t: t.to_mkldnn(),
    "nested": lambda t: torch.nested.nested_tensor([t, t]),
    "complex": lambda t: t.to(torch.complex64),
    "bool": lambda t: t > 0,
    "quantized": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "no rows": lambda t: t[:0],
    "a row less": lambda t: t[1:],
    "scalar": lambda t: t.sum(),
    "more dimensions": lambda t: t[None],
    "a column less": lambda t: t[..., 1:] if t.ndim == 2 else t[1:],
    "no columns": lambda t: t[..., :0],
}

#: Numbers in place of a number.
NUMBERS: tuple[Any, ...] = (
    None,
    "two",
    True,
    -1,
    0,
    0.5,
    float("nan"),
    float("inf"),
    2**31,
    2**64,
    10**400,
    torch.zeros(3),
)


def tensors() -> dict[str, Tensor]:
    """Arguments that serve, by name."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "x": (N, D),
        "y": (M, D),
        "other": (M, D),
        "weight": (M,),
        "height": (N,),
        "direction": (N, D + 1),
    }
    return {name: torch.randn(shape, generator=generator).abs() for name, shape in shapes.items()}


def _entries() -> list[Callable[..., Any]]:
    """Every call that ends in native code; its parameters are names of :func:`tensors`."""
    needs = Needs(True, True, True, True)

    def riesz(x: Tensor, y: Tensor, weight: Tensor, height: Tensor) -> Any:
        return riesz_sum(x, y, power=4.0, weight=weight, height=height)

    def gaussian(x: Tensor, y: Tensor, weight: Tensor, height: Tensor) -> Any:
        return gaussian_sum(x, y, bandwidth=1.0, weight=weight, height=height)

    def above_the_direct_regime(x: Tensor, y: Tensor) -> Any:
        return riesz_sum(x.repeat(1, 30), y.repeat(1, 30), power=3.0, backend="cpp")

    def operator(x: Tensor, y: Tensor, weight: Tensor, height: Tensor) -> Any:
        options = (None, "riesz", [D + 1.0], 0.0, None, "cpp", "default")
        return torch.ops.efm_fast.field_sum(x, y, weight, height, *options)

    def adapter(x: Tensor, y: Tensor, weight: Tensor, height: Tensor) -> Any:
        return cpp.centred_sum(SumRequest(x, y, kernel=Riesz(D + 1.0), weight=weight, height=height))

    def backward(x: Tensor, y: Tensor, weight: Tensor, height: Tensor) -> Any:
        request = SumRequest(x, y, kernel=Riesz(D + 1.0), weight=weight, height=height)
        return cpp.log_sum_backward(request, torch.zeros(N).double(), torch.ones(N), torch.ones(N, D), needs)

    def field(x: Tensor, height: Tensor, y: Tensor, other: Tensor, weight: Tensor) -> Any:
        return capacitor_field(x, height, y, other, 2.0, plus_weight=weight)

    def one_potential(x: Tensor, y: Tensor, weight: Tensor, height: Tensor) -> Any:
        return potential(x, y, weight=weight, height=height)

    def both_potentials(x: Tensor, height: Tensor, y: Tensor, other: Tensor, weight: Tensor) -> Any:
        return capacitor_potential(x, height, y, other, 2.0, minus_weight=weight)

    def energies(y: Tensor, other: Tensor, weight: Tensor) -> Any:
        return energy(y, other, 2.0, plus_weight=weight)

    def trace(x: Tensor, height: Tensor, y: Tensor, other: Tensor) -> Any:
        return trace_lines(x, height, y, other, 2.0, backend="cpp", max_steps=5)

    def forward(x: Tensor, y: Tensor, other: Tensor) -> Any:
        return forward_map(ExactField(Plates(y, other, 2.0)), x, steps=3, backend="cpp")

    def direct_step(x: Tensor, direction: Tensor) -> Any:
        return slope_step(x, direction, 0.1, 30.0)

    def step_of_means(x: Tensor, height: Tensor, direction: Tensor) -> Any:
        return means_step(
            x, x, 0.5, PlatePosterior(height, direction[:, :D], direction[:, 1:]), 1.0, 0.1, 30.0
        )

    def addresses(x: Tensor) -> Any:
        return native.address(x, torch.float32, (N, D)), native.matrix(x)

    sums = [riesz, gaussian, above_the_direct_regime, operator, adapter, backward]
    fields = [field, one_potential, both_potentials, energies]
    return [*sums, *fields, trace, forward, direct_step, step_of_means, addresses]


def numbers() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Every number that a caller may name, as a call of it."""
    t = tensors()
    x, y, z = t["x"], t["y"], t["height"]
    field = ExactField(Plates(y, t["other"], 2.0))
    yield "power", lambda v: riesz_sum(x, y, power=v)
    yield "bandwidth", lambda v: gaussian_sum(x, y, bandwidth=v)
    yield "softening", lambda v: riesz_sum(x, y, power=3.0, softening=v)
    yield "height", lambda v: riesz_sum(x, y, power=3.0, height=v)
    yield "first_self", lambda v: riesz_sum(x, y, power=3.0, first_self=v)
    yield "precision", lambda v: riesz_sum(x, y, power=3.0, precision=v)
    yield "backend", lambda v: riesz_sum(x, y, power=3.0, backend=v)
    yield "L of capacitor_field", lambda v: capacitor_field(x, z, y, y, v)
    yield "L of energy", lambda v: energy(y, y, v)
    yield "L of trace_lines", lambda v: trace_lines(x, z, y, y, v, max_steps=5)
    yield "step", lambda v: trace_lines(x, z, y, y, 2.0, step=v, max_steps=5)
    yield "tolerance", lambda v: trace_lines(x, z, y, y, 2.0, method="dopri5", tolerance=v, max_steps=5)
    yield "max_steps", lambda v: trace_lines(x, z, y, y, 2.0, max_steps=v)
    yield "every", lambda v: trace_lines(x, z, y, y, 2.0, max_steps=5, every=v, return_paths=True)
    yield "method", lambda v: trace_lines(x, z, y, y, 2.0, method=v, max_steps=5)
    yield "engine", lambda v: trace_lines(x, z, y, y, 2.0, engine=v, max_steps=5)
    yield "backend of lines", lambda v: trace_lines(x, z, y, y, 2.0, backend=v, max_steps=5)
    yield "steps", lambda v: forward_map(field, x, steps=v)
    yield "start", lambda v: forward_map(field, x, steps=3, start=v)
    yield "stop", lambda v: forward_map(field, x, steps=3, stop=v)
    yield "L of a field", lambda v: forward_map(ExactField(Plates(y, y, v)), x, steps=3)


def bindings() -> Iterator[tuple[str, Callable[[], Any]]]:
    """The bindings themselves with no addresses, no threads and sizes that do not fit."""
    extension, f32 = native.extension(), native.extension().Dtype.float32
    x = torch.ones(N, D)
    good, null = native.matrix(x), (0, f32, N, D, D, 1)
    options = {"kernel": extension.Kernel("riesz", [4.0]), "wide": False}
    request = extension.Request(x=good, y=good, **options)
    for name, a, b in (("x", null, good), ("y", good, null), ("rows", (*good[:2], -1, *good[3:]), good)):
        yield f"Request of a wrong {name}", lambda a=a, b=b: extension.Request(x=a, y=b, **options)
    yield "Kernel of no such name", lambda: extension.Kernel("coulomb", [4.0])
    for parameters in ([], [4.0, 1.0], None, ["two"]):
        yield f"Kernel of {parameters}", lambda p=parameters: extension.Kernel("riesz", p)
    for name in ("weight", "first_self", "softening2", "centre"):
        yield f"Request with {name} of text", lambda n=name: setattr(request, n, "two")
    places = {"m": 0, "w": 0, "along": 0, "rest": 0, "is_double": False}
    yield "Result of no addresses", lambda: extension.Result(**places)
    sizes = (("m", N), ("w", N), ("along", N), ("rest", N * D))
    kept = {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes}
    result = extension.Result(**{name: native.address(t) for name, t in kept.items()}, is_double=False)
    yield "Request of other columns", lambda: extension.Request(x=good, y=native.matrix(x[:, 1:]), **options)
    for threads in (0, -1, 1):
        yield (
            f"direct_sum, {threads} threads",
            lambda t=threads: extension.direct_sum(request, None if t == 1 else result, threads=t),
        )
        yield (
            f"bfloat16_sum, {threads} threads",
            lambda t=threads: extension.bfloat16_sum(request, result, nearest=99, threads=t),
        )
        yield (
            f"direct_backward of no gradients, {threads} threads",
            lambda t=threads: extension.direct_backward(request, None, threads=t),
        )
        yield (
            f"slope_step, {threads} threads",
            lambda t=threads: extension.slope_step(_sized(extension.SlopeStep), threads=t),
        )
        for kind, rule in (("trace_lines", extension.TraceRule), ("forward_lines", extension.ForwardRule)):
            integrate, records = getattr(extension, kind), (extension.LinePlates, rule, extension.LineRows)
            yield (
                f"{kind} of nothing, {threads} threads",
                lambda i=integrate, r=records, t=threads: i(*(record() for record in r), False, t),
            )
            yield (
                f"{kind} of sizes without addresses, {threads} threads",
                lambda i=integrate, r=records, t=threads: i(*map(_sized, r), False, t),
            )
            yield (
                f"{kind} of another record, {threads} threads",
                lambda i=integrate, t=threads: i(extension.LineRows(), {}, {}, False, t),
            )
    for g_v, m, what in ((good, 0, "no addresses"), (null, 8, "no matrix"), (good, None, "no number")):
        arguments = {"m": m, "g_w": 8, "g_v": g_v, "is_double": False}
        yield f"Gradients of {what}", lambda a=arguments: extension.Gradients(**a)
    other = extension.Gradients(
        m=native.address(kept["m"]),
        g_w=native.address(kept["w"]),
        g_v=native.matrix(x[1:]),
        is_double=False,
    )
    yield "direct_backward of another shape", lambda: extension.direct_backward(request, other, threads=1)
    yield "LargeSum without a centre", lambda: extension.LargeSum(request, result, 8)
    centre = torch.zeros(D)
    request.centre = native.address(centre)
    for nearest in (0, 9, -1):
        yield f"LargeSum of {nearest} nearest", lambda n=nearest: extension.LargeSum(request, result, n)
    state = extension.LargeSum(request, result, 8)
    yield "weigh before charges", lambda: state.weigh(8, 1)
    yield "centre_points to nowhere", lambda: state.centre_points(0, 1)
    for first, count in ((0, 0), (-1, 2), (0, N + 1), (N, 1), (2**62, 2**30)):
        yield f"centre_charges {first} + {count}", lambda f=first, c=count: state.centre_charges(f, c, 8, 1)
    yield "centre_charges to nowhere", lambda: state.centre_charges(0, N, 0, 1)
    yield "centre_charges on no threads", lambda: state.centre_charges(0, N, native.address(x), 0)
    gone = torch.ones(N, D)
    gone.untyped_storage().resize_(0)
    yield "address of freed memory", lambda: native.address(gone)
    yield "matrix of freed memory", lambda: native.matrix(gone)
    yield "numbers of freed memory", lambda: native.plain(gone, torch.float64)


def _sized(record: Callable[[], Any]) -> Any:
    """A record whose sizes are 5 and whose other fields stay what they are at first: no address is given."""
    filled = record()
    for name in ("count", "n_plus", "n_minus", "features", "every", "steps", "max_steps"):
        if hasattr(filled, name):
            setattr(filled, name, 5)
    return filled


def announce(what: str, call: Callable[[], Any]) -> None:
    """Say what is tried, try it, and say what came of it, in one line."""
    print(what, end=": ", flush=True)
    try:
        call()
    except Exception as error:
        text = " ".join(str(error).split())
        native_frame = "" if len(text) < 400 else "TOO LONG "
        print(f"{native_frame}{type(error).__name__}: {text[:300]}", flush=True)
        if not text:
            traceback.print_exc()
    else:
        print("served", flush=True)


def main() -> None:
    """Try everything."""
    for call in _entries():
        entry, names, good = call.__name__, tuple(inspect.signature(call).parameters), tensors()
        announce(f"{entry} | as it should be", lambda c=call, a=names, g=good: c(*(g[n] for n in a)))
        for name in names:
            for wrong, spoil in WRONG.items():
                try:
                    arguments = [spoil(good[n]) if n == name else good[n] for n in names]
                except Exception:
                    continue  # this torch cannot make such a thing
                announce(f"{entry} | {name} | {wrong}", lambda c=call, a=arguments: c(*a))
    for name, call in numbers():
        for value in NUMBERS:
            announce(f"{name} | {str(value)[:20]}", lambda c=call, v=value: c(v))
    for name, call in bindings():
        announce(f"binding | {name}", call)
    print("all tried")


if __name__ == "__main__":
    main()
