"""The package keeps its shape: imports run one way, import is quick and quiet, names are documented."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import efm_fast

ROOT = Path(__file__).parent.parent
# a module may import from its own rank or a lower one
RANKS = [
    {"errors", "extras", "types", "checks", "files", "native", "stop", "yaml12", "streams", "plugins"},
    {"field", "sections"},
    {"data", "lines", "plots", "presets"},
    {"metrics", "nets"},
    {"methods"},
    {"config"},
    {"runs", "settings", "info"},
    {"sampling", "diagnosis"},
    {"pictures"},
    {"training", "evaluation"},
    {"cli"},
    {"__main__"},
]


def rank(room: str) -> int:
    return next(k for k, rooms in enumerate(RANKS) if room in rooms)


def imported_rooms(path: Path) -> set[str]:
    """First path parts below efm_fast that a module of efm_fast imports, inside its functions too."""
    package = ["efm_fast", *path.relative_to(ROOT / "efm_fast").with_suffix("").parts][:-1]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            rooms |= {part[1] for part in parts if part[0] == "efm_fast" and len(part) > 1}
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        base = [*base, *(node.module.split(".") if node.module else [])]
        if base[0] == "efm_fast":
            names = [base[1]] if len(base) > 1 else [alias.name for alias in node.names]
            rooms |= {name for name in names if not name.startswith("__")}
    return rooms


@pytest.mark.parametrize(
    "path", sorted((ROOT / "efm_fast").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(ROOT / "efm_fast").parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for other in imported_rooms(path) - {room, "kernels", "_C"}:
        assert rank(other) <= rank(room), f"{room} imports {other}"


def test_kernels_never_import_the_package() -> None:
    """The C++ of csrc has tests/extension/test_include_graph.py."""
    paths = list((ROOT / "kernels").rglob("*.py"))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not any(name.split(".")[0] == "efm_fast" for name in names), path


def test_import_is_quick_and_touches_neither_triton_nor_extension_nor_cuda() -> None:
    script = (
        "import sys, time, torch\n"
        "started = time.perf_counter()\n"
        "import efm_fast\n"
        "assert time.perf_counter() - started < 2.0\n"
        "assert not torch.cuda.is_initialized()\n"
        "new = [m for m in ('triton', 'efm_fast._C', 'matplotlib', 'sklearn', 'diffusers') if m in sys.modules]\n"
        "assert not new, new\n"
        "efm_fast.train, efm_fast.sample, efm_fast.riesz_sum\n"
        "new = [m for m in ('triton', 'matplotlib', 'diffusers') if m in sys.modules]\n"
        "assert not new, new\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", [n for n in efm_fast.__all__ if not n.startswith("__")])
def test_public_functions_say_what_they_take_give_and_raise(name: str) -> None:
    value = getattr(efm_fast, name)
    assert inspect.getdoc(value), name
    if not inspect.isfunction(value):
        return
    text = inspect.getdoc(value) or ""
    for parameter in inspect.signature(value).parameters:
        assert parameter in text, f"{name}: {parameter} is not documented"
    assert "Raises" in text or "errors are those of" in text, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = efm_fast.trian
