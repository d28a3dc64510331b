"""The CUDA part compiles for every architecture it is shipped for, and its kernels keep their values in registers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("EFM_FAST_NVCC") != "1", reason="asked for by EFM_FAST_NVCC=1 (minutes)"
    ),
    pytest.mark.timeout(1500),
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed"),
    pytest.mark.skipif(not CSRC.is_dir(), reason="csrc is not here"),
]


def compiled(source: Path, folder: Path) -> str:
    """What ptxas says of each kernel."""
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    command = ["nvcc", "-c", str(source), "-o", str(folder / "unit.o"), f"-I{CSRC}", "-std=c++17", "-O3"]
    command.append("-fmad=false")
    done = subprocess.run(
        [*command, "--threads=0", "-Xptxas=-v", *targets],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@pytest.mark.parametrize("name", ["lines_cuda.cu", "slope_step_cuda.cu"])
def test_kernels_compile_without_spills(name, tmp_path):
    said = compiled(CSRC / "lines" / name, tmp_path)
    spills = [
        tuple(map(int, found))
        for found in re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
    ]
    kernels = {"lines_cuda.cu": 17, "slope_step_cuda.cu": 2}[name]
    assert len(spills) == kernels * len(ARCHITECTURES)
    assert set(spills) == {(0, 0)}, said
    assert not re.search(r"warning", said), said
