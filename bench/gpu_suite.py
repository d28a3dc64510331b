"""Everything that needs a CUDA device, without network: ``python bench/gpu_suite.py [--skip-tests] [--quick]``.

GPU tests, compute-sanitizer on small sums where it is installed, the device's ceilings, and the sums of
``gpu_prediction.PROBLEMS`` behind an accuracy gate: no speed is shown for a sum that is wrong. Results go to
bench/results/gpu_suite.json.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict

import torch
from record import ROOT, print_table, write_result
from torch import Tensor

Row = dict[str, object]
COLUMNS = ("sum", "form", "ms", "rate", "unit", "of_bound", "direction_error", "ok")


def run(command: list[str], timeout: int) -> Row:
    """Run a command at the project's root and keep how it ended and the end of what it said."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"ok": False, "said": f"not done after {timeout} s"}
    return {"ok": done.returncode == 0, "said": (done.stdout + done.stderr)[-2000:]}


def sanitized() -> Row:
    """compute-sanitizer over the ragged edges of every regime."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"ok": None, "said": "compute-sanitizer is not installed"}
    checks = [f"tests/kernels/check_{name}.py" for name in ("small", "gemm", "backward")]
    select = ["-k", "ragged or blocks or rounded"]
    python = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *checks, *select]
    return run([tool, "--error-exitcode", "9", *python], 1200)


def direction_error(d: int, uint8: bool) -> float:
    """Worst direction error of the capacitor's field at ties, plate ties and twins, against float64."""
    from efm_fast.field import capacitor_field
    from efm_fast.field.queries import query_set

    worst = 0.0
    for kind in ("tie", "plate_tie", "twin"):
        q = query_set(kind, 256, 4096, d, uint8=uint8)
        x, z, plus, minus = (part.cuda() for part in (q.x, q.z, q.plus, q.minus))
        got, want = (
            capacitor_field(x, z, plus, minus, q.L, backend=name) for name in ("triton", "reference")
        )
        error = torch.linalg.vector_norm(got.direction.double() - want.direction.double(), dim=1)
        worst = max(worst, error.max().item())
    return worst


def torch_form(x: Tensor, y: Tensor, height: Tensor, power: float) -> Callable[[], object]:
    """The best exact form in plain torch: GEMM in chunks, nearest charges rescored."""
    from efm_fast.field import riesz_sum

    return lambda: riesz_sum(x, y, power=power, height=height, backend="torch")


def broadcast_form(x: Tensor, y: Tensor, height: Tensor, power: float) -> Callable[[], object] | None:
    """The published formula, all differences at once; None where they would not fit in half the memory."""
    if 12 * len(x) * y.numel() > torch.cuda.get_device_properties(0).total_memory / 2:
        return None
    y = y.float()

    def call() -> Tensor:
        difference = x[:, None, :] - y[None]
        r2 = difference.square().sum(-1) + height[:, None] ** 2
        weight = torch.softmax(-0.5 * power * torch.log(r2), 1)
        return (weight[..., None] * difference).sum(1)

    return call


def keops_form(x: Tensor, y: Tensor, height: Tensor, power: float) -> Callable[[], object] | None:
    """KeOps' log-sum reduction with the charges as signal; None where KeOps is not installed."""
    try:
        from pykeops.torch import LazyTensor
    except ImportError:
        return None
    y = y.float()
    points, charges = LazyTensor(x[:, None, :]), LazyTensor(y[None])
    extra = LazyTensor((height**2)[:, None, None].contiguous())
    logit = -0.5 * power * (((points - charges) ** 2).sum(-1) + extra).log()
    return lambda: logit.sumsoftmaxweight(charges, dim=1)


