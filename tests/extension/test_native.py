"""The extension is loaded late, and where it is missing the reason is kept and everything still works."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sums import charges

from efm_fast import info, native
from efm_fast.errors import BackendUnavailableError
from efm_fast.field import riesz_sum
from efm_fast.field.backends import cpp
from efm_fast.field.kernel import Riesz
from efm_fast.field.request import SumRequest


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The extension cannot be imported."""
    info.describe()  # imports every adapter, before importing is made to fail

    def fail(name: str) -> None:
        raise ImportError("undefined symbol: something")

    monkeypatch.setattr(native.importlib, "import_module", fail)
    native._load.cache_clear()
    yield
    native._load.cache_clear()


@pytest.mark.usefixtures("absent")
def test_a_missing_extension_says_why() -> None:
    request = SumRequest(x=charges(3, 2), y=charges(4, 2), kernel=Riesz(3.0))
    assert "undefined symbol: something" in str(cpp.why_not(request))
    with pytest.raises(BackendUnavailableError, match="pip install") as caught:
        native.extension()
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.usefixtures("absent")
def test_info_says_what_is_missing_and_what_it_costs() -> None:
    rows = [row for row in info.describe()["backends"] if row["backend"] == "cpp" and row["device"] == "cpu"]
    assert rows
    for row in rows:
        assert not row["serves"]
        assert "undefined symbol: something" in row["reason"]
        assert "slower" in row["reason"]


@pytest.mark.parametrize("required", [False, True])
def test_a_build_without_a_compiler_goes_on_unless_told_otherwise(tmp_path: Path, required: bool) -> None:
    command = [sys.executable, "setup.py", "build_ext"]
    command += ["--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp")]
    environment = {**os.environ, "CC": "/bin/false", "CXX": "/bin/false", "EFM_FAST_CUDA": "0"}
    environment["EFM_FAST_REQUIRE_EXT"] = "1" if required else "0"
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode != 0) == required, run.stderr
    assert "/bin/false" in run.stdout + run.stderr
    assert not list(tmp_path.glob("lib/**/_C*"))


def test_auto_goes_on_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "why_missing", lambda: "not built")
    result = riesz_sum(charges(3, 2), charges(4, 2), power=3.0)
    assert torch.isfinite(result.v).all()
    with pytest.raises(BackendUnavailableError, match="not built"):
        riesz_sum(charges(3, 2), charges(4, 2), power=3.0, backend="cpp")


def test_other_devices_are_declined(needs_extension: None) -> None:
    x = torch.zeros(3, 2, device="meta")
    assert "meta" in str(cpp.why_not(SumRequest(x=x, y=x, kernel=Riesz(3.0))))


def test_importing_the_package_does_not_load_the_extension() -> None:
    code = "import sys, efm_fast; sys.exit('efm_fast._C' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("isa", ["base", "avx2", "avx512", "bf16"])
def test_every_instruction_set_agrees(needs_extension: None, isa: str) -> None:
    """Each lesser set in a fresh process, for the choice is made once."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from sums import charges, check, cpp_sum
from efm_fast import info, native
from efm_fast.field.backends import cpp
from efm_fast.field.kernel import Gaussian, Riesz
from efm_fast.field.request import SumRequest
print(native.extension().instruction_set())
import torch
for d in (1, 2, 3, 8, 11, 33):
    y = charges(300, d)
    x = torch.cat([y[:9], charges(40, d, seed=1)])
    h = torch.linspace(0, 1, 49)
    for power in (d + 1.0, 2.0, 3.3):
        check(cpp, SumRequest(x=x, y=y, kernel=Riesz(power), height=h), 1e-4)
        check(cpp, SumRequest(x=x, y=y, kernel=Riesz(power), height=h, precision="exact"), 1e-6)
    check(cpp, SumRequest(x=x, y=y, kernel=Gaussian(1.0), height=h), 1e-4)
for d in (65, 200, 1000):
    y = charges(700, d)
    x = torch.cat([y[:9], (y[9:40] + y[40:71]) / 2])
    options = {{"height": torch.linspace(0, d**0.5, 40), "weight": torch.rand(700) + 0.1, "first_self": 20}}
    for part in ({{}}, options):
        check(cpp, SumRequest(x=x, y=y, kernel=Riesz(d + 1.0), **part), 1e-4)
    check(cpp, SumRequest(x=x, y=(10 * y).to(torch.int8), kernel=Riesz(d + 1.0), height=options["height"]), 1e-4)
"""
    environment = {**os.environ, "EFM_FAST_ISA": isa}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr
    if isa == "base":
        assert run.stdout.strip() == "base"
