"""Builds the extension efm_fast._C, nothing else; the package itself is described in pyproject.toml.

Environment variables:
    EFM_FAST_CUDA: "auto" (default: build the .cu files of csrc/ if nvcc is found), "0" (never), "1" (nvcc or an error).
    EFM_FAST_CUDA_ARCHS: compute capabilities, e.g. "80;90"; by default those of ARCHITECTURES that nvcc knows. PTX of
        the last is added for newer devices.
    EFM_FAST_REQUIRE_EXT: "1" makes a failing build an error instead of a package without the extension.
    EFM_FAST_SANITIZE: "1" builds the C++ part with AddressSanitizer and UBSan, without optimisation of frames.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

CSRC = Path("csrc")
CUDA_WISH = os.environ.get("EFM_FAST_CUDA", "auto")
X86 = platform.machine().lower() in ("x86_64", "amd64") and sys.platform != "win32"
SANITIZE = os.environ.get("EFM_FAST_SANITIZE") == "1"
#: Compute capabilities of the CUDA part: T4, A100, RTX 30, RTX 40, H100 and H200, B200, RTX 50.
ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")


def instruction_sets() -> dict[str, list[str]]:
    """Flags of units by the instruction set they are compiled for; of other processors than x86-64 the base alone.

    One wheel serves every processor: each unit is compiled for its sets, and one is chosen when the program runs.
    """
    lines = (CSRC / "simd" / "instruction_sets.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {name: flags for name, *flags in rows if X86 or name == "base"}


def compilations(source: Path) -> list[tuple[str, list[str]]]:
    """Instruction sets that a C++ unit is compiled for, and their flags; one unnamed set for most units."""
    sets = instruction_sets()
    if source.stem.endswith("_kernel"):
        chosen = [name for name in sets if (CSRC / "simd" / f"vec_{name}.h").is_file()]
        return [(name, [f"-DEFM_SET={name}", *sets[name]]) for name in chosen]
    if source.stem.endswith("_amx"):
        return [("amx", sets["amx"])] if "amx" in sets else []
    return [("", [])]


def common_flags() -> list[str]:
    """Flags of every unit."""
    if sys.platform == "win32":
        return ["/std:c++17", "/O2", "/EHsc"]
    flags = [
        "-std=c++17",
        "-O3",
        "-fvisibility=hidden",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-Wall",
        "-Wextra",
        "-Wno-psabi",
    ]
    if X86:
        flags.append("-DEFM_FAST_X86=1")
    if SANITIZE:
        flags += ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
    return flags


def cuda_architectures(nvcc: str) -> list[str]:
    """Compute capabilities to build for, without their dots."""
    wish = os.environ.get("EFM_FAST_CUDA_ARCHS")
    if wish is not None:
        return [arch.strip().replace(".", "") for arch in wish.replace(",", ";").split(";") if arch.strip()]
    asked = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True)
    known = [arch for arch in ARCHITECTURES if f"compute_{arch}" in asked.stdout.split()]
    if not known:
        raise CompileError(f"{nvcc} --list-gpu-arch: expected one of {', '.join(ARCHITECTURES)}, got none")
    return known


def find_nvcc() -> str | None:
    """Path of nvcc if the CUDA part is to be built."""
    if CUDA_WISH not in ("auto", "0", "1"):
        raise CompileError(f"EFM_FAST_CUDA: expected auto, 0 or 1, got {CUDA_WISH!r}")
    if CUDA_WISH == "0":
        return None
    if not list(CSRC.rglob("*.cu")):
        raise CompileError(f"EFM_FAST_CUDA={CUDA_WISH}: expected .cu files below csrc, found none")
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc", path=str(Path(home) / "bin")) if home else None
    nvcc = nvcc or shutil.which("nvcc")
    if nvcc is None and CUDA_WISH == "1":
        raise CompileError("EFM_FAST_CUDA=1: expected nvcc on PATH or under CUDA_HOME, found none")
    return nvcc


def find_cuda_runtime(nvcc: str) -> Path:
    """Folder of the static CUDA runtime that belongs to nvcc, which may be a script that calls another."""
    asked = subprocess.run([nvcc, "-dryrun", "-x", "cu", os.devnull], capture_output=True, text=True)
    tops = [line.partition("TOP=")[2].strip() for line in asked.stderr.splitlines() if " TOP=" in line]
    for top in map(Path, tops):
        for folder in (*top.glob("targets/*/lib"), top / "lib64", top / "lib"):
            if (folder / "libcudart_static.a").is_file():
                return folder.resolve()
    raise CompileError(f"{nvcc}: found no libcudart_static.a in {', '.join(tops) or 'its toolkit'}")


class BuildExtension(build_ext):
    """Compiles all units side by side; those of one instruction set, and CUDA's, have flags of their own."""

    def build_extension(self, ext: Extension) -> None:
        """Compile every unit to an object, and let setuptools link them."""
        cuda = self.cuda_objects(ext)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            units = [(source, *how) for source in ext.sources for how in compilations(Path(source))]
            objects = list(pool.map(lambda unit: self.compile_unit(*unit, ext), units))
        ext.extra_objects = [name for names in objects for name in names] + cuda
        ext.depends, ext.sources = [*ext.depends, *ext.sources], []
        super().build_extension(ext)

    def compile_unit(self, source: str, instruction_set: str, flags: list[str], ext: Extension) -> list[str]:
        """Object of one C++ unit compiled for one instruction set."""
        return self.compiler.compile(
            [source],
            output_dir=str(Path(self.build_temp) / instruction_set),
            macros=ext.define_macros,
            include_dirs=ext.include_dirs,
            extra_postargs=[*ext.extra_compile_args, *flags],
            depends=ext.depends,
        )

    def cuda_objects(self, ext: Extension) -> list[str]:
        """Objects of the CUDA part; none where nvcc is missing, or fails and was not insisted on."""
        try:
            nvcc = find_nvcc()
            return [] if nvcc is None else self.compile_cuda(nvcc, find_cuda_runtime(nvcc), ext)
        except CompileError as cause:
            if CUDA_WISH != "auto":
                raise
            print(f"efm_fast: built without its CUDA part: {cause}", file=sys.stderr)
            return []

    def compile_cuda(self, nvcc: str, libraries: Path, ext: Extension) -> list[str]:
        """Objects of the .cu files for every architecture plus PTX; links the static CUDA runtime."""
        architectures = cuda_architectures(nvcc)
        targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
        targets.append(f"-gencode=arch=compute_{architectures[-1]},code=compute_{architectures[-1]}")
        objects = []
        for source in sorted(CSRC.rglob("*.cu")):
            target = str(Path(self.build_temp) / f"{source}.o")
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            command = [nvcc, "-c", str(source), "-o", target, f"-I{CSRC}", "-std=c++17", "-O3", "--threads=0"]
            command += targets
            # the same function then has the same bits in every kernel; hot loops say fmaf themselves
            command += ["-fmad=false"]
            command += ["-Xcompiler=-fPIC,-fvisibility=hidden", "-DEFM_FAST_CUDA=1"]
            try:
                subprocess.run(command, check=True)
            except (OSError, subprocess.CalledProcessError) as cause:
                raise CompileError(f"nvcc failed on {source}: {cause}") from cause
            objects.append(target)
        ext.define_macros.append(("EFM_FAST_CUDA", "1"))
        ext.library_dirs.append(str(libraries))
        ext.libraries += ["cudart_static", "dl", "rt", "pthread"]
        return objects


setup(
    ext_modules=[
        Extension(
            "efm_fast._C",
            sources=[str(p) for p in sorted(CSRC.rglob("*.cpp")) if "tests" not in p.parts],
            include_dirs=[str(CSRC), pybind11.get_include()],
            depends=[str(p) for p in sorted((*CSRC.rglob("*.h"), *CSRC.rglob("*.txt")))],
            extra_compile_args=common_flags(),
            extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
            language="c++",
            # setuptools makes every error of an optional extension a warning, also of a CUDA part that was asked for
            optional=os.environ.get("EFM_FAST_REQUIRE_EXT") != "1" and CUDA_WISH in ("auto", "0"),
        )
    ],
    cmdclass={"build_ext": BuildExtension},
)
