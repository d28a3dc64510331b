"""What tensor descriptors, warp specialisation and other tiles would change in the kernels with matrix products.

``python -m bench.gpu.variants`` needs no GPU. A variant is a kernel with a few lines of its source replaced. It is
compiled for compute capability 9.0 and 10.0, and the instructions of its hot loop are counted; a model then says how
many clocks of a multiprocessor each resource takes for 64 x 64 pairs and 64 features (charges, in ``combine``).
It writes bench/results/gpu_variants.json.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import triton
from triton.tools.tensor_descriptor import TensorDescriptor

from bench.common.record import print_table, write_result
from efm_fast import kernels

ahead = kernels.ahead
_DISTANCES = (
    ("        x_first, y_first = first_row * width + at, first_column * width + at\n", ""),
    ("    product = tl", "    x_row, y_row = tl.program_id(0) * BLOCK_N, tl.program_id(1) * BLOCK_M\n    product = tl"),
    ("tl.load(xh + x_first + x_place)", "xh.load([x_row, at])"),
    ("tl.load(xl + x_first + x_place)", "xl.load([x_row, at])"),
    ("tl.load(yh + y_first + y_place)", "yh.load([y_row, at])"),
    ("tl.load(yl + y_first + y_place)", "yl.load([y_row, at])"),
)  # fmt: skip
_COMBINE = (
    ("        w_first, y_first = w_begin + first, y_begin + first * width\n", ""),
    ("first = following.to(tl.int64) * BLOCK_M", "first = following * BLOCK_M"),
    ("    w_begin = block * BLOCK_N * columns\n", "    w_row = tl.program_id(0) * BLOCK_N\n"),
    (
        "    y_begin = tl.program_id(1).to(tl.int64) * BLOCK_D\n",
        "    y_column = tl.program_id(1) * BLOCK_D\n",
    ),
    ("tl.load(high + w_first + w_place)", "high.load([w_row, first])"),
    ("tl.load(low + w_first + w_place)", "low.load([w_row, first])"),
    ("tl.load(yh + y_first + y_place)", "yh.load([first, y_column])"),
    ("tl.load(yl + y_first + y_place)", "yl.load([first, y_column])"),
)
_FUSED = (
    ("        place_of_tile = start * WIDTH + y_place\n", ""),
    ("    y_place = column[:, None] * WIDTH + feature[None, :]\n", ""),
    ("tl.load(yh + place_of_tile)", "yh.load([start, 0])"),
    ("tl.load(yl + place_of_tile)", "yl.load([start, 0])"),
)
#: A product with the unit matrix leaves the points in the registers where the tensor cores read their first operand.
_REGISTERS = ((
    "    x_low = tl.load(xl + row[:, None] * WIDTH + feature[None, :]) if HAS_XL else x_high\n",
    """    x_low = tl.load(xl + row[:, None] * WIDTH + feature[None, :]) if HAS_XL else x_high
    unit = (feature[:, None] == feature[None, :]).to(x_high.dtype)
    x_high = dot(x_high, unit, tl.zeros([BLOCK_N, WIDTH], tl.float32)).to(x_high.dtype)
    if HAS_XL:
        x_low = dot(x_low, unit, tl.zeros([BLOCK_N, WIDTH], tl.float32)).to(x_high.dtype)
""",
),)  # fmt: skip
#: Leaves out the branch for unseen pairs, which hardly any tile takes, so that the rest can be counted.
_PLAIN = (("            if need == UNSEEN:\n", "            if False:\n"),)
_LOOPS = {"distances": "begin, end, BLOCK_D", "combine": "begin, end", "sum_fused": "begin, end, BLOCK_M"}
#: The arguments that become descriptors, and the tile of each.
_TILES = {
    "distances": {name: ("BLOCK_N" if name[0] == "x" else "BLOCK_M", "BLOCK_D") for name in ("xh", "xl", "yh", "yl")},
    "combine": {name: ("BLOCK_M", "BLOCK_D") if name[0] == "y" else ("BLOCK_N", "BLOCK_M")
                for name in ("high", "low", "yh", "yl")},
    "sum_fused": dict.fromkeys(("yh", "yl"), ("BLOCK_M", "WIDTH")),
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A kernel of a sum in ``d`` features with lines replaced, and other arguments and options of its launch."""

    kernel: str
    d: int
    name: str
    lines: tuple[tuple[str, str], ...] = ()
    descriptors: bool = False
    blocks: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def launch(self, arch: int, extra: tuple[tuple[str, str], ...] = ()) -> Any:
        """The launch of this variant, with ``extra`` lines replaced."""
        x, y = (torch.empty(n, self.d, device="meta") for n in (512, 20_000))
        with ahead.recorded(arch) as launches:
            height = torch.empty(512, device="meta")
            kernels.log_sum(kernels.Request(x, y, "riesz", (self.d + 1.0,), height=height))
        launch = next(launch for launch in launches if launch.name == self.kernel)
        arguments = launch.arguments | self.blocks
        if self.descriptors:
            for name, tile in _TILES[self.kernel].items():
                buffer = arguments[name]
                arguments[name] = TensorDescriptor(
                    buffer, list(buffer.shape), list(buffer.stride()), [arguments[side] for side in tile]
                )
        options = {key: value for key, value in (launch.options | self.options).items() if value is not None}
        return ahead.Launch(rewritten(launch.kernel, self.lines + extra), launch.grid, arguments, options)


