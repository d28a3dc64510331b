"""The page on adding a kernel: its C++ struct agrees with its Python class."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pages import ROOT, blocks

from efm_fast.field import kernel

PAGE = ROOT / "docs" / "how-to" / "add-a-kernel.md"
LISTED = "using KernelFunctions = FunctionList<Riesz, Gaussian>;"
# prints what the struct computes, in double and in vectors of floats
USE = """
#include <cstdio>
#include <initializer_list>

#include "core/kernel_names.h"
#include "core/logsum.h"
#include "simd/vectors.h"

int main() {
    const efm::Kernel kernel = efm::find_kernel("yukawa", {3.0, 0.5});
    with_kernel(kernel, [](const auto& own) {
        for (double r2 : {1e-6, 0.3, 1.0, 50.0, 1e4}) {
            const double l = own.log_kernel(r2), slope = own.template slope<Scalar<double>>(r2);
            const double least = own.least_known(1e-7, 1e-3), far = r2 + own.reach(r2, 20.0);
            const F32::V by_pivot = F32::set(0.25f), excess = F32::set(static_cast<float>(0.25 * r2));
            float lanes[F32::W];
            F32::store(lanes, own.template log_weight<F32>(
                {F32::set(1.25f), excess, by_pivot, F32::set(static_cast<float>(r2))}));
            std::printf("%.17g %.17g %.17g %.17g %.17g %.17g %.9g\\n", r2, l, own.squared_distance(l), slope, least,
                        far, static_cast<double>(lanes[F32::W - 1]));
        }
    });
}
"""


def test_the_struct_is_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32" or shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("needs a C++ compiler")
    found = {block.title: block.text for block in blocks(PAGE) if block.title}
    shutil.copytree(ROOT / "csrc" / "core", tmp_path / "core")
    shutil.copytree(ROOT / "csrc" / "simd", tmp_path / "simd")
    header = tmp_path / "core" / "kernel.h"
    text = header.read_text(encoding="utf-8")
    assert text.count(LISTED) == 1
    listed = LISTED.replace("Gaussian", "Gaussian, Yukawa")
    struct = found["Yukawa in csrc/core/kernel.h"]
    header.write_text(text.replace(LISTED, f"{struct}\n{listed}"), encoding="utf-8")
    (tmp_path / "use.cpp").write_text(USE, encoding="utf-8")
    built = tmp_path / "use"
    command = [
        os.environ.get("CXX", "g++"),
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-I.",
        "-DEFM_SET=base",
        "use.cpp",
    ]
    done = subprocess.run(
        [*command, "core/kernel_names.cpp", "-o", built], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = subprocess.run([built], capture_output=True, text=True, check=True).stdout
    r2, log_kernel, back, slope, least, far, log_weight = torch.tensor(
        [[float(number) for number in line.split()] for line in told.splitlines()], dtype=torch.float64
    ).T

    (tmp_path / "my_kernels.py").write_text(found["my_kernels.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(kernel, "_REGISTERED", dict(kernel._REGISTERED))
    own = importlib.import_module("my_kernels").Yukawa(3.0, 0.5)
    del sys.modules["my_kernels"]  # the class is not registered after this test
    torch.testing.assert_close(log_kernel, own.log_kernel(r2), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(back, r2, rtol=1e-10, atol=0)
    torch.testing.assert_close(slope, own.slope(r2), rtol=1e-14, atol=0)
    torch.testing.assert_close(-own.slope(least) * 1e-7, torch.full_like(r2, 1e-3), rtol=1e-10, atol=0)
    fallen = (own.log_kernel(far) - own.log_kernel(r2)) / torch.log(torch.tensor(2.0).double())
    torch.testing.assert_close(fallen, torch.full_like(r2, -20.0), rtol=1e-6, atol=0)
    want = own.relative_log(0.25 * r2, r2) / torch.log(torch.tensor(2.0).double())
    torch.testing.assert_close(log_weight, want, rtol=1e-5, atol=0)
