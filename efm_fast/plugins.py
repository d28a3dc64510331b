"""Modules of one's own: data, networks and methods that are not part of this package.

A run folder names such modules and never imports them by itself: opening one from anywhere must not run code.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from .errors import InputError

Kind = TypeVar("Kind")


def own_class(name: str, base: type[Kind], *, may_import: bool) -> type[Kind]:
    """The class of one's own that ``name`` means.

    Args:
        name: the module and the class in it, such as "my_module:MyNet".
        base: what the class has to be derived from.
        may_import: whether the module may be imported now; where a run folder names it, it may not.

    Raises:
        InputError: there is no such class, it is of another kind, or its module is not imported and may not be.
    """
    module, _, qualified = name.partition(":")
    if module not in sys.modules:
        if not may_import:
            raise InputError(
                f"{name} is not part of efm_fast: import {module} first, or give --import {module}"
            )
        import_modules([module])
    found: object = sys.modules[module]
    for part in qualified.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not issubclass(found, base):
        got = "nothing of that name" if found is None else repr(found)
        raise InputError(f"{name}: expected a class derived from {base.__name__} in {module}, got {got}")
    return found


def import_modules(names: Iterable[str]) -> None:
    """Import modules, so that what they register or define can be named in a config.

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