def rewritten(kernel: Any, lines: tuple[tuple[str, str], ...]) -> Any:
    """``kernel`` with lines of its source replaced, each of which must occur once."""
    if not lines:
        return kernel
    home = sys.modules[kernel.fn.__module__]
    text = Path(str(home.__file__)).read_text(encoding="utf-8")
    before, start, rest = text.partition(f"def {kernel.__name__}(")
    body, following, after = rest.partition("\n@triton.jit")
    for old, new in lines:
        if body.count(old) != 1:
            raise ValueError(f"{kernel.__name__}: expected once, found {body.count(old)} times: {old!r}")
        body = body.replace(old, new)
    folder = tempfile.mkdtemp(prefix="variant_")
    name = Path(folder).name
    Path(folder, f"{name}.py").write_text(before + start + body + following + after, encoding="utf-8")
    package = sys.modules[str(home.__package__)]
    package.__path__.append(folder)  # inside the package, so that relative imports hold
    return getattr(importlib.import_module(f"{package.__name__}.{name}"), kernel.__name__)


def variants(arch: int) -> list[Variant]:
    """What is compiled for ``arch``."""
    found: list[Variant] = []
    for kernel, d, lines in (
        ("distances", 3072, _DISTANCES),
        ("combine", 3072, _COMBINE),
        ("sum_fused", 64, _FUSED),
    ):
        loop = _LOOPS[kernel]
        special = (*lines, (f"in range({loop})", f"in tl.range({loop}, warp_specialize=True)"))
        found += [
            Variant(kernel, d, "as it is"),
            Variant(kernel, d, "descriptors", lines, True),
            Variant(kernel, d, "descriptors, specialised warps", special, True),
        ]
    if arch == 90:
        free = {"maxnreg": None}
        found += [
            Variant("sum_fused", 64, "points in registers", _REGISTERS),
            Variant("sum_fused", 64, "points in registers, no limit", _REGISTERS, options=free),
            Variant("sum_fused", 64, "descriptors, 128 charges, no limit", _FUSED, True, {"BLOCK_M": 128}, free),
            Variant("sum_fused", 64, "128 points, 8 warps, no limit", (), False, {"BLOCK_N": 128},
                    free | {"num_warps": 8}),
        ]  # fmt: skip
    return found


#: Seconds after which a compiler is taken to hang.
LIMIT = 60
MATRIX = {90: "HGMMA", 100: "UTCHMMA"}
_FLOAT32 = {"FADD": 1, "FMUL": 1, "FFMA": 1, "FADD2": 2, "FMUL2": 2, "FFMA2": 2}
COLUMNS = (
    "architecture", "kernel", "D", "variant", "warps", "registers", "stack", "shared KiB", "instructions", "copies",
    "waits", "moves", "issue", "matrix", "shared", "float32", "special", "L2 B/clk",
)  # fmt: skip


def hot_loop(code: str, matrix: str, least: int) -> list[str]:
    """The instructions of the shortest loop with ``least`` matrix instructions; code is a disassembly."""
    lines = [(int(at, 16), text) for at, text in re.findall(r"/\*([0-9a-f]{4,})\*/\s+([^/;]*?)\s*;", code)]
    loops = []
    for end, text in lines:
        target = re.search(r"BRA.*?0x([0-9a-f]+)", text)
        if target and int(target[1], 16) < end:
            loops.append([line for at, line in lines if int(target[1], 16) <= at <= end])
    whole = [loop for loop in loops if sum(matrix in line for line in loop) >= least]
    return min(whole, key=len, default=[])


