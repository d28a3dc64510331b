"""A headless Chromium of this machine, for the tests and the bench of the page of `efm-fast show`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_MISSING = (
    "the page's browser needs {}: `apt-get install chromium` on Debian and Ubuntu, `pip install playwright`"
)
# a container has no sandbox for root and no GPU; the rest keeps Chromium from asking the network for anything
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """Path of the browser, None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def missing() -> str | None:
    """What a browser lacks here, as a sentence; None where one can be opened."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return _MISSING.format("playwright")
    return None if chromium() else _MISSING.format("Chromium")


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """A headless browser, closed at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), headless=True, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served_page(runs: Path) -> Iterator[tuple[str, int]]:
    """Address of `efm-fast show` with the runs of a folder, and its process."""
    command = [sys.executable, "-m", "efm_fast", "show", "--no-browser", "--runs", str(runs)]
    # one thread for the engine, one for the browser; workers that wait for each other would blur the processor time
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[0], process.pid
        finally:
            process.terminate()
