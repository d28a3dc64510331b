"""The CUDA kernels of lines run on the host, with fibers for threads: any launches give the same bits."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from efm_fast import native

CSRC = Path(__file__).parents[2] / "csrc"


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.skipif(not CSRC.is_dir(), reason="csrc is not here")
@pytest.mark.timeout(300)
def test_lines_have_the_same_bits_in_launches_of_any_length_and_by_segments(tmp_path: Path) -> None:
    program = tmp_path / "line_kernels"
    source = CSRC / "tests" / "line_kernels.cpp"
    command = ["g++", "-std=c++17", "-O1", "-ffp-contract=off", f"-I{CSRC}", str(source), "-o", str(program)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-4000:]
    run = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "0 wrong" in run.stdout


built = pytest.mark.skipif(native.why_missing() is not None, reason="the extension is not built")


def plates(charges: int, d: int = 2):
    record = native.extension().LinePlates()
    record.n_plus = record.n_minus = record.n_places = charges
    record.features = d
    return record


@built
@pytest.mark.parametrize("d", [2, 8, 16])
@pytest.mark.parametrize("charges", [100, 8193, 10**5, 10**7, 10**9])
@pytest.mark.parametrize("lines", [1, 100, 10**4, 10**7])
@pytest.mark.parametrize("multiprocessors", [16, 132])
def test_launches_of_a_plan_are_bounded(lines, charges, d, multiprocessors):
    extension = native.extension()
    plan = extension.line_plan(lines, plates(charges, d), multiprocessors)
    whole, split = extension.line_seconds(plan.lines, plates(charges, d), multiprocessors)
    assert 1 <= plan.lines <= lines
    assert plan.turns >= 1
    assert extension.line_store_bytes(plan, plates(charges, d)) < 300 << 20
    longest = split if plan.split else whole * plan.turns
    assert longest < 0.3 * (1 if charges < 10**9 else 20)


@built
def test_few_lines_among_many_charges_are_split():
    def split(lines, charges):
        return native.extension().line_plan(lines, plates(charges), 132).split

    assert not split(1, 2048)
    assert not split(1, 8192)
    assert split(1, 10**5)
    assert split(100, 10**7)
    assert not split(10**4, 10**6)
    assert split(10**4, 10**9)
