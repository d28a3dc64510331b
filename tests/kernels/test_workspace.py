"""The documented workspace holds for every size: launchers run on tensors without memory and are watched."""

from __future__ import annotations

import contextlib
import importlib
import os
import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("triton", reason="the kernels need triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET is set: nothing can be recorded", allow_module_level=True)

from kernel_cases import asked, kernels

MIB = 1 << 20


class Enough(Exception):
    """The launcher has come far enough into its loops."""


class Watch(TorchDispatchMode):
    """Bytes of the tensors made within that are alive, at most; stops after ``steps`` operations."""

    def __init__(self, steps: int, launches: list[object], *given: torch.Tensor) -> None:
        super().__init__()
        self.launches = launches
        self.alive = self.peak = 0
        self.steps = steps
        self.known = {tensor.untyped_storage()._cdata for tensor in given}

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.alive -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.launches.clear()  # which would keep their arguments alive
        out = func(*args, **(kwargs or {}))
        self.steps -= 1
        if self.steps < 0:
            raise Enough
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self.known:
                self.known.add(key)
                self.alive += size
                self.peak = max(self.peak, self.alive)
                weakref.finalize(storage, self._gone, key, size)
        return out


def on_132_multiprocessors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("launch_chunked", "launch_fused", "launch_gradients", "launch_small"):
        module = importlib.import_module(f"{kernels.__name__}.{name}")
        monkeypatch.setattr(module, "processors", lambda tensor: 132)


def peak(
    n: int, m: int, d: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, **arguments: object
) -> int:
    """Bytes that a sum of this size needs beside its arguments and results on a machine of 132 multiprocessors."""
    on_132_multiprocessors(monkeypatch)
    x, height = torch.empty(n, d, device="meta"), torch.empty(n, device="meta")
    y = torch.empty(m, d, device="meta", dtype=dtype)
    with (
        kernels.ahead.recorded() as launches,
        Watch(400, launches, x, y, height) as watch,
        contextlib.suppress(Enough),
    ):
        kernels.log_sum(asked(x, y, power=d + 1.0, height=height, **arguments))
    return watch.peak - n * (4 * d + 12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("d", [2, 16, 17, 64, 200, 300, 3072, 12288, 49152, 196_608, 393_216])
def test_stays_under_256_mib(d: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (1, 512, 16384, 65536):
        for m in (100, 100_000, 10_000_000):
            used = peak(n, m, d, dtype, monkeypatch)
            assert used <= 256 * MIB, f"{used / MIB:.0f} MiB at {n} x {m}"


@pytest.mark.parametrize("d", [65, 300, 3072, 12288, 196_608])
def test_gradients_stay_under_256_mib(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    on_132_multiprocessors(monkeypatch)
    for n in (1, 512, 65536):
        for m in (100, 1_000_000):
            x, y, height = (torch.empty(size, device="meta") for size in ((n, d), (m, d), (n,)))
            request, log_scale = asked(x, y, power=d + 1.0, height=height), height.double()
            with (
                kernels.ahead.recorded() as launches,
                Watch(400, launches, x, y, height, log_scale) as watch,
                contextlib.suppress(Enough),
            ):
                kernels.log_sum_backward(request, log_scale, height, x)
            used = watch.peak - 4 * (n * d + m * d + m + n)
            assert used <= 256 * MIB, f"{used / MIB:.0f} MiB at {n} x {m}"


@pytest.mark.parametrize("d", [2, 3072, 196_608])
def test_the_exact_sum_stays_under_256_mib(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    used = peak(65536, 10_000_000, d, torch.float32, monkeypatch, precision="exact")
    assert used <= 256 * MIB, f"{used / MIB:.0f} MiB"


@pytest.mark.parametrize("d", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("m", [5000, 1_000_000, 10_000_000])
def test_a_split_adds_no_more_tiles_than_promised(d: int, m: int) -> None:
    plan = kernels.plan
    for n in (1, 4096, 1_000_000):
        rows = plan.small_rows(n, m, d)
        splits, per_split = plan.small_splits(rows, m, d, 132)
        # splits come in multiples of 64 charges, a few tiles more
        assert per_split <= plan.SMALL_TILES * plan.small_shape(d).block_m + 64
        assert (splits - 1) * per_split < m <= splits * per_split


@pytest.mark.parametrize(("n", "m", "d"), [(1, 10_000_000, 2), (65536, 10_000_000, 2), (16, 1_000_000, 3072)])
def test_an_exact_sum_is_launched_in_pieces_that_fill_the_machine(n: int, m: int, d: int) -> None:
    plan = kernels.plan
    rows = plan.exact_rows(n, d)
    charges = plan.exact_charges(rows, m, d)
    assert rows * charges * (d + plan.EXACT_PAIR) <= plan.EXACT_LAUNCH
    splits = plan.exact_splits(rows, min(m, charges), d, 132)
    assert rows * splits >= 132
    assert splits * rows * (8 * d + 24) <= plan.EXACT_SUMS


def test_what_is_alive_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with Watch(9, []) as watch:
        held = torch.empty(1000, device="meta")
        for _ in range(3):
            torch.empty(500, device="meta")
    assert watch.peak == 6000
    assert watch.alive == held.nbytes
