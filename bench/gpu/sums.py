"""The sums of :data:`bench.gpu.prediction.PROBLEMS` on a CUDA device, beside its own rates and what else one would use.

``python -m bench.gpu.sums [--quick]`` is a stage of ``python -m bench.gpu``. A sum that fails the accuracy gate has no
speed. The file grows with every row: our sums come first, then the other forms of each.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch
from torch import Tensor

from bench.common.ceilings import Ceilings, measure
from bench.common.record import print_table, write_result
from bench.common.timing import repeated
from bench.field.forms import Form, forms
from bench.field.measure import Case, gate_errors, red_kinds
from bench.gpu.prediction import PROBLEMS, Problem, predict
from efm_fast import kernels
from efm_fast.field.queries import KINDS

Row = dict[str, object]
COLUMNS = ("sum", "form", "ms", "graph_ms", "rate", "unit", "of_bound", "slower", "direction_error", "ok")
_OWN_SECONDS, _OTHERS_SECONDS = 0.5, 0.1  # of timing for a row


def inputs(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Points, charges and heights of a problem on the device, see :class:`bench.gpu.prediction.Problem`."""
    n, m, d = problem.n, problem.m, problem.d
    generator = torch.Generator("cuda").manual_seed(0)
    y = torch.randn(m, d, device="cuda", generator=generator)
    scale = 64.0 if problem.uint8 else 1.0
    y = (scale * y + 128.0).clamp(0.0, 255.0).to(torch.uint8) if problem.uint8 else y
    own = y[torch.randint(m, (n,), device="cuda", generator=generator)].float()
    away = torch.nn.functional.normalize(torch.randn(n, d, device="cuda", generator=generator), dim=1)
    distance = scale * (2.0 * d) ** 0.5
    # where field lines pass halfway between the plates hundreds of charges count; near a charge it alone does
    reach = 0.35 * distance if problem.near else 0.45 * (d + 1.0) ** 0.5 * distance
    x = own + reach * away
    x = kernels.representable_points(x, y) if problem.rounded else x
    return x, y, torch.full((n,), 0.5 * distance, device="cuda")


def graph_ms(call: Callable[[], object]) -> float:
    """Milliseconds of the same call replayed from a CUDA graph: without what launching costs the CPU."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return 1e3 * repeated(graph.replay, "cuda", _OWN_SECONDS).quantiles(0.5)[0]


def shares(call: Callable[[], object]) -> dict[str, float] | str:
    """Milliseconds on the device by kernel, the ten longest; or why they cannot be had."""
    from torch.profiler import ProfilerActivity, profile

    try:
        with profile(activities=[ProfilerActivity.CUDA]) as trace:
            call()
            torch.cuda.synchronize()
    except RuntimeError as cause:  # many machines keep the profiler from users
        return str(cause)[:200]
    found = sorted(trace.key_averages(), key=lambda event: -event.device_time_total)[:10]
    return {event.key[:60]: event.device_time_total / 1e3 for event in found}


def timed(call: Callable[[], object], work: float, bound: float, seconds: float) -> Row:
    """Median, quantiles, rate and share of the bound, from ``seconds`` of timing."""
    low, middle, high = repeated(call, "cuda", seconds).quantiles(0.1, 0.5, 0.9)
    return {
        "ms": 1e3 * middle, "ms_10": 1e3 * low, "ms_90": 1e3 * high, "rate": work / middle / 1e12,
        "of_bound": bound / middle,
    }  # fmt: skip


def own_row(problem: Problem, bound: float, sum_of: Callable[[], object]) -> Row:
    """Our row: wrong sums have no speed."""
    case = Case(problem.d, problem.n, problem.m, "cuda", "uint8" if problem.uint8 else "float32")
    errors = gate_errors(forms()["ours: triton"], case)
    row: Row = {
        "sum": problem.name,
        "form": "ours: triton",
        "direction_error": max(errors[kind] for kind in KINDS),
    }
    row |= {"ok": not red_kinds(errors, problem.d), "unit": problem.unit}
    if row["ok"]:
        row |= timed(sum_of, problem.work, bound, _OWN_SECONDS)
        row |= {"graph_ms": graph_ms(sum_of), "kernels_ms": shares(sum_of)}
    return row


def others(problem: Problem) -> Iterator[Form]:
    """The other forms that can serve ``problem`` here."""
    room = torch.cuda.get_device_properties(0).total_memory / 2
    for form in forms().values():
        # three blocks of float32 differences are alive at once
        fits = form.elements is None or 12 * problem.n * problem.m * problem.d <= room
        ours_as_well = form.name in ("ours: triton", "ours: reference")
        if fits and not ours_as_well and form.why_not(problem.d, torch.device("cuda")) is None:
            yield form


def own_rows(problem: Problem, ceilings: Ceilings) -> Row:
    """Our row of a problem."""
    x, y, height = inputs(problem)
    request = kernels.Request(
        x, y, "riesz", (problem.d + 1.0,), height=height, rounded_points=problem.rounded
    )
    return own_row(problem, predict(problem, ceilings).bound, lambda: kernels.log_sum(request))


def other_rows(problem: Problem, ceilings: Ceilings, own: Row) -> Iterator[Row]:
    """The rows of the other forms beside ``own``."""
    bound = predict(problem, ceilings).bound
    x, y, height = inputs(problem)
    for form in others(problem):
        assert form.plate_sum is not None
        row: Row = {"sum": problem.name, "form": form.name, "unit": problem.unit}
        call = functools.partial(form.plate_sum, x, height.square(), y if form.ours else y.float())
        try:
            row |= timed(call, problem.work, bound, _OTHERS_SECONDS)
            row["slower"] = float(row["ms"]) / float(own["ms"])  # type: ignore[arg-type]
        except Exception as cause:  # a competitor that cannot run is a row, not the end of the bench
            row["unit"] = f"failed: {type(cause).__name__}"
        yield row


def measured(ceilings: Ceilings, quick: bool) -> Iterator[Row]:
    """Our rows, then those of the other forms where ours are right, unless ``quick``."""
    own: list[tuple[Problem, Row]] = []
    for problem in PROBLEMS:
        row = own_rows(problem, ceilings)
        own.append((problem, row))
        yield row
        torch.cuda.empty_cache()
    for problem, row in [] if quick else own:
        if row["ok"]:
            yield from other_rows(problem, ceilings, row)
            torch.cuda.empty_cache()


def main() -> int:
    """Measure, print and write; 0 if every sum of ours is right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="without the other forms")
    quick = parser.parse_args().quick
    ceilings = measure("cuda")
    rows: list[Row] = []
    for row in measured(ceilings, quick):
        rows.append(row)
        print(row, flush=True)
        write_result("gpu_suite", {"ceilings": asdict(ceilings), "rows": rows})
    print_table(rows, COLUMNS)
    return 0 if all(row["ok"] for row in rows if row["form"] == "ours: triton") else 1


if __name__ == "__main__":
    sys.exit(main())
