"""Modules of one's own that register sources, imported by name from the command line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError


def import_sources(names: Iterable[str]) -> None:
    """Import modules, so that the sources they register can be named in a config.

    A run folder records the names of such modules but never imports them by itself: opening one from anywhere must
    not run code.

    Args:
        names: modules as ``import`` takes them, looked for in the working folder first, or paths of .py files.

    Raises:
        InputError: there is no such module or file, another module has the file's name, or importing it failed.
    """
    for name in names:
        path = Path(name).expanduser().absolute() if name.endswith(".py") else None
        if path is not None and not path.is_file():
            raise InputError(
                f"import: expected a file at {str(path)!r} (relative paths start at the working folder), got none"
            )
        _import(name if path is None else path.stem, Path.cwd() if path is None else path.parent)
        if path is not None and (taken := getattr(sys.modules[path.stem], "__file__", None)) != str(path):
            raise InputError(
                f"import: {str(path)!r} has the name of another module, {taken}; rename the file"
            )


def _import(module: str, folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # and stays there, for loader processes that start anew
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name is None or not f"{module}.".startswith(f"{problem.name}."):
            raise InputError(f"import: {module} needs {problem.name}, which is not installed") from problem
        raise InputError(
            f"import: expected a module, looked for {module} in {str(folder)!r} and among what is installed, found none"
        ) from None
    except Exception as problem:  # whatever the user's module does
        reason = " ".join(str(problem).split())
        raise InputError(f"import: {module} failed with {type(problem).__name__}: {reason}") from problem
