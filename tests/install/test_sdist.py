"""The source distribution holds all that a build needs; a build fails where a part that was asked for is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = (
    "csrc",
    "kernels",
    "efm_fast",
    "pyproject.toml",
    "setup.py",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
)

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs git and a checkout"
)


def tracked(*paths: str) -> list[str]:
    """Files below ``paths`` that git knows and that are in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution of a fresh checkout: an old egg-info would add files to it."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, checkout / name)
    # what lies about in a checkout that was built, and is no source
    (checkout / "csrc" / "tests" / "fuzz.o").write_bytes(b"")
    (checkout / "efm_fast" / "_C.so").write_bytes(b"")
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", "dist", "."]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = (checkout / "dist").iterdir()
    with tarfile.open(archive) as packed:
        packed.extractall(checkout / "unpacked", filter="data")
    (folder,) = (checkout / "unpacked").iterdir()
    return folder


def test_it_holds_every_source_and_no_build_output(sdist: Path) -> None:
    held = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    assert set(tracked(*NEEDED)) - held == set()
    assert [name for name in held if name.endswith((".o", ".so", ".pyc"))] == []
    assert [name for name in held if name.startswith(("tests/", "bench/", "runs/"))] == []


def built(sdist: Path, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """An attempt to build the extension, with no compiler on PATH, so that it is quick."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("EFM_FAST_", "CUDA_"))}
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", f"--build-temp={folder / 'temp'}", f"--build-lib={folder}"],
        cwd=sdist,
        env={**inherited, "PATH": str(folder), "CC": "no-compiler", "CXX": "no-compiler", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_cuda_that_was_asked_for_is_built_or_an_error(sdist: Path, tmp_path: Path) -> None:
    without_nvcc = built(sdist, tmp_path, {"EFM_FAST_CUDA": "1"})
    assert without_nvcc.returncode != 0
    assert "EFM_FAST_CUDA=1: expected nvcc" in without_nvcc.stderr

    incomplete = shutil.copytree(sdist, tmp_path / "incomplete")
    for source in (incomplete / "csrc").rglob("*.cu"):
        source.unlink()
    without_sources = built(incomplete, tmp_path, {"EFM_FAST_CUDA": "1"})
    assert without_sources.returncode != 0
    assert "EFM_FAST_CUDA=1: expected .cu files below csrc" in without_sources.stderr


def test_a_wish_for_cuda_that_is_no_wish_is_an_error(sdist: Path, tmp_path: Path) -> None:
    done = built(sdist, tmp_path, {"EFM_FAST_CUDA": "yes"})
    assert done.returncode != 0
    assert "EFM_FAST_CUDA: expected auto, 0 or 1, got 'yes'" in done.stderr
