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


@pytest.mark.skipif(
    native.why_missing() is not None or not hasattr(native.extension(), "cuda_trace_lines"),
    reason="the extension was built without its CUDA part",
)
@pytest.mark.skipif("EFM_FAST_CUDA_ARCHS" in os.environ, reason="built for other architectures")
@pytest.mark.skipif(not CUOBJDUMP.is_file(), reason="this Triton has no cuobjdump")
def test_built_kernels_use_no_stack() -> None:
    said = subprocess.run(
        [CUOBJDUMP, "-res-usage", str(native.extension().__file__)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    parts = re.split(r"^arch = sm_", said, flags=re.MULTILINE)[1:]
    stacks: dict[str, list[tuple[str, str]]] = {}
    for part in parts:
        found = re.findall(r"STACK:(\d+) .*?LOCAL:(\d+)", part)
        stacks.setdefault(part.split()[0], []).extend(found)
    assert tuple(sorted(stacks, key=int)) == ARCHITECTURES
    for architecture, found in stacks.items():
        assert found == [("0", "0")] * sum(KERNELS.values()), architecture


@pytest.mark.skipif(
    os.environ.get("EFM_FAST_NVCC") != "1", reason="asked for by EFM_FAST_NVCC=1 (a minute and more)"
)
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
