"""The page on environment variables names exactly the variables that the code reads."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "environment.md"
CODE = ("efm_fast", "kernels", "csrc", "bench", "tests")
READS = re.compile(r"""(?:environ(?:\.get|\.setdefault)?|getenv)\s*[\[(]\s*["']([A-Z][A-Z0-9_]+)["']""")
#: The project's own names, wherever they stand: a variable's name may be a constant, or come from a Makefile.
OWN = re.compile(r"\bEFM_FAST_[A-Z_]*[A-Z]\b")
#: What the Makefile sets for the programs that it starts.
EXPORTS = re.compile(r"\bexport ([A-Z][A-Z0-9_]+) *=")
#: Macros of the C++ sources, which look the same.
MACROS = re.compile(r"(?:#\s*(?:define|undef|if|ifdef|ifndef|elif).*\b|-D)(EFM_FAST_[A-Z0-9_]+)")


def sources() -> list[Path]:
    files = [ROOT / "setup.py", ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    for folder in CODE:
        files += [p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".cpp", ".h", ".cu", ".c")]
        files += (ROOT / folder).rglob("Makefile")
    return [path for path in files if path != Path(__file__)]


def read_by_the_code() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources())
    exported = EXPORTS.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    return {*READS.findall(text), *exported} | (set(OWN.findall(text)) - set(MACROS.findall(text)))


def on_the_page() -> set[str]:
    rows = [line for line in PAGE.read_text(encoding="utf-8").split("\n") if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row.split("|")[1])}


def test_the_page_names_every_variable_and_no_other() -> None:
    found = read_by_the_code()
    assert {"EFM_FAST_BACKEND", "EFM_FAST_ISA", "TRITON_INTERPRET", "CUDA_HOME"} <= found, (
        "the search is broken"
    )
    # the compilers' own; and one that is set for a child, whose interpreter reads it
    assert found - {"PYTHONWARNINGS"} | {"CC", "CXX"} == on_the_page()
