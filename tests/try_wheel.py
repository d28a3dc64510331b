"""Install the wheel of a folder into a clean environment and use it from outside the checkout.

Run by `make wheel`: python tests/try_wheel.py FOLDER [--without-cuda]. torch and the other heavy dependencies are
borrowed from the environment that runs this script; efm_fast itself comes from the wheel alone. The core is tried with
nothing but what the wheel's own metadata asks for, torch and numpy, and then the rest with everything. With
--without-cuda the extension must have no CUDA part.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

CORE = """
import pathlib, sys, torch, efm_fast, efm_fast.kernels
home = pathlib.Path(efm_fast.__file__)
assert home.is_relative_to(sys.prefix), home
assert pathlib.Path(efm_fast.kernels.__file__).parent == home.parent / "kernels"
assert (home.parent / "py.typed").is_file()
total = efm_fast.riesz_sum(torch.zeros(1, 2), torch.ones(3, 2), power=3)
assert torch.isfinite(total.v).all()
field = efm_fast.capacitor_field(torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 2), torch.zeros(1, 2), 2.0)
assert torch.allclose(field.direction, torch.tensor([[0.0, 0.0, 1.0]]))
from efm_fast import _C
try:
    efm_fast.train
except ImportError as problem:
    assert "efm_fast[train]" in str(problem), problem
else:
    raise AssertionError("the core alone was to be tried, and has all of training")
"""
REST = """
import sys, efm_fast
from efm_fast import _C
assert efm_fast.train
assert len(efm_fast.Config.load("digits_3_to_2").name) > 0
cuda = hasattr(_C, "cuda_trace_lines")
assert not (cuda and "--without-cuda" in sys.argv), "the extension has a CUDA part"
part = "with a CUDA part" if cuda else "without a CUDA part"
print(f"the wheel works, its extension {part}: the core with torch and numpy alone, and the rest")
"""


def needed(requirements: list[str], seen: set[str]) -> set[str]:
    """Names of the installed distributions that requirements ask for, and theirs in turn; extras apart."""
    for requirement in map(Requirement, requirements):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:  # what is not installed here torch does without
            continue
        seen.add(name)
        needed(found.requires or [], seen)
    return seen


def borrow(names: set[str], folder: Path) -> None:
    """Links in ``folder`` to the modules and packages of distributions, and to nothing else."""
    folder.mkdir()
    for name in names:
        found = distribution(name)
        for top in {
            path.parts[0] for path in found.files or [] if path.parts[0] not in ("..", "__pycache__")
        }:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))).resolve())


def main() -> None:
    """Fail loudly if the wheel is not what it should be."""
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("efm_fast/kernels/") for name in names), "kernels are missing"
    assert not any(name.startswith(("kernels/", "tests/", "bench/")) for name in names), "stray packages"
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = Path(folder) / "lib" / version / "site-packages"
        (metadata,) = packages.glob("efm_fast-*.dist-info")
        borrow(needed(Distribution.at(metadata).requires or [], set()), Path(folder) / "core")
        # plain paths, not import hooks: the editable efm_fast of the outer environment stays unseen
        everything = [path for path in sys.path if Path(path).name == "site-packages"]
        for paths, check in (([str(Path(folder) / "core")], CORE), (everything, REST)):
            (packages / "borrowed.pth").write_text("\n".join(paths) + "\n")
            subprocess.run([python, "-I", "-c", check, *sys.argv[2:]], check=True, cwd=folder)


if __name__ == "__main__":
    main()
