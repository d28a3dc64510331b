"""Packages that only an extra such as ``efm_fast[train]`` installs, and what is said where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingPackageError

#: Names under which packages are installed, where they differ from the names under which they are imported.
_INSTALLED_AS = {
    "PIL": "pillow",
    "mpl_toolkits": "matplotlib",
    "ot": "POT",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import packages of the extra ``name`` inside this block, wherever the core must do without them.

    Raises:
        MissingPackageError: a package is not installed; the text names it and says how to install the extra.
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        module = (problem.name or str(problem)).partition(".")[0]
        package = _INSTALLED_AS.get(module, module)
        raise MissingPackageError(
            f"{package} is needed here and is not installed: pip install 'efm_fast[{name}]'", name=module
        ) from None
