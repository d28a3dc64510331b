"""What the compiler makes of the kernels for each architecture, read on a machine that need not have a GPU."""

from __future__ import annotations

import importlib
import os

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET is set: Triton's compiler is out of reach", allow_module_level=True)

from kernel_cases import kernels

ahead = kernels.ahead


def compile_call(arch: int, n: int, m: int, d: int, **arguments: object) -> dict[str, object]:
    """Everything that one sum launches, compiled for ``arch``, by kernel name."""
    with ahead.recorded() as launches:
        kernels.riesz_sum(torch.zeros(n, d), torch.zeros(m, d), power=d + 1.0, **arguments)
    return {launch.name: ahead.compiled(launch, arch) for launch in launches}


@pytest.mark.parametrize(("arch", "d"), [(80, 2), (90, 2), (90, 16), (100, 2)])
def test_small(arch: int, d: int) -> None:
    found = compile_call(arch, 4096, 100_000, d, height=torch.zeros(4096))
    kernel = found["sum_small"]
    assert kernel.shared <= 4096
    # three programs of 128 threads at least share a multiprocessor's 65536 registers
    assert kernel.registers is None or kernel.registers <= 168
    assert kernel.spilled is None or kernel.spilled <= 16
    count = kernel.instructions("rsqrt.approx", "lg2.approx", "ex2.approx")
    assert count["rsqrt.approx"] > 0, "integer powers go by reciprocal square root"
    assert count["lg2.approx"] == count["ex2.approx"] == 0, "and need no logarithm"
    assert found["merge_splits"].shared <= 4096


MATRIX = {80: ("mma.sync", ".bf16"), 90: ("wgmma.mma_async", ".bf16"), 100: ("tcgen05.mma", "kind::f16")}


@pytest.mark.parametrize(("arch", "d"), [(80, 64), (90, 64), (90, 128), (90, 3072), (80, 3072), (100, 3072)])
def test_matrix_products(arch: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = importlib.import_module(f"{kernels.__name__}.launch_gemm")
    monkeypatch.setattr(launcher, "shape_index", lambda tensor: kernels.platform.generation(arch))
    found = compile_call(arch, 128, 256, d, height=torch.zeros(128))
    products = {
        name: kernel for name, kernel in found.items() if name in ("sum_fused", "distances", "combine")
    }
    assert len(products) == (1 if d <= 256 else 2)
    for name, kernel in products.items():
        assert kernel.shared <= ahead.SHARED_LIMIT[arch], name
        count = kernel.instructions(*MATRIX[arch], "tf32", "cp.async")
        assert all(count[needed] > 0 for needed in MATRIX[arch]), f"{name}: {count}"
        assert count["cp.async"] > 0, f"{name} is not pipelined"
        assert count["tf32"] == 0, f"{name} rounds to tf32"
        assert not kernel.serialized, f"{name}: its matrix products wait for each other"
        assert kernel.spilled is None or kernel.spilled <= 160, f"{name} spills {kernel.spilled} bytes"


@pytest.mark.parametrize("arch", [80, 90])
def test_gradients(arch: int) -> None:
    x, y = torch.zeros(64, 40), torch.zeros(100, 40)
    with ahead.recorded() as launches:
        kernels.riesz_sum_backward(x, y, torch.zeros(64), torch.zeros(64), torch.zeros(64, 40), power=41.0)
    names = {launch.name for launch in launches}
    assert names == {"pair_coefficients", "gather"}
    for launch in launches:
        kernel = ahead.compiled(launch, arch)
        assert kernel.shared <= ahead.SHARED_LIMIT[arch]
        assert kernel.spilled is None or kernel.spilled <= 16, f"{kernel.name} spills {kernel.spilled} bytes"
