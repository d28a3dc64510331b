"""Compile the kernels that a call would launch, for a named architecture and without a GPU.

The launchers run unchanged on CPU tensors, with a recorder in place of every kernel. Triton then types, specialises and
compiles the recorded launches.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from . import platform

#: Bytes of shared memory that one program may use, by compute capability.
SHARED_LIMIT = {
    80: 163 << 10, 86: 99 << 10, 89: 99 << 10, 90: 227 << 10, 100: 227 << 10, 120: 99 << 10,
}  # fmt: skip

_OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion", "maxnreg")


@dataclass(frozen=True)
class Launch:
    """One recorded launch: the kernel, its grid and its arguments by name."""

    kernel: JITFunction
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self.kernel.__name__


@dataclass(frozen=True)
class Compiled:
    """A compiled launch.

    Attributes:
        shared: bytes of shared memory per program.
        registers: registers per thread; None if Triton has no disassembler.
        spilled: bytes of registers spilled to local memory, per thread; None if Triton has no disassembler.
        serialized: whether the assembler reports that asynchronous matrix instructions wait for each other.
        ptx: the PTX code.
    """

    name: str
    shared: int
    registers: int | None
    spilled: int | None
    serialized: bool
    ptx: str

    def instructions(self, *names: str) -> dict[str, int]:
        """How many times each of ``names`` occurs in the PTX."""
        return {name: len(re.findall(re.escape(name), self.ptx)) for name in names}


class _Recorder:
    def __init__(self, kernel: JITFunction, launches: list[Launch]):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def record(*args: Any, **kwargs: Any) -> None:
            options = {key: kwargs.pop(key) for key in _OPTIONS if key in kwargs}
            arguments = dict(zip(self.kernel.arg_names, args, strict=False)) | kwargs
            self.launches.append(Launch(self.kernel, grid, arguments, options))

        return record


@contextmanager
def recorded(arch: int = 90) -> Iterator[list[Launch]]:
    """A context in which no kernel runs; the list that it returns fills with the recorded launches.

    Launchers plan for compute capability ``arch``, 90 for 9.0, if their tensors are not on a CUDA device.
    """
    if platform.INTERPRET:
        raise RuntimeError("TRITON_INTERPRET is set: Triton's compiler is out of reach in this process")
    launches: list[Launch] = []
    package = __name__.rpartition(".")[0]
    replaced = [
        (module, name, value)
        for key, module in list(sys.modules.items())
        if key.startswith(package + ".") and module is not None
        for name, value in list(vars(module).items())
        if isinstance(value, JITFunction)
    ]
    for module, name, value in replaced:
        setattr(module, name, _Recorder(value, launches))
    planned = platform.without_device
    platform.without_device = arch
    try:
        yield launches
    finally:
        platform.without_device = planned
        for module, name, value in replaced:
            setattr(module, name, value)


class _StandIn:
    """A driver that has an architecture but no device: Triton types and compiles for it and launches nothing."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_device(self) -> int:
        return self.arch  # kernels cache compiled code by device number; no real device has this one

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)


@contextmanager
def _standing_in(arch: int) -> Iterator[None]:
    held = dict(vars(driver))
    driver.set_active(_StandIn(arch))
    try:
        yield
    finally:
        vars(driver).clear()
        vars(driver).update(held)


def disassembled(cubin: bytes, option: str) -> str | None:
    """The output of the disassembler for machine code; None if Triton has no disassembler."""
    import triton.backends.nvidia as nvidia

    tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
    if not tool.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        text = subprocess.run([tool, option, path], capture_output=True, text=True, check=True)
    return text.stdout + text.stderr


def resources(cubin: bytes) -> tuple[int | None, int | None]:
    """Registers and bytes of stack of a thread, from machine code; None, None without a disassembler."""
    text = disassembled(cubin, "-res-usage") or ""
    registers, stack = re.search(r"REG:(\d+)", text), re.search(r"STACK:(\d+)", text)
    return (int(registers[1]), int(stack[1])) if registers and stack else (None, None)


def _serialized(ptx: str, arch: int) -> bool:
    if arch != 90:
        return False
    from triton.backends.nvidia.compiler import get_ptxas

    tool = get_ptxas(arch) if signature(get_ptxas).parameters else get_ptxas()  # Triton 3.4 has only one
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        object_file = str(Path(folder) / "kernel.cubin")
        command = [tool.path, "-v", "--gpu-name", "sm_90a", str(path), "-o", object_file]
        text = subprocess.run(command, capture_output=True, text=True, check=True)
    return "are serialized" in text.stdout + text.stderr


def built(launch: Launch, arch: int) -> Any:
    """Triton's kernel for one recorded launch on compute capability ``arch``, with all that its compiler left."""
    with _standing_in(arch):
        return launch.kernel.run(grid=launch.grid, warmup=True, **launch.arguments, **launch.options)


def machine_code(launch: Launch, arch: int) -> list[str]:
    """The instructions of one recorded launch on compute capability ``arch``; empty without a disassembler."""
    text = disassembled(built(launch, arch).asm["cubin"], "-sass") or ""
    return re.findall(r"/\*[0-9a-f]{4,}\*/\s+([^/;]*?)\s*;", text)


def compiled(launch: Launch, arch: int) -> Compiled:
    """Compile one recorded launch for compute capability ``arch``, 90 for 9.0, with the types of that launch."""
    result = built(launch, arch)
    registers, spilled = resources(result.asm["cubin"])
    ptx = result.asm["ptx"]
    return Compiled(launch.name, result.metadata.shared, registers, spilled, _serialized(ptx, arch), ptx)
