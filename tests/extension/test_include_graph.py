"""csrc has an architecture: includes run one way, one folder knows Python, and none knows torch or efm_fast."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
# a folder includes from itself and from those before it
ORDER = ("simd", "core", "sum", "sum/direct", "sum/large", "sum/image_plates", "lines", "bindings", "tests")
NEVER = ("sum/large", "lines"), ("bindings", "tests")  # neighbours, which do without each other
SOURCES = sorted(p for kind in ("*.h", "*.cpp", "*.cu") for p in CSRC.rglob(kind))

pytestmark = pytest.mark.skipif(not CSRC.is_dir(), reason="csrc is not here")


def folder(path: str) -> str:
    return path.rpartition("/")[0]


def included(text: str) -> list[str]:
    """Files of csrc that a source includes."""
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE)


def arrows_up(name: str, text: str) -> list[str]:
    """Includes that run against ORDER."""
    own = folder(name)
    return [
        other
        for other in included(text)
        if ORDER.index(folder(other)) > ORDER.index(own)
        or any({own, folder(other)} == set(neighbours) for neighbours in NEVER)
    ]


def strangers(name: str, text: str) -> list[str]:
    """Headers of Python outside the bindings, and of torch or ATen anywhere."""
    headers = re.findall(r"^\s*#\s*include\s+[<\"]([^>\"]+)[>\"]", text, re.MULTILINE)
    unknown = ("torch/", "ATen/", "c10/", *(() if folder(name) == "bindings" else ("pybind11/", "Python.h")))
    return [header for header in headers if header.startswith(unknown)]


def test_there_are_sources_in_every_folder() -> None:
    assert {folder(p.relative_to(CSRC).as_posix()) for p in SOURCES} == set(ORDER)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(CSRC).as_posix())
def test_includes_run_one_way(path: Path) -> None:
    name, text = path.relative_to(CSRC).as_posix(), path.read_text(encoding="utf-8")
    assert [other for other in included(text) if not (CSRC / other).is_file()] == []
    assert arrows_up(name, text) == []
    assert strangers(name, text) == []


def test_an_arrow_up_is_seen() -> None:
    assert arrows_up("core/kernel.h", '#include "simd/scalar.h"\n#include "sum/row_kernel.h"\n') == [
        "sum/row_kernel.h"
    ]
    assert arrows_up("lines/lines.cpp", '#include "sum/large/large.h"\n') == ["sum/large/large.h"]
    assert strangers("core/threads.cpp", "#include <pybind11/stl.h>\n") == ["pybind11/stl.h"]
    assert strangers("bindings/module.cpp", "#include <pybind11/stl.h>\n#include <torch/all.h>\n") == [
        "torch/all.h"
    ]


def units_of_kernels() -> list[Path]:
    return [path for path in SOURCES if path.name.endswith("_kernel.cpp")]


@pytest.mark.parametrize("path", units_of_kernels(), ids=lambda p: p.stem)
def test_kernels_are_compiled_for_their_set_and_include_no_cpp_library(path: Path) -> None:
    """An inline function of a shared header, compiled for AVX-512, could become the whole program's."""
    text = path.read_text(encoding="utf-8")
    assert '#include "simd/vectors.h"' in text
    assert "EFM_KERNELS(" in text
    assert set(re.findall(r"^#include <([^>]+)>", text, re.MULTILINE)) <= {"float.h", "math.h", "type_traits"}


def test_no_file_is_long() -> None:
    assert [p.name for p in SOURCES if len(p.read_text(encoding="utf-8").splitlines()) > 400] == []
