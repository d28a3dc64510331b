"""Every kernel against float64 in Triton's interpreter, in processes of their own.

Triton decides between interpreter and compiler when it is imported, and the compile tests need the compiler.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the kernels need triton")

FOLDER = Path(__file__).parent
CHECKS = sorted(path.name for path in FOLDER.glob("check_*.py"))


@pytest.mark.parametrize("name", CHECKS)
def test_in_the_interpreter(name: str) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(FOLDER / name)]
    result = subprocess.run(
        command, env=environment, cwd=FOLDER.parents[1], capture_output=True, text=True, timeout=280
    )
    if "only 0-dimensional arrays can be converted" in result.stdout:
        pytest.skip("this Triton's interpreter is older than numpy 2.4 and fails at every loop with it")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
