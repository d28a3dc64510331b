"""Rows in a process of their own: what is stopped leaves nothing half done."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.field import worker
from bench.field.measure import Case


def test_what_a_stopped_compiler_wrote_is_removed_and_nothing_else(tmp_path: Path) -> None:
    old, new = tmp_path / "old.so", tmp_path / "deeper" / "new.so"
    new.parent.mkdir()
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 60, time.time() - 60))
    worker.forget_since(tmp_path, time.time() - 30)
    assert old.exists()
    assert not new.exists()


def test_a_row_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker, "KEOPS_CACHE", tmp_path)
    one = worker.Worker("default")
    try:
        found = one.measure("ours: reference", Case(64, 4, 8), budget=0.0)
    finally:
        one.close()
    assert found.speed is None
    assert found.reason == "did not end in the 0 s that it was given; --full gives it more"
