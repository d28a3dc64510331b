"""Every Python and shell block of the site and of README.md runs; the few that cannot are marked and counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import MARK, ROOT, blocks, run_page

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
#: How many blocks of a page are not run.
MARKED = {
    "README.md": 2,
    "docs/index.md": 1,
    "docs/how-to/images.md": 5,
    "docs/how-to/share-a-model.md": 1,
    "docs/how-to/many-processes.md": 1,
    "docs/how-to/show.md": 1,
}
LANGUAGES = {"python", "sh", "cpp", "yaml", "text"}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_have_a_language_and_few_are_left_out(page: Path) -> None:
    found = blocks(page)
    assert page.read_text(encoding="utf-8").count("\n```") == 2 * len(found), "a fence is not closed"
    assert {block.language for block in found} <= LANGUAGES
    assert sum(block.marked for block in found) == MARKED.get(name(page), 0)
    for block in found:
        assert block.language in ("python", "sh") or MARK not in block.title


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.language in ("python", "sh") for b in blocks(page))], ids=name
)
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, tmp_path, monkeypatch)


def test_a_block_that_fails_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / "does-not-exist.md"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: "\n```python\nassert 1 + 1 == 3\n```\n")
    with pytest.raises(AssertionError):
        run_page(page, tmp_path, monkeypatch)


def test_what_the_start_page_shows_was_measured_on_a_commit() -> None:
    assert "with local changes" not in (ROOT / "README.md").read_text(encoding="utf-8")
