"""Tests marked ``gpu`` run where torch sees a CUDA device and are skipped elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import torch


def pytest_configure() -> None:
    """Take signals as a terminal would: nohup, or a shell's ``&``, starts programs that ignore some of them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def default_device() -> Iterator[None]:
    """Forgets a default device that was taken back: torch 2.9 then fails to name one, also for other packages."""
    yield
    held = getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None)
    if getattr(held, "device_context", held) is None:
        del held.device_context


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Restores torch's number of threads: matrix products of the next test would have other bits."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
