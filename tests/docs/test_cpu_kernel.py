"""The page on adding a CPU kernel: its files build by the project's own rules and run on every instruction set."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, blocks

# who calls the kernel; visible, unlike the rest, because the test loads the library by its C interface
CALLER = """
#include "sum/direct/radius_kernel.h"

extern "C" __attribute__((visibility("default"))) double radius2(const float* y, int64_t n, int64_t stride,
                                                                 const float* centre, int64_t d) {
    return efm::best_kernels<efm::RadiusKernels>().largest(y, n, stride, centre, d);
}
extern "C" __attribute__((visibility("default"))) const char* chosen() { return efm::instruction_set_name(); }
"""
USE = """
import ctypes, sys
import numpy as np

library = ctypes.CDLL(sys.argv[1])
library.radius2.restype, library.chosen.restype = ctypes.c_double, ctypes.c_char_p

def radius2(y, centre):
    def place(a):
        return a.ctypes.data_as(ctypes.c_void_p)
    n, d = y.shape
    return library.radius2(place(y), *map(ctypes.c_int64, (n, y.strides[0] // 4)), place(centre), ctypes.c_int64(d))

rng = np.random.default_rng(0)
for d in (1, 7, 16, 100):
    rows = rng.normal(size=(50, d + 3)).astype(np.float32)
    y, centre = rows[:, :d], rng.normal(size=d).astype(np.float32)
    want = ((y.astype(float) - centre) ** 2).sum(1).max()
    assert abs(radius2(y, centre) - want) < 1e-5 * want, (d, radius2(y, centre), want)
    rows[20, d - 1] = np.nan
    assert np.isnan(radius2(y, centre)), d
print(library.chosen().decode())
"""


def test_the_files_of_the_page_build_and_serve_every_instruction_set(tmp_path: Path) -> None:
    if sys.platform == "win32" or shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("needs a C++ compiler")
    for name in ("setup.py", "csrc/simd"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    files = [b for b in blocks(ROOT / "docs/how-to/add-a-cpu-kernel.md") if b.title.startswith("csrc/")]
    assert [Path(block.title).suffix for block in files] == [".h", ".cpp"]
    for block in files:
        (tmp_path / block.title).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    (tmp_path / "csrc" / "caller.cpp").write_text(CALLER, encoding="utf-8")

    quick = {"EFM_FAST_CUDA": "0", "EFM_FAST_REQUIRE_EXT": "1"}
    build = [sys.executable, "setup.py", "build_ext", "--build-lib=built"]
    done = subprocess.run(build, cwd=tmp_path, env=os.environ | quick, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "warning" not in done.stderr, done.stderr[-2000:]
    (library,) = (tmp_path / "built").rglob("_C*")
    ran = {}
    for wish in ("base", "avx2", "avx512", "amx"):  # a set that the processor has not gives the best it has
        use = [sys.executable, "-c", USE, str(library)]
        done = subprocess.run(use, env=os.environ | {"EFM_FAST_ISA": wish}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        ran[wish] = done.stdout.strip()
    assert ran["base"] == "base"
