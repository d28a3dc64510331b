"""A run survives a fault at any of its writes; here at a sample of them, at every one with ``make faults``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from faults import Call, unflushed


@pytest.mark.skipif(sys.platform != "linux", reason="faults.c is preloaded as Linux does it")
def test_no_fault_loses_work_or_goes_unnoticed() -> None:
    script = Path(__file__).with_name("faults.py")
    done = subprocess.run([sys.executable, script, "--every", "25"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": 0 lost, 0 wrong" in done.stdout


def test_a_rename_that_a_power_failure_could_undo_is_found() -> None:
    good = [
        Call("create", "/run/.a.part", ""),
        Call("write", "/run/.a.part", ""),
        Call("fsync", "/run/.a.part", ""),
        Call("rename", "/run/.a.part", "/run/a"),
        Call("fsync", "/run", ""),
    ]
    assert not unflushed(good)
    assert unflushed(good[:2] + good[3:]) == ["a is published before .a.part is flushed"]
    assert unflushed(good[:4]) == ["the rename to a is not flushed"]
