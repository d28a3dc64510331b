"""Every kernel against float64 in Triton's interpreter, in processes of their own.

Triton decides between interpreter and compiler when it is imported, and the compile tests need the compiler.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

pytest.importorskip("triton", reason="the kernels need triton")

FOLDER = Path(__file__).parent
CHECKS = sorted(path.name for path in FOLDER.glob("check_*.py"))
TIMEOUT = 900  # seconds; the slowest takes two to three minutes of a processor that others may share
pytestmark = pytest.mark.timeout(TIMEOUT + 20)


def interpreted(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.fixture(scope="module")
def interpreter() -> None:
    """Skip where the interpreter itself fails, which it may only do in one known pair of versions.

    Interpreters written before numpy 2.4 turn arrays of one element into loop bounds, which numpy then refused. A probe
    without any of our code says so; a check that fails for the same reason where the probe does not is our failure.
    """
    probe = interpreted(str(FOLDER / "interpreter_probe.py"))
    if probe.returncode != 0:
        assert numpy.lib.NumpyVersion(numpy.__version__) >= "2.4.0", probe.stderr
        pytest.skip(f"Triton's interpreter cannot run a loop with numpy {numpy.__version__}")


@pytest.mark.parametrize("name", CHECKS)
def test_in_the_interpreter(name: str, interpreter: None) -> None:
    result = interpreted("-m", "pytest", "-x", "-p", "no:cacheprovider", str(FOLDER / name))
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