def measure(variant: Variant, arch: int) -> list[object]:
    """One row of the table."""
    launch = variant.launch(arch)
    built = ahead.built(launch, arch)
    registers, stack = ahead.resources(built.asm["cubin"])
    taken = launch
    if variant.kernel == "sum_fused":
        taken = variant.launch(arch, _PLAIN)
    code = ahead.disassembled(ahead.built(taken, arch).asm["cubin"], "-sass") or ""
    n, m, k, products, copied = work(variant.kernel, launch.arguments)
    deep = {"distances": k, "combine": m, "sum_fused": (k + m) // 2}[variant.kernel]
    loop = hot_loop(code, MATRIX[arch], products * deep // 16)
    count = Counter(re.sub(r"^@!?\w+\s+", "", line).split()[0].split(".")[0] for line in loop)
    warps = launch.options["num_warps"]
    scale = 4096.0 * 64 / (n * m * k)
    specialised = built.metadata.num_warps != warps
    clocks: list[object] = ["-"] * 5
    if not specialised:
        multiplied = products * n * m * k / {90: 2048, 100: 4096}[arch]
        read = scale * (operands(loop) * warps / 4 + copied) / 128 if arch == 90 else "-"
        single = sum(weight * count[name] for name, weight in _FLOAT32.items())
        clocks = [scale * len(loop) * warps / 4, scale * multiplied, read, scale * single * warps / 4,
                  scale * count["MUFU"] * warps * 2]  # fmt: skip
    busiest = max((value for value in clocks if isinstance(value, float)), default=None)
    return [
        f"sm_{arch}", variant.kernel, variant.d, variant.name, built.metadata.num_warps, registers, stack,
        round(built.metadata.shared / 1024, 1), "-" if specialised else len(loop),
        "-" if specialised else f"{count['UTMALDG']} bulk" if count["UTMALDG"] else f"{count['LDGSTS']} cp.async",
        "-" if specialised else count["WARPGROUP"] // 2 if arch == 90 else count["UTCBAR"],
        "-" if specialised or arch == 90 else count["LDTM"] + count["STTM"],
        *(round(value) if isinstance(value, float) else value for value in clocks),
        "-" if busiest is None else round(scale * copied / busiest, 1),
    ]  # fmt: skip


def work(kernel: str, arguments: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """A step's points, charges (or features, or both) and depth; its products of that size; bytes that it copies."""
    n, m, low = arguments["BLOCK_N"], arguments["BLOCK_M"], arguments["HAS_YL"]
    if kernel == "sum_fused":
        d = arguments["WIDTH"]
        return n, m, d, 4 + 2 * low, 2 * (1 + low) * m * d
    d = arguments["BLOCK_D"]
    if kernel == "distances":
        return n, m, d, 2 + low, 2 * (2 * n + (1 + low) * m) * d
    return n, m, d, 2 + low, 2 * (2 * n * m + (1 + low) * m * d)


def operands(loop: list[str]) -> int:
    """Bytes of shared memory that the wgmma of a warpgroup read: 64 x 16 of one operand, 16 x N of the other."""
    shapes = re.findall(r"HGMMA\.64x(\d+)x16\S*\s+R\d+,\s*(\w+)", "\n".join(loop))
    return sum(32 * int(n) + 2048 * first.startswith("gdesc") for n, first in shapes)


def table(architectures: tuple[int, ...]) -> list[list[object]]:
    """The rows of all variants, compiled in another process; where the compiler fails or hangs, the row says so."""
    rows: list[list[object]] = []
    context = multiprocessing.get_context("spawn")
    pool = context.Pool(1)
    for arch in architectures:
        for variant in variants(arch):
            try:
                rows.append(pool.apply_async(measure, (variant, arch)).get(LIMIT))
                print(*rows[-1], sep=" | ", flush=True)
                continue
            except multiprocessing.TimeoutError:
                failure = f"no end of the compiler within {LIMIT} s"
                pool.terminate()
                pool = context.Pool(1)
            except Exception as cause:  # compilers raise errors of many kinds
                failure = f"does not compile ({type(cause).__name__})"
                print(cause)
            head = [f"sm_{arch}", variant.kernel, variant.d, f"{variant.name}: {failure}"]
            rows.append([*head, *["-"] * (len(COLUMNS) - len(head))])
    pool.terminate()
    return rows


def main() -> None:
    """Compile, print and write."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0]).parse_args()
    rows = table((90, 100))
    print_table([dict(zip(COLUMNS, row, strict=True)) for row in rows], COLUMNS)
    tables = {"variants": {"columns": COLUMNS, "rows": rows}}
    write_result("gpu_variants", {"triton": triton.__version__, "tables": tables})


if __name__ == "__main__":
    main()
