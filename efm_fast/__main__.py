"""The console script ``efm-fast`` and ``python -m efm_fast``."""

from __future__ import annotations

import os
import sys

from .errors import MissingPackageError

_SPINS = "5000"
"""How often torch's OpenMP threads look whether the others are done before they sleep. By default they look so
long that on a busy machine they take the time of those they wait for. Fewer looks slow training on idle cores."""


def main() -> None:
    """Run the command line; without its extra, say in one line what is missing and exit with 1."""
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)  # read when torch is loaded
    try:
        from .cli import main as command_line
    except MissingPackageError as problem:
        sys.exit(f"efm-fast: {problem}")
    command_line()


if __name__ == "__main__":
    main()
