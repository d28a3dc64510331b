"""A page in a headless Chromium, asked for by EFM_FAST_BROWSER=1 (`make page-test`)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.common.browser import missing, opened_browser, served_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the browser alone unless it was asked for; a browser that was asked for has to be there."""
    mine = [item for item in items if HERE in item.path.parents]
    if os.environ.get("EFM_FAST_BROWSER") != "1":
        for item in mine:
            item.add_marker(pytest.mark.skip(reason="asked for by EFM_FAST_BROWSER=1 (make page-test)"))
    elif mine and (lack := missing()) is not None:
        pytest.exit(lack, 1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def served(runs: Path) -> Iterator[str]:
    """Address of `efm-fast show`."""
    with served_page(runs) as (address, _):
        yield address


Opener = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: Browser, served: str) -> Iterator[Opener]:
    """Opens the page, or another address, and fails at the end if its console has an error."""
    errors: list[str] = []

    def opened(address: str | None = None, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1366, "height": 768}, **options})
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("request", lambda request: errors.append(request.url) if foreign(request.url) else None)
        page.goto(address or served)
        return page

    def foreign(url: str) -> bool:
        return not re.match(r"(http://127\.0\.0\.1:\d+/|data:|file:|blob:)", url)

    yield opened
    for context in browser.contexts:
        context.close()
    # a refused file is answered with 400, which the browser itself puts on the console
    assert [error for error in errors if "status of 400" not in error] == []
