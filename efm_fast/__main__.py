"""The console script ``efm-fast`` and ``python -m efm_fast``."""

from __future__ import annotations

import sys

from .errors import MissingPackageError


def main() -> None:
    """Run the command line; without its extra, say in one line what is missing and exit with 1."""
    try:
        from .cli import main as command_line
    except MissingPackageError as problem:
        sys.exit(f"efm-fast: {problem}")
    command_line()


if __name__ == "__main__":
    main()
