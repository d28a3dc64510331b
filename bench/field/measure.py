"""One row of the bench. Its accuracy is tested first, and it is timed only if it passes.

The test compares directions with float64 direct differences at the kinds of points of ``efm_fast.field.queries``, and
at some of the points that are timed, so that the timed code is the tested code.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.common.memory import PeakMemory
from bench.common.timing import once, repeated
from bench.field.forms import Form
from efm_fast.field import capacitor_field
from efm_fast.field.queries import KINDS, QuerySet, query_set
from efm_fast.types import CapacitorField

#: Numbers of points and of charges per plate in the sets that test accuracy, by D.
GATE_SIZES = {8: (256, 2048), 64: (128, 1024), 784: (48, 256), 3072: (24, 96), 12288: (8, 32)}
LOG_NORM_TOLERANCE = 1e-3
_JUDGED = 4  # timed points whose accuracy is tested


@dataclass(frozen=True)
class Case:
    """The problem of one row: the field of both plates at ``n`` points, with ``m`` charges per plate.

    Attributes:
        d: features.
        n: points.
        m: charges per plate.
        device: torch device.
        dtype: dtype of the charges; points are float64 if the charges are, otherwise float32.
        call_seconds: a form whose call takes longer than this gets fewer points.
        min_run_time: seconds of timing.
    """

    d: int
    n: int
    m: int
    device: str = "cpu"
    dtype: str = "float32"
    call_seconds: float = 0.4
    min_run_time: float = 0.8


@dataclass(frozen=True)
class Speed:
    """The speed of a form.

    Attributes:
        seconds: median time of a call.
        low: 10 % quantile of the times.
        high: 90 % quantile of the times.
        runs: number of calls.
        pairs_per_second: pairs of a point and a charge, of both plates.
        flops: 4 N M D per plate and second.
    """

    seconds: float
    low: float
    high: float
    runs: int
    pairs_per_second: float
    flops: float


@dataclass
class Measurement:
    """One row. It has no speed if it failed the test of accuracy or could not run; ``reason`` says why.

    Attributes:
        form: name of the row.
        d: features.
        n: points that were timed.
        m: charges per plate.
        errors: largest direction error by kind of points, and the largest error of log |E|.
        passed: whether every error is within its tolerance; None if nothing ran.
        reason: why there is no speed.
        speed: the speed, or None.
        peak_bytes: peak memory of a call, without the memory in use before it; None if unknown.
    """

    form: str
    d: int
    n: int | None = None
    m: int | None = None
    errors: dict[str, float] = field(default_factory=dict)
    passed: bool | None = None
    reason: str | None = None
    speed: Speed | None = None
    peak_bytes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def tolerance(d: int) -> float:
    """Largest direction error that passes: 1e-4 up to D = 3072, 2e-4 up to 12288, 1e-3 above."""
    return 1e-4 if d <= 3072 else 2e-4 if d <= 12288 else 1e-3


def measure(form: Form, case: Case) -> Measurement:
    """Test the accuracy of ``form`` and time it if it passes; the row of a form that fails says so."""
    row = Measurement(form.name, case.d)
    row.reason = form.why_not(case.d, torch.device(case.device))
    if row.reason is not None:
        return row
    return _guarded(row, functools.partial(_judge, form, case))


def timed(form: Form, case: Case, n: int) -> Measurement:
    """Time ``form`` at ``n`` of the case's points, for a form that has passed the test in ``case.d`` features.

    Its accuracy is tested again at some of the timed points. If it fails there, the row has no speed.
    """
    return _guarded(Measurement(form.name, case.d, n, case.m), functools.partial(_time, form, case, n))


def _guarded(row: Measurement, fill: Callable[[Measurement], None]) -> Measurement:
    try:
        fill(row)
    except Exception as problem:  # a competitor may fail in any way; its row says so
        text = str(problem).strip().split("\n")[0]
        row.reason = f"failed: {type(problem).__name__}: {text[:160]}"
    gc.collect()
    return row


def _time(form: Form, case: Case, n: int, row: Measurement) -> None:
    direction, log_norm, row.peak_bytes = _timed_errors(form, case, n)
    row.errors = {"interpolated": direction, "log_norm": log_norm}
    row.passed = not red_kinds(row.errors, case.d)
    if row.passed:
        points, _ = timed_set(case.d, case.n, case.m, case.dtype)
        row.speed = _speed(form, case, n, _seconds(form, on_device(points, case.device, n), case.device))


def _judge(form: Form, case: Case, row: Measurement) -> None:
    row.errors = gate_errors(form, case)
    n, seconds = _affordable(form, case)
    judged = _timed_errors(form, case, n)
    row.errors["interpolated"] = max(row.errors["interpolated"], judged[0])
    row.errors["log_norm"] = max(row.errors["log_norm"], judged[1])
    row.peak_bytes = judged[2]
    row.n, row.m = n, case.m
    red = red_kinds(row.errors, case.d)
    row.passed = not red
    if red:
        row.reason = f"wrong at {', '.join(red)}: no speed"
        return
    row.speed = _speed(form, case, n, seconds)


def gate_errors(form: Form, case: Case) -> dict[str, float]:
    """Largest direction error by kind of points, and the largest error of log |E| as "log_norm"."""
    errors = {kind: _errors(form, kind, case) for kind in KINDS}
    worst = {kind: direction for kind, (direction, _) in errors.items()}
    return worst | {"log_norm": max(log_norm for _, log_norm in errors.values())}


def red_kinds(errors: dict[str, float], d: int) -> list[str]:
    """The kinds of points whose error is beyond tolerance, or not a number."""
    return [
        kind
        for kind, error in errors.items()
        if not error <= (LOG_NORM_TOLERANCE if kind == "log_norm" else tolerance(d))
    ]


def _errors(form: Form, kind: str, case: Case) -> tuple[float, float]:
    points = gate_set(kind, case.d, case.dtype)
    return _compare(form.field(*on_device(points, case.device)), gate_truth(kind, case.d, case.dtype))


def _compare(got: CapacitorField, want: CapacitorField) -> tuple[float, float]:
    """Largest error of the direction and of the log norm; NaN counts as infinite."""
    direction = torch.linalg.vector_norm(got.direction.double().cpu() - want.direction, dim=1)
    log_norm = (got.log_norm.double().cpu() - want.log_norm).abs()
    return tuple(float(e.nan_to_num(nan=torch.inf).max()) for e in (direction, log_norm))  # type: ignore[return-value]


def _with_dtype(points: QuerySet, dtype: str) -> QuerySet:
    kind = getattr(torch, dtype)
    x = points.x.double() if dtype == "float64" else points.x
    return QuerySet(points.kind, x, points.z, points.plus.to(kind), points.minus.to(kind), points.L)


@functools.lru_cache(maxsize=32)
def gate_set(kind: str, d: int, dtype: str) -> QuerySet:
    """Points and charges that test accuracy in ``d`` features."""
    n, m = next((size for most, size in GATE_SIZES.items() if d <= most), (2, 8))
    return _with_dtype(query_set(kind, n, m, d, seed=d, uint8=dtype == "uint8"), dtype)


def truth(points: QuerySet, n: int | None = None) -> CapacitorField:
    """The field by direct differences in float64 at the first ``n`` points."""
    x, z = points.x[:n].double(), points.z[:n]
    return capacitor_field(x, z, points.plus, points.minus, points.L, backend="reference")


@functools.lru_cache(maxsize=32)
def gate_truth(kind: str, d: int, dtype: str) -> CapacitorField:
    """The true field of :func:`gate_set`."""
    return truth(gate_set(kind, d, dtype))


@functools.lru_cache(maxsize=1)
def timed_set(d: int, n: int, m: int, dtype: str) -> tuple[QuerySet, CapacitorField]:
    """Points and charges for timing, and the true field at the first of the points."""
    points = _with_dtype(query_set("interpolated", n, m, d, uint8=dtype == "uint8"), dtype)
    return points, truth(points, _JUDGED)


def on_device(
    points: QuerySet, device: str, n: int | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """The arguments of a form for the first ``n`` points: x, z, plus and minus on ``device``, and L."""
    x, z = points.x[:n].to(device), points.z[:n].to(device)
    return x, z, points.plus.to(device), points.minus.to(device), points.L


def _seconds(form: Form, arguments: tuple[Any, ...], device: str) -> float:
    return once(functools.partial(form.field, *arguments), device)


def _affordable(form: Form, case: Case) -> tuple[int, float]:
    """The number of points for which a call takes about ``case.call_seconds``, and the seconds of that call."""
    points, _ = timed_set(case.d, case.n, case.m, case.dtype)
    most = case.n
    if form.elements is not None:
        most = min(most, max(1, form.elements // (case.m * case.d)))

    def run(n: int) -> float:
        # the first call warms up; a compiler compiles again for more than one point
        if n == 1 or form.compiles:
            _seconds(form, on_device(points, case.device, n), case.device)
        return _seconds(form, on_device(points, case.device, n), case.device)

    n, before = 1, (0, 0.0)
    most_seconds = case.call_seconds
    while True:
        seconds = run(n)
        if n == 1:  # with one point, reading the charges takes most of the time; more points are wanted then
            most_seconds = max(most_seconds, min(4 * seconds, 5 * most_seconds))
        # seconds per further point, without reading the charges
        each = max((seconds - before[1]) / (n - before[0]), seconds / (8 * n))
        affordable = n + int((most_seconds - seconds) / each)
        if n == most or affordable < 2 * n:
            return n, seconds
        before = (n, seconds)
        larger = min(most, 8 * n, affordable)
        n = larger if larger == most else 1 << (larger.bit_length() - 1)


def _timed_errors(form: Form, case: Case, n: int) -> tuple[float, float, int | None]:
    """Largest errors of direction and log norm among the points that are timed, and the call's peak memory."""
    points, want = timed_set(case.d, case.n, case.m, case.dtype)
    arguments = on_device(points, case.device, n)
    with PeakMemory(case.device) as memory:
        got = form.field(*arguments)
    k = min(n, _JUDGED)
    part = CapacitorField(got.direction[:k], got.log_norm[:k])
    return *_compare(part, CapacitorField(want.direction[:k], want.log_norm[:k])), memory.bytes


def _speed(form: Form, case: Case, n: int, seconds: float) -> Speed:
    points, _ = timed_set(case.d, case.n, case.m, case.dtype)
    call = functools.partial(form.field, *on_device(points, case.device, n))
    times = repeated(call, case.device, case.min_run_time, seconds)
    low, median, high = times.quantiles(0.1, 0.5, 0.9)
    pairs = 2.0 * n * case.m
    return Speed(median, low, high, times.calls, pairs / median, 4.0 * case.d * pairs / median)
