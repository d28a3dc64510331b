"""Install the wheel of a folder into a clean environment and use it from outside the checkout.

Run by `make wheel`: python tests/try_wheel.py FOLDER. torch and the other heavy dependencies are borrowed from
the environment that runs this script; efm_fast itself comes from the wheel alone.
"""

from __future__ import annotations

import site
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

CHECK = """
import pathlib, sys, torch, efm_fast, efm_fast.kernels
home = pathlib.Path(efm_fast.__file__)
assert home.is_relative_to(sys.prefix), home
assert pathlib.Path(efm_fast.kernels.__file__).parent == home.parent / "kernels"
assert (home.parent / "py.typed").is_file()
assert len(efm_fast.Config.load("digits_3_to_2").name) > 0
field = efm_fast.capacitor_field(torch.zeros(1, 2), torch.ones(1), torch.zeros(1, 2), torch.zeros(1, 2), 2.0)
assert torch.allclose(field.direction, torch.tensor([[0.0, 0.0, 1.0]]))
from efm_fast import _C
print("the wheel works, with its extension")
"""


def main() -> None:
    """Fail loudly if the wheel is not what it should be."""
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("efm_fast/kernels/") for name in names), "kernels are missing"
    assert not any(name.startswith(("kernels/", "tests/", "bench/")) for name in names), "stray packages"
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        borrowed = Path(folder) / "lib" / version / "site-packages" / "borrowed.pth"
        # a plain path, not an import hook: the editable efm_fast of the outer environment stays unseen
        borrowed.write_text("\n".join(site.getsitepackages()) + "\n")
        subprocess.run([python, "-I", "-c", CHECK], check=True, cwd=folder)


if __name__ == "__main__":
    main()
