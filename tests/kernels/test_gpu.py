"""What only a CUDA device can show: the checks natively, streams, graphs, memory, repeats, hard places at size."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need triton")
from kernel_cases import asked, kernels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no CUDA device"),
    pytest.mark.skipif(kernels.INTERPRET, reason="TRITON_INTERPRET is set"),
]

FOLDER = Path(__file__).parent
SHAPES = [(300, 5000, 2), (300, 5000, 64), (200, 9000, 300)]
MIB = 1 << 20


def inputs(n: int, m: int, d: int, device: str = "cuda") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator)
    height = torch.rand(n, generator=generator) * d**0.5
    return x.to(device), y.to(device), height.to(device)


def assert_equal(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> None:
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(one, other, strict=True))


CHECKS = sorted(path.name for path in FOLDER.glob("check_*.py"))


@pytest.fixture(scope="module")
def checks(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """Every check in a process of its own, all at once: on a new machine they mostly compile."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    running = {}
    for name in CHECKS:
        said = tmp_path_factory.mktemp("checks") / f"{name}.txt"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-o",
            "timeout=900",
            str(FOLDER / name),
        ]
        with said.open("w") as file:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=FOLDER.parents[1],
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        running[name] = (process, said)
    yield running
    for process, _ in running.values():
        process.kill()
        process.wait()


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("name", CHECKS)
def test_checks_natively(name: str, checks: dict[str, tuple[subprocess.Popen[str], Path]]) -> None:
    process, said = checks[name]
    assert process.wait(timeout=900) == 0, said.read_text()[-6000:]


@pytest.mark.parametrize("shape", SHAPES)
def test_hundred_repeats_are_bitwise_equal(shape: tuple[int, int, int]) -> None:
    x, y, height = inputs(*shape)
    first = kernels.log_sum(asked(x, y, power=shape[2] + 1.0, height=height))
    for _ in range(99):
        assert_equal(first, kernels.log_sum(asked(x, y, power=shape[2] + 1.0, height=height)))


@pytest.mark.parametrize("shape", SHAPES)
def test_graph_capture_side_stream_and_no_synchronisation(shape: tuple[int, int, int]) -> None:
    x, y, height = inputs(*shape)
    power = shape[2] + 1.0
    plain = kernels.log_sum(asked(x, y, power=power, height=height))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.cuda.stream(side):
            beside = kernels.log_sum(asked(x, y, power=power, height=height))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = kernels.log_sum(asked(x, y, power=power, height=height))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.current_stream().wait_stream(side)
    assert_equal(plain, beside)
    x.add_(0.5)
    graph.replay()
    assert_equal(captured, kernels.log_sum(asked(x, y, power=power, height=height)))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("shape", SHAPES)
def test_second_device(shape: tuple[int, int, int]) -> None:
    results = [
        kernels.log_sum(asked(x, y, power=shape[2] + 1.0, height=height))
        for x, y, height in (inputs(*shape, device) for device in ("cuda:0", "cuda:1"))
    ]
    assert results[1][0].device.index == 1
    assert_equal(*results)


@pytest.mark.parametrize("shape", [(4096, 10_000_000, 2), (4096, 2_000_000, 64), (512, 200_000, 3072)])
def test_workspace_stays_under_256_mib(shape: tuple[int, int, int]) -> None:
    n, m, d = shape
    x, height = torch.randn(n, d, device="cuda"), torch.rand(n, device="cuda")
    y = torch.randn(m, d, device="cuda")
    kernels.log_sum(asked(x, y[:4096], power=d + 1.0, height=height))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = kernels.log_sum(asked(x, y, power=d + 1.0, height=height))
    used = torch.cuda.max_memory_allocated() - before - sum(part.nbytes for part in result)
    assert used <= 256 * MIB, f"{used / MIB:.0f} MiB"


@pytest.mark.parametrize(
    ("d", "limit", "uint8"),
    [(2, 1e-4, False), (64, 1e-4, False), (256, 1e-4, False), (3072, 1e-4, False), (3072, 1e-4, True),
     (12288, 2e-4, False), (196_608, 1e-3, False)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["interpolated", "tie", "plate_tie", "twin"])
def test_direction_where_charges_balance(d: int, limit: float, uint8: bool, kind: str) -> None:
    from efm_fast.field import capacitor_field
    from efm_fast.field.queries import query_set

    n, m = (256, 4096) if d <= 3072 else (256, 1024) if d <= 12288 else (16, 256)
    q = query_set(kind, n, m, d, uint8=uint8)
    moved = [t.cuda() for t in (q.x, q.z, q.plus, q.minus)]
    got = capacitor_field(*moved, q.L, backend="triton")
    want = capacitor_field(*moved, q.L, backend="reference")
    error = torch.linalg.vector_norm(got.direction.double() - want.direction.double(), dim=1)
    assert error.max().item() <= limit
    if d <= 12288:
        assert (got.log_norm - want.log_norm).abs().max().item() <= 1e-3


def test_points_between_the_plates_where_hundreds_of_charges_count() -> None:
    from efm_fast.field import riesz_sum

    d = 3072
    generator = torch.Generator("cuda").manual_seed(0)
    y = torch.randn(20_000, d, device="cuda", generator=generator)
    away = torch.nn.functional.normalize(torch.randn(64, d, device="cuda", generator=generator), dim=1)
    for reach in (0.5, 3.0, 0.45 * d**0.5):
        x = y[:64] + reach * (2.0 * d) ** 0.5 * away
        height = torch.full((64,), 0.5 * (2.0 * d) ** 0.5, device="cuda")
        one, other = (
            riesz_sum(x, y, power=d + 1.0, height=height, backend=name).posterior_mean(x)
            for name in ("triton", "reference")
        )
        off = torch.linalg.vector_norm(one.double() - other.double(), dim=1)
        # of the displacement from the mean, as the direction counts it
        size = torch.linalg.vector_norm(x.double() - other.double(), dim=1)
        assert (off / size).max().item() <= 1e-4, f"reach {reach}"
