"""Everything that needs a CUDA device, without network: ``python -m bench.gpu [--only STAGE ...]``.

The stages are: tests, every test marked gpu; sanitizer, compute-sanitizer over small sums, where it is installed;
kernels, the sums of ``bench.gpu.prediction.PROBLEMS`` beside the device's own rates and beside what else one would
use, where a sum that fails the accuracy gate has no speed; field, lines and step, the other benches on this machine.
Every stage writes its own file to bench/results/ as soon as it is done.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch
from torch import Tensor

from bench.common.ceilings import Ceilings, measure
from bench.common.record import ROOT, print_table, write_result
from bench.common.timing import repeated
from bench.field.forms import Form, forms
from bench.field.measure import Case, gate_errors, red_kinds
from bench.gpu.prediction import PROBLEMS, Problem, predict
from efm_fast.field.queries import KINDS

Row = dict[str, object]
COLUMNS = ("sum", "form", "ms", "graph_ms", "rate", "unit", "of_bound", "slower", "direction_error", "ok")
_OWN_SECONDS, _OTHERS_SECONDS = 0.5, 0.1  # of timing for a row


def run(command: list[str], timeout: int) -> Row:
    """Run a command at the project's root and keep how it ended and the end of what it said."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        return {"ok": False, "said": f"{said[-4000:]}\nnot done after {timeout} s"}
    return {"ok": done.returncode == 0, "said": (done.stdout + done.stderr)[-6000:]}


def tests() -> bool:
    """Every test marked gpu, wherever it lies."""
    result = run([sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "--durations=10", "tests"], 3600)
    print(result["said"], write_result("gpu_tests", {"tests": result}), sep="\n")
    return bool(result["ok"])


def sanitizer() -> bool:
    """compute-sanitizer's memcheck and racecheck over the ragged edges of every regime."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        print("compute-sanitizer is not installed")
        return True
    checks = [f"tests/kernels/check_{name}.py" for name in ("small", "gemm", "backward")]
    chosen = {"memcheck": "ragged or blocks or rounded", "racecheck": "rounded or blocks"}
    found = {}
    for name, select in chosen.items():
        python = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *checks, "-k", select]
        command = [tool, "--tool", name, "--error-exitcode", "9", *python, "-o", "timeout=1500"]
        found[name] = run(command, 1500)
    print(found, write_result("gpu_sanitizer", found), sep="\n")
    return all(bool(result["ok"]) for result in found.values())


def inputs(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Points, charges and heights of a problem on the device, see :class:`bench.gpu.prediction.Problem`."""
    from efm_fast import kernels

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


def rows_of(problem: Problem, ceilings: Ceilings, quick: bool) -> Iterator[Row]:
    """Our row and, unless ``quick`` or it is wrong, those of the other forms."""
    from efm_fast import kernels

    power, bound = problem.d + 1.0, predict(problem, ceilings).bound
    x, y, height = inputs(problem)
    own = own_row(
        problem,
        bound,
        lambda: kernels.log_sum(
            kernels.Request(x, y, "riesz", (power,), height=height, rounded_points=problem.rounded)
        ),
    )
    yield own
    for form in others(problem) if own["ok"] and not quick else ():
        assert form.plate_sum is not None
        row: Row = {"sum": problem.name, "form": form.name, "unit": problem.unit}
        call = functools.partial(form.plate_sum, x, height.square(), y if form.ours else y.float())
        try:
            row |= timed(call, problem.work, bound, _OTHERS_SECONDS)
            row["slower"] = float(row["ms"]) / float(own["ms"])  # type: ignore[arg-type]
        except Exception as cause:  # a competitor that cannot run is a row, not the end of the bench
            row["unit"] = f"failed: {type(cause).__name__}"
        yield row


def kernel_bench(quick: bool) -> bool:
    """The sums of PROBLEMS; the file grows with every row, for a competitor may take longer than one waits."""
    ceilings = measure("cuda")
    rows: list[Row] = []
    for problem in PROBLEMS:
        for row in rows_of(problem, ceilings, quick):
            rows.append(row)
            print(row, flush=True)
            write_result("gpu_suite", {"ceilings": asdict(ceilings), "rows": rows})
        torch.cuda.empty_cache()
    print_table(rows, COLUMNS)
    return all(row["ok"] for row in rows if row["form"] == "ours: triton")


def other_bench(module: str, *arguments: str) -> bool:
    """Another bench of this project in a process of its own; it writes its own file."""
    result = run([sys.executable, "-m", module, *arguments], 1800)
    print(result["said"])
    return bool(result["ok"])


def main() -> int:
    """Run the stages; 0 if every test passed and every gate is green, 2 without a CUDA device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="kernels: without the other forms")
    stages: dict[str, Callable[[], bool]] = {
        "kernels": lambda: kernel_bench(arguments.quick),
        "tests": tests,
        "field": lambda: other_bench("bench.field", "--device", "cuda"),
        "lines": lambda: other_bench("bench.lines", "--device", "cuda"),
        "step": lambda: other_bench("bench.training", "--device", "cuda", "--quick"),
        "sanitizer": sanitizer,
    }
    parser.add_argument("--only", nargs="+", choices=list(stages), default=list(stages), help="these stages")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "gpu_suite: this torch sees no CUDA device, so there is nothing to run (make test checks the rest)"
        )
        return 2
    passed = {name: stages[name]() for name in arguments.only}
    print({name: "passed" if good else "FAILED" for name, good in passed.items()})
    return 0 if all(passed.values()) else 1
