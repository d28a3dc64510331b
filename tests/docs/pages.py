"""Read the code blocks of the pages, and run them as a reader would, with short trainings."""

from __future__ import annotations

import functools
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
#: A block is left out only under a title that starts so, which readers see too.
MARK = "not run by the tests"
#: What a training is cut down to.
FEW = 48
SHORT = {"train.steps": 6, "train.batch": 32, "train.ema": 0.5, "train.picture_every": 10**9}
_FENCE = re.compile(r"^```(\w+)?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]*)"')


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    title: str
    text: str
    line: int

    @property
    def marked(self) -> bool:
        return self.title.startswith(MARK)


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        title = _TITLE.search(fence[2])
        line = text[: fence.start()].count("\n") + 2
        found.append(Block(fence[1] or "", title[1] if title else "", fence[3], line))
    return found


def short(call: Callable[..., Any], **most: int) -> Callable[..., Any]:
    """``call`` with these arguments, or fewer."""
    names = inspect.signature(call).parameters

    @functools.wraps(call)
    def shortened(*arguments: Any, **options: Any) -> Any:
        return call(
            *arguments, **options | {k: min(options.get(k, n), n) for k, n in most.items() if k in names}
        )

    return shortened


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training takes a few steps, whatever its settings; few samples and lines measure it."""
    import efm_fast
    from efm_fast import Config, diagnosis, evaluation

    plain = Config.load.__func__  # type: ignore[attr-defined]

    def load(cls: type, source: object, overrides: Mapping[str, Any] | None = None) -> Config:
        return plain(cls, source, {**(overrides or {}), **SHORT})

    monkeypatch.setattr(Config, "load", classmethod(load))
    for module, name in ((evaluation, "evaluate"), (diagnosis, "diagnose")):
        quick = short(getattr(module, name), n=FEW, lines=8, charges=FEW)
        monkeypatch.setattr(module, name, quick)
        monkeypatch.setattr(efm_fast, name, quick)


def run_page(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the blocks of ``page`` in order in ``folder``; a block whose title is a file's name is written there."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    names: dict[str, Any] = {"__name__": "__main__"}
    known = set(sys.modules)
    shorten(monkeypatch)
    try:
        for block in blocks(page):
            if block.marked:
                continue
            if re.fullmatch(r"[\w.]+\.\w+", block.title):
                (folder / block.title).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                where = f"{page.relative_to(ROOT)}, line {block.line}"
                exec(compile("\n" * (block.line - 1) + block.text, where, "exec"), names)
            elif block.language == "sh":
                for line in block.text.splitlines():
                    run_command(line)
    finally:
        for name in set(sys.modules) - known:  # modules of this page
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


def run_command(line: str) -> None:
    """One line of a shell block: efm-fast in this process, which has torch already; all else in a shell."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    if words[0] != "efm-fast":
        subprocess.run(["bash", "-ec", line], check=True, timeout=120)
        return
    from efm_fast.cli import app

    status = app(words[1:], prog_name="efm-fast", standalone_mode=False)
    assert not status, f"{line}: exit status {status}"
