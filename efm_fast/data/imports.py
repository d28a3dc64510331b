"""Modules of one's own that register sources."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError


def import_sources(names: Sequence[str]) -> None:
    """Import modules, so that the sources they register can be asked for by name.

    Args:
        names: of the modules, such as "my_data" for my_data.py in the working folder.

    Raises:
        InputError: no module of that name, or one that cannot be imported; the text says why.
    """
    here = str(Path.cwd())
    if names and here not in sys.path:
        sys.path.insert(0, here)
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as problem:
            raise InputError(f"import: {problem}; looked in {here} and in Python's own folders") from None
        except Exception as problem:
            raise InputError(f"import: {name} failed with {type(problem).__name__}: {problem}") from problem
