"""The C++ core under AddressSanitizer and UBSan with fuzzed shapes, as `make sanitize` runs it; minutes, so only on
request."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "csrc" / "tests"


@pytest.mark.skipif(os.environ.get("EFM_FAST_SANITIZE") != "1", reason="asked for by EFM_FAST_SANITIZE=1")
@pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("c++") is None, reason="needs make and a compiler"
)
@pytest.mark.timeout(900)
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    command = ["make", "-C", str(FOLDER), f"BUILD={tmp_path}", "SECONDS=20"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert "nothing found" in run.stdout