def flex_form(x: Tensor, y: Tensor, height: Tensor, power: float) -> Callable[[], object] | None:
    """FlexAttention with the log kernel as score modifier; for widths that it serves, powers of two up to 256."""
    d = x.shape[1]
    if d not in (64, 128, 256):
        return None
    from torch.nn.attention.flex_attention import flex_attention

    y = y.float()
    x2, y2 = x.square().sum(1) + height**2, y.square().sum(1)

    def modified(score: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return -0.5 * power * torch.log(x2[i] + y2[j] - 2.0 * score)

    attend = torch.compile(flex_attention)
    return lambda: attend(x[None, None], y[None, None], y[None, None], score_mod=modified, scale=1.0)


FORMS = {"torch": torch_form, "broadcast": broadcast_form, "keops": keops_form, "flex": flex_form}


def bench(quick: bool) -> tuple[list[Row], Row]:
    """Rows of the table and the ceilings they are relative to."""
    from gpu_ceilings import measure, seconds
    from gpu_prediction import PROBLEMS, predict

    from efm_fast import kernels

    ceilings = measure()
    rows: list[Row] = []
    for problem in PROBLEMS:
        n, m, d = problem.n, problem.m, problem.d
        small = d <= kernels.plan.SMALL_D
        work = float(n) * m * (1 if small else 4 * d)
        unit = "10^12 pairs/s" if small else "TFLOP/s"
        error = direction_error(d, problem.uint8)
        y = torch.randn(m, d, device="cuda")
        y = (64.0 * y + 128.0).clamp(0.0, 255.0).to(torch.uint8) if problem.uint8 else y
        x = y[:n].float().roll(1, 0) if m >= n else torch.randn(n, d, device="cuda")
        x = x + 0.5 * x.std() * torch.randn_like(x)
        x = kernels.representable_points(x, y) if problem.rounded else x
        height = torch.rand(n, device="cuda") * float(y.float().std()) * (2.0 * d) ** 0.5
        power = d + 1.0

        def ours(
            x: Tensor = x, y: Tensor = y, height: Tensor = height, rounded: bool = problem.rounded
        ) -> object:
            return kernels.riesz_sum(x, y, power=power, height=height, rounded_points=rounded)  # noqa: B023

        bound = predict(problem, ceilings).bound
        ok = error <= 1e-4
        row: Row = {"sum": problem.name, "form": "triton", "direction_error": error, "ok": ok, "unit": unit}
        if ok:
            middle, low, high = seconds(ours)
            row |= {"ms": 1e3 * middle, "ms_20": 1e3 * low, "ms_80": 1e3 * high}
            row |= {"rate": work / middle / 1e12, "of_bound": bound / middle}
        rows.append(row)
        for name, make in FORMS.items() if not quick else ():
            try:
                form = make(x, y, height, power)
                if form is None:
                    continue
                middle, low, high = seconds(form, repeats=3)
            except Exception as cause:  # a competitor that cannot run is a row, not the end of the bench
                rows.append({"sum": problem.name, "form": name, "unit": f"failed: {type(cause).__name__}"})
                continue
            rows.append(
                {"sum": problem.name, "form": name, "ms": 1e3 * middle, "ms_20": 1e3 * low, "ms_80": 1e3 * high,
                 "rate": work / middle / 1e12, "unit": unit, "of_bound": bound / middle}
            )  # fmt: skip
        torch.cuda.empty_cache()
    return rows, asdict(ceilings)


def main() -> int:
    """Run the suite; 0 if every test passed and every gate is green, 2 without a CUDA device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skip-tests", action="store_true", help="benches only")
    parser.add_argument("--quick", action="store_true", help="without the other forms")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "gpu_suite: this torch sees no CUDA device, so there is nothing to run (make test checks the rest)"
        )
        return 2
    payload: Row = {}
    if not arguments.skip_tests:
        payload["tests"] = run([sys.executable, "-m", "pytest", "-m", "gpu", "tests"], 3600)
        payload["sanitizer"] = sanitized()
        print(payload["tests"], payload["sanitizer"], sep="\n")
    rows, ceilings = bench(arguments.quick)
    print_table(rows, COLUMNS)
    payload |= {"ceilings": ceilings, "rows": rows}
    print(write_result("gpu_suite", payload))
    stages = [payload[name]["ok"] for name in ("tests", "sanitizer") if name in payload]  # type: ignore[index]
    gates = [row["ok"] for row in rows if row["form"] == "triton"]
    return 0 if all(ok is not False for ok in [*stages, *gates]) else 1


if __name__ == "__main__":
    sys.exit(main())
