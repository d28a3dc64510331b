"""A page in a headless Chromium, asked for by EFM_FAST_BROWSER=1 (`make page-test`)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent
# a container has no sandbox for root and no GPU; the rest keeps Chromium from asking the network for anything
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = (
    "the browser tests need {}: `apt-get install chromium` on Debian and Ubuntu, `pip install playwright`"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the browser alone unless it was asked for; a browser that was asked for has to be there."""
    mine = [item for item in items if HERE in item.path.parents]
    if os.environ.get("EFM_FAST_BROWSER") != "1":
        for item in mine:
            item.add_marker(pytest.mark.skip(reason="asked for by EFM_FAST_BROWSER=1 (make page-test)"))
    elif mine:
        try:
            import playwright.sync_api  # noqa: F401
        except ImportError:
            pytest.exit(MISSING.format("playwright"), 1)
        if chromium() is None:
            pytest.exit(MISSING.format("Chromium"), 1)


def chromium() -> str | None:
    """Path of the browser."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium(), headless=True, args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def served(runs: Path) -> Iterator[tuple[str, int]]:
    """Address of `efm-fast show`, and its process."""
    command = [sys.executable, "-m", "efm_fast", "show", "--no-browser", "--runs", str(runs)]
    # one thread for the engine, one for the browser; workers that wait for each other would blur the processor time
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0], process.pid
        process.terminate()


Opener = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: Browser, served: tuple[str, int]) -> Iterator[Opener]:
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
        page.goto(address or served[0])
        return page

    def foreign(url: str) -> bool:
        return not re.match(r"(http://127\.0\.0\.1:\d+/|data:|file:|blob:)", url)

    yield opened
    for context in browser.contexts:
        context.close()
    # a refused file is answered with 400, which the browser itself puts on the console
    assert [error for error in errors if "status of 400" not in error] == []
