"""What the compiler makes of every kernel, for every architecture that is planned for; needs no GPU.

``python -m bench.gpu.facts`` types and compiles what a call would launch and writes bench/results/gpu_facts.json:
registers per thread, bytes on the stack, shared memory per program and its limit, copies to shared memory that run
beside the arithmetic, matrix instructions and whether they wait for each other. ``--arch 90 --d 64`` restricts it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
import triton

from bench.common.record import print_table, write_result
from efm_fast import kernels

ARCHITECTURES = (80, 86, 89, 90, 100, 120)
FEATURES = (2, 4, 8, 16, 17, 64, 128, 256, 3072, 196_608)
#: The kernels that take a sum's time: a table of their own, of all architectures.
HOT = ("sum_small", "sum_fused", "distances", "combine", "combine_points")
#: The last one is what small tiles fall back to on every architecture.
MATRIX = ("wgmma.mma_async", "tcgen05.mma", "mma.sync")
COLUMNS = (
    "architecture", "D", "charges", "kernel", "warps", "registers", "stack", "shared KiB", "limit KiB", "cp.async",
    "matrix", "serialized",
)  # fmt: skip


def facts(arch: int, d: int, dtype: torch.dtype) -> Iterator[dict[str, object]]:
    """One row per kernel that a sum in ``d`` features and, for float32 charges, its gradients launch."""
    x, y, height = (torch.empty(size, device="meta") for size in ((512, d), (20_000, d), (512,)))
    request = kernels.Request(x, y.to(dtype), "riesz", (d + 1.0,), height=height)
    with kernels.ahead.recorded(arch) as launches:
        kernels.log_sum(request)
        if dtype == torch.float32:
            kernels.log_sum_backward(request, height.double(), height, x)
    for launch in {launch.name: launch for launch in launches}.values():
        found = kernels.ahead.compiled(launch, arch)
        count = found.instructions("cp.async.cg", "cp.async.ca", *MATRIX)
        matrix = next((name for name in MATRIX if count[name]), None)
        yield dict(
            zip(
                COLUMNS,
                (f"sm_{arch}", d, str(dtype).removeprefix("torch."), found.name, launch.options["num_warps"],
                 found.registers, found.spilled, round(found.shared / 1024, 1), kernels.ahead.SHARED_LIMIT[arch] >> 10,
                 count["cp.async.cg"] + count["cp.async.ca"], f"{count[matrix]} {matrix}" if matrix else "-",
                 found.serialized),
                strict=True,
            )
        )  # fmt: skip


def main() -> None:
    """Compile, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--arch", type=int, nargs="*", default=ARCHITECTURES)
    parser.add_argument("--d", type=int, nargs="*", default=FEATURES)
    chosen = parser.parse_args()
    rows: list[dict[str, object]] = []
    for arch in chosen.arch:
        for d in chosen.d:
            for dtype in (torch.float32, torch.uint8) if d in (64, 3072) else (torch.float32,):
                rows.extend(facts(arch, d, dtype))
                print(f"sm_{arch}, D = {d}, {dtype}", flush=True)
    print_table(rows, COLUMNS)
    if (chosen.arch, chosen.d) == (ARCHITECTURES, FEATURES):
        tables = {
            f"sm_{arch}": {
                "columns": COLUMNS[1:],
                "rows": [
                    [row[name] for name in COLUMNS[1:]] for row in rows if row[COLUMNS[0]] == f"sm_{arch}"
                ],
            }
            for arch in ARCHITECTURES
        }
        columns = [name for name in COLUMNS if name != "serialized"]
        hot = [[row[name] for name in columns] for row in rows if row["kernel"] in HOT]
        tables["hot"] = {"columns": columns, "rows": hot}
        write_result("gpu_facts", {"triton": triton.__version__, "tables": tables})


if __name__ == "__main__":
    main()
