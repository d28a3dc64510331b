"""Launches that a loop repeats give the machine code the arguments that Triton's own way of launching gives it."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET is set: Triton's compiler is out of reach", allow_module_level=True)

import importlib

from kernel_cases import kernels

ahead = kernels.ahead
repeat = importlib.import_module(f"{kernels.__name__}.repeat")
chunked = importlib.import_module(f"{kernels.__name__}.chunked")


def arguments(height: int) -> dict[str, Any]:
    return {
        "counts": torch.zeros(height, 8, dtype=torch.int8), "tiles": torch.zeros(1, 10, dtype=torch.int32),
        "BLOCK_N": 16, "TILES": 8,
    }  # fmt: skip


class Fake:
    """A kernel that compiles nothing and remembers how it was launched."""

    arg_names = ("a", "b", "c")

    def __init__(self) -> None:
        self.slow: list[dict[str, Any]] = []
        self.quick: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*args: Any, **kwargs: Any) -> Any:
            if args:
                self.quick.append((grid, *args))
            else:
                self.slow.append(kwargs)
            return self

        return launch


def test_only_the_first_launch_of_a_kind_is_bound() -> None:
    kernel = Fake()
    launch = repeat.Repeated(kernel, (7,), {"num_warps": 2}, a=1, c=3)
    memory = torch.zeros(64, dtype=torch.uint8)
    launch(b=memory[16:])
    launch(b=memory[32:])
    assert kernel.slow[0]["num_warps"] == 2
    assert len(kernel.slow) == 1
    grid, a, b, c = kernel.quick[0]
    assert (grid, a, c) == ((7, 1, 1), 1, 3)
    assert b.data_ptr() == memory[32:].data_ptr()
    # the machine code for aligned tensors must not get others, nor None
    launch(b=memory[33:])
    launch(b=None)
    assert (len(kernel.slow), len(kernel.quick)) == (3, 1)


def test_a_compiled_kernel_gets_the_arguments_that_triton_gives_it() -> None:
    kernel, given, options = chunked.list_tiles, arguments(16), {"num_warps": 4}
    launch = ahead.Launch(kernel, (1,), given, options | kernels.platform.LAUNCH)
    seen: list[tuple[Any, ...]] = []
    with ahead.idle(launch, 90, lambda *args: seen.append(args)):
        varying = {"counts": given["counts"]}
        repeated = repeat.Repeated(kernel, (1,), options, **{k: given[k] for k in given if k != "counts"})
        repeated(**varying)
        repeated(**varying)
    assert len(seen) == 2
    usual, quick = seen
    assert usual[:3] == quick[:3] == (1, 1, 1)
    assert any(value is given["counts"] for value in usual)
    # the seventh are the notes for hooks, of which there is one object per launch
    pairs = list(zip(usual, quick, strict=True))
    assert all(one is other or one == other for one, other in pairs[:6] + pairs[7:])
