"""What the compiler makes of every kernel, for three architectures: ``python bench/gpu_facts.py``; needs no GPU.

Registers per thread, bytes on the stack (spills), shared memory per program, matrix instructions in the code and
whether they wait for each other, as docs/gpu.md shows them.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from record import print_table

from efm_fast import kernels

COLUMNS = (
    "compute capability",
    "D",
    "kernel",
    "warps",
    "registers",
    "stack",
    "shared KiB",
    "matrix instructions",
    "serialized",
)
MATRIX = {80: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma"}


def facts(arch: int, d: int) -> list[dict[str, object]]:
    """One row per kernel that a sum in ``d`` features launches."""
    launcher: Any = importlib.import_module("efm_fast.kernels.launch_gemm")
    chosen, generation = launcher.shape_index, kernels.platform.generation
    launcher.shape_index = lambda tensor: generation(arch)
    try:
        with kernels.ahead.recorded() as launches:
            x, y = torch.zeros(512, d), torch.zeros(20_000, d)
            kernels.riesz_sum(x, y, power=d + 1.0, height=torch.zeros(512))
    finally:
        launcher.shape_index = chosen
    rows = []
    for launch in {launch.name: launch for launch in launches}.values():
        found = kernels.ahead.compiled(launch, arch)
        name = MATRIX[arch]
        count = found.instructions(name)[name]
        rows.append(
            dict(
                zip(
                    COLUMNS,
                    (arch / 10, d, found.name, launch.options["num_warps"], found.registers, found.spilled,
                     round(found.shared / 1024, 1), f"{count} {name}" if count else "-", found.serialized),
                    strict=True,
                )
            )
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    table = [row for arch in (80, 90, 100) for d in (2, 16, 64, 128, 256, 3072) for row in facts(arch, d)]
    shown = {(row["compute capability"], row["D"], row["kernel"]): row for row in table}
    print_table(list(shown.values()), COLUMNS)
