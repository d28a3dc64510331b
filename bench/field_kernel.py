"""Measure the field kernels on this machine: ``python bench/field_kernel.py --help``; the code is bench/field/."""

import sys
from pathlib import Path

# a script has its own folder on the path, and `bench` is a package of the folder above
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.field.kernel import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
