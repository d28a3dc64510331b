"""The CUDA part is built for every architecture it is shipped for, and its kernels keep their values in registers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from efm_fast import native

triton = pytest.importorskip("triton")

CSRC = Path(__file__).parents[2] / "csrc"
ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
KERNELS = {"lines_cuda.cu": 17, "slope_step_cuda.cu": 2}
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


asked = pytest.mark.skipif(
    os.environ.get("EFM_FAST_NVCC") != "1", reason="asked for by EFM_FAST_NVCC=1 (a minute and more)"
)


def has_cuda_part() -> bool:
    return native.why_missing() is None and hasattr(native.extension(), "cuda_trace_lines")


def memory_of_kernels(binary: str) -> dict[str, list[tuple[str, str]]]:
    """Bytes of stack and of local memory of every kernel in a binary, by architecture."""
    command = [CUOBJDUMP, "-res-usage", binary]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^arch = sm_", said, flags=re.MULTILINE)[1:]:
        kernels = re.findall(r"STACK:(\d+) .*?LOCAL:(\d+)", part)
        found.setdefault(part.split()[0], []).extend(kernels)
    return found


@pytest.mark.skipif(not has_cuda_part(), reason="the extension was built without its CUDA part")
@pytest.mark.skipif(not CUOBJDUMP.is_file(), reason="this Triton has no cuobjdump")
def test_built_kernels_use_no_stack() -> None:
    found = memory_of_kernels(str(native.extension().__file__))
    assert found
    for architecture, kernels in found.items():
        assert kernels == [("0", "0")] * sum(KERNELS.values()), architecture


@asked
def test_the_extension_is_built_for_every_architecture() -> None:
    assert has_cuda_part()
    assert tuple(sorted(memory_of_kernels(str(native.extension().__file__)), key=int)) == ARCHITECTURES


@asked
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.skipif(not CSRC.is_dir(), reason="csrc is not here")
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_without_warnings_or_spills(name: str, tmp_path: Path) -> None:
    command = ["nvcc", "-c", str(CSRC / "lines" / name), "-o", str(tmp_path / "unit.o"), f"-I{CSRC}"]
    command += ["-std=c++17", "-O3", "-fmad=false", "-Xptxas=-v", "-gencode=arch=compute_90,code=sm_90"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    assert spills == [("0", "0")] * KERNELS[name]
    assert not re.search(r"warning", done.stderr), done.stderr
