"""What nvcc makes of the kernels that follow lines, and what that predicts for an H200; needs nvcc and no GPU.

``python -m bench.gpu.line_counts`` compiles csrc/lines/lines_cuda.cu and writes bench/results/gpu_line_counts.json:
registers, spills and shared memory of every kernel, instructions per pair of the two loops over charges, and the
seconds of one answer (the field at one point of every line) by the rule that the extension plans launches with.
``--before COMMIT`` counts the kernels of an earlier commit too.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.common.record import ROOT, print_table, write_result
from efm_fast import native

ARCHITECTURES = (80, 90, 100)
_MULTIPROCESSORS = 132
_KERNEL = re.compile(r"\d(follow|sums|advance)I(?:\w*?(Trace|Forward)Machine)?(?:IfE)?E?(?:Li(\d+))?")


def built(csrc: Path, arch: int, folder: Path, flags: tuple[str, ...]) -> tuple[Path, str]:
    """A cubin of the kernels in ``csrc``, and what ptxas says of them."""
    target = folder / f"lines_{arch}.cubin"
    command = ["nvcc", "-cubin", f"-arch=sm_{arch}", "-std=c++17", "-O3", f"-I{csrc}", "-Xptxas=-v", *flags]
    source = str(csrc / "lines" / "lines_cuda.cu")
    done = subprocess.run([*command, source, "-o", str(target)], capture_output=True, text=True, check=True)
    return target, done.stderr


def name_of(symbol: str) -> str | None:
    """The kernel, its machine and its features, of a mangled name."""
    found = _KERNEL.search(symbol)
    if found is None:
        return None
    kernel, machine, features = found.groups()
    return " ".join(
        part for part in (kernel, (machine or "").lower(), f"D<={features}" if features else "") if part
    )


def resource_rows(said: str, arch: int) -> Iterator[list[object]]:
    """One row per kernel: registers, spilled bytes, bytes of shared memory."""
    spills = r"(\d+) bytes spill stores, (\d+) bytes spill loads"
    pattern = rf"entry function '(\w+)'.*?{spills}.*?Used (\d+) registers(.*?)\n"
    for symbol, stores, loads, registers, rest in re.findall(pattern, said, re.DOTALL):
        shared = re.search(r"(\d+) bytes smem", rest)
        yield [
            f"sm_{arch}",
            name_of(symbol),
            int(registers),
            int(stores) + int(loads),
            int(shared[1]) if shared else 0,
        ]


def instructions(cubin: Path) -> dict[str, list[tuple[int, str]]]:
    """Address and text of every instruction, by kernel."""
    import triton.backends.nvidia as nvidia

    tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
    text = subprocess.run([str(tool), "-sass", str(cubin)], capture_output=True, text=True, check=True).stdout
    parts = re.split(r"Function : (\w+)", text)[1:]
    return {
        name_of(symbol) or symbol: [
            (int(at, 16), line) for at, line in re.findall(r"/\*([0-9a-f]{4,})\*/\s+([^/;]*?)\s*;", body)
        ]
        for symbol, body in zip(parts[::2], parts[1::2], strict=True)
    }


def per_pair(code: list[tuple[int, str]], features: int) -> tuple[float, float]:
    """Instructions per pair of the loops that find the pivot, and of those that sum; the longer one of several copies.

    A power that is not known to the compiler is a loop inside the sum, and takes a round per binary digit.
    """
    jumps = [
        (int(hit[1], 16), at) for at, line in code if (hit := re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", line))
    ]
    loops = sorted(
        ((first, last) for first, last in jumps if first < last), key=lambda loop: loop[1] - loop[0]
    )
    found: dict[str, list[tuple[int, float]]] = {"pivot": [], "sum": []}
    taken: set[int] = set()
    for first, last in loops:
        body = [(at, line) for at, line in code if first <= at <= last]
        roots = {at for at, line in body if "MUFU.RSQ" in line and "64" not in line}
        minima = sum("FMNMX" in line for _, line in body)
        within = [(a, b) for a, b in loops if first <= a and b <= last and (a, b) != (first, last)]
        turns = (features + 1).bit_length()
        inside = sum(any(a <= at <= b for a, b in within) for at, _ in body)
        work = len(body) + (turns - 1) * inside
        folds = any(re.search(r"\bD(?:ADD|FMA|MUL)\b", line) for _, line in body)  # a loop around the sum
        if roots and not roots & taken and not folds:
            taken |= roots
            found["sum"].append((len(roots), work / len(roots)))
        elif minima in (1, 2, 4) and not roots and not within:
            found["pivot"].append((minima, work / minima))
    pivot, total = (max(kind) for kind in found.values())
    return pivot[1], total[1]


def count_rows(cubin: Path, when: str) -> Iterator[list[object]]:
    """One row per number of features that has a kernel of its own, the fewest first."""
    kernels = {
        int(name.split("<=")[1]): code
        for name, code in instructions(cubin).items()
        if name.startswith("follow trace")
    }
    for features, code in sorted(kernels.items()):
        pivot, total = per_pair(code, features)
        yield [when, features, round(pivot, 2), round(total, 2), round(pivot + total, 2)]


def predicted_rows() -> Iterator[list[object]]:
    """Seconds of one answer to every line, and the plan, between two plates of as many charges in two features."""
    extension = native.extension()
    plates = extension.LinePlates()
    plates.features = 2
    for charges in (2048, 8192, 65536, 10**6, 10**7):
        for lines in (1, 16, 128, 1024, 16384):
            plates.n_plus = plates.n_minus = plates.n_places = charges
            plan = extension.line_plan(lines, plates, _MULTIPROCESSORS)
            whole, split = extension.line_seconds(plan.lines, plates, _MULTIPROCESSORS)
            chosen = split if plan.split else whole
            yield [
                charges,
                lines,
                1e6 * whole,
                1e6 * split,
                "segments" if plan.split else "lines",
                plan.lines,
                plan.turns,
                chosen * plan.turns,
            ]


COLUMNS = {
    "registers": ("architecture", "kernel", "registers", "spilled bytes", "shared bytes"),
    "instructions": ("code", "D up to", "pivot", "sum", "both"),
    "predicted": ("charges per plate", "lines", "by lines us", "by segments us", "blocks for", "lines at once",
                  "answers between looks", "seconds between looks"),
}  # fmt: skip


def csrc_of(commit: str, folder: Path) -> Path:
    """The C++ and CUDA sources of a commit, unpacked into ``folder``."""
    packed = subprocess.run(
        ["git", "archive", commit, "csrc"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "csrc"


def main() -> None:
    """Compile, count, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--before", help="an earlier commit")
    before = parser.parse_args().before
    rows: dict[str, list[list[object]]] = {name: [] for name in COLUMNS}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as pool:
        here = Path(name)
        (here / "before").mkdir()
        earlier = pool.submit(built, csrc_of(before, here), 90, here / "before", ()) if before else None
        now = {
            arch: pool.submit(built, ROOT / "csrc", arch, here, ("-fmad=false",)) for arch in ARCHITECTURES
        }
        for arch in ARCHITECTURES:
            cubin, said = now[arch].result()
            rows["registers"] += sorted(resource_rows(said, arch), key=str)
            if arch == 90:
                rows["instructions"] += count_rows(cubin, "now")
        if earlier is not None:
            cubin, said = earlier.result()
            found = sorted(resource_rows(said, 90), key=str)
            rows["registers"] += [["sm_90 before", *row[1:]] for row in found]
            rows["instructions"] += count_rows(cubin, "before")
    rows["predicted"] = list(predicted_rows())
    for name, columns in COLUMNS.items():
        print_table([dict(zip(columns, row, strict=True)) for row in rows[name]], columns)
    tables = {name: {"columns": columns, "rows": rows[name]} for name, columns in COLUMNS.items()}
    print(f"wrote {write_result('gpu_line_counts', {'tables': tables})}")


if __name__ == "__main__":
    main()
