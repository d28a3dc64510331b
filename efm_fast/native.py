"""The C++ extension, loaded on first use; where it is missing, the original cause is kept.

``import efm_fast`` does not load it. Without it everything still works, through plain torch.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

from .errors import BackendUnavailableError


@lru_cache(maxsize=1)
def _load() -> tuple[ModuleType | None, ImportError | None]:
    try:
        return importlib.import_module("efm_fast._C"), None
    except ImportError as cause:
        return None, cause


def why_missing() -> str | None:
    """A sentence that says why the extension cannot be used; None if it can."""
    _, cause = _load()
    if cause is None:
        return None
    return (
        f"the extension efm_fast._C cannot be imported ({cause}); a C++ compiler and `pip install .` build it; "
        "without it sums on the CPU run in plain torch, tens of times slower at few features, a few times at many"
    )


def extension() -> ModuleType:
    """The module ``efm_fast._C``.

    Raises:
        BackendUnavailableError: it cannot be imported; the import's own error is the cause.
    """
    module, cause = _load()
    if module is None:
        raise BackendUnavailableError(why_missing()) from cause
    return module
