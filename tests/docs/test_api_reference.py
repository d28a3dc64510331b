"""Every public name has a place in the reference, and what the reference names is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import efm_fast

ROOT = Path(__file__).parents[2]
NAMED = re.findall(
    r"^::: (\S+)$",
    "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")),
    re.MULTILINE,
)
#: Another name of LogSum, kept for callers of earlier versions.
ALIASES = {"RieszSum"}


@pytest.mark.parametrize("path", NAMED)
def test_what_is_named_exists_and_is_documented(path: str) -> None:
    module, _, name = path.rpartition(".")
    found = (
        importlib.import_module(path)
        if path == "efm_fast.errors"
        else getattr(importlib.import_module(module), name)
    )
    assert found.__doc__


def test_every_public_name_is_in_the_reference() -> None:
    named = {path.rpartition(".")[2] for path in NAMED}
    assert set(efm_fast.__all__) - {"__version__"} - ALIASES - named == set()


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    pages: set[str] = set(re.findall(r"\S+\.md", navigation))
    found = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages == found


def test_every_command_is_on_the_page_of_the_command_line() -> None:
    from efm_fast.cli import app

    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    commands = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert commands == set(re.findall(r"^\| `efm-fast (\w+)", page, re.MULTILINE))
