"""The registry of sources: a config names them under ``plus`` and ``minus``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .. import checks
from ..errors import InputError
from .source import Source
from .spec import as_spec, described, in_memory

Factory = TypeVar("Factory", bound=Callable[..., Source])

_FACTORIES: dict[str, Callable[..., Source]] = {}
PATHS = ("path", "root")  # settings that name a file or folder


def register_source(name: str) -> Callable[[Factory], Factory]:
    """Register a class or function that builds a :class:`Source` under ``name``.

    Its keyword arguments become the keys that a config may set. An argument called ``seed`` receives the seed of
    :func:`make_source`, unless the config sets it. Arguments called ``path`` and ``root`` name files, which a run
    records with absolute paths.

        @register_source("ring")
        class Ring(Source): ...

    Raises:
        InputError: another factory already has that name.
    """

    def register(factory: Factory) -> Factory:
        known = _FACTORIES.get(name)
        # a notebook cell that runs twice defines the same factory again, which is allowed
        if known is not None and _origin(known) != _origin(factory):
            raise InputError(f"source name: {name!r} is taken by {'.'.join(_origin(known))}")
        _FACTORIES[name] = factory
        return factory

    return register


def source_module(name: str) -> str | None:
    """The module that registered the source ``name``; None for the ones of this package."""
    module = _FACTORIES[name].__module__
    return None if module.startswith("efm_fast.") else module


def _origin(factory: Callable[..., Source]) -> tuple[str, str]:
    return factory.__module__, factory.__qualname__


def source_names() -> list[str]:
    """Names of all registered sources, sorted."""
    return sorted(_FACTORIES)


def resolve_source(spec: object) -> dict[str, Any]:
    """Check a source's config and fill in its defaults, without touching any data.

    Args:
        spec: what :func:`make_source` takes.

    Returns:
        A new mapping: ``name`` first, then every setting of that source except an unset ``seed``. Files and folders
        are absolute paths, so that they are found from any working folder.

    Raises:
        InputError: an unknown name or key (with the nearest ones), or a missing setting.
    """
    settings = as_spec("source", spec)
    if not isinstance(settings.get("name"), str):
        raise InputError(f"source: expected a name or a mapping with a name, got {checks.describe(spec)}")
    name = checks.choice("source name", settings.pop("name"), source_names())
    known = inspect.signature(_FACTORIES[name]).parameters
    for key in settings:
        checks.choice(f"setting of source {name}", key, known)
    missing = [k for k, p in known.items() if p.default is p.empty and k not in settings and k != "seed"]
    if missing:
        raise InputError(f"source {name}: expected the setting {', '.join(missing)}, got none")
    defaults = {k: p.default for k, p in known.items() if k != "seed" and p.default is not p.empty}
    resolved = {"name": name, **defaults, **settings}
    return {key: _absolute(value) if key in PATHS else value for key, value in resolved.items()}


def make_source(spec: object, *, seed: int = 0) -> Source:
    """Build the source that a config describes.

    Args:
        spec: a name, a mapping such as ``{"name": "digits", "label": 3, "size": 8}``, data in memory (a tensor
            or array, a torch Dataset), or a ready :class:`Source`, which is returned as it is.
        seed: fixes which rows finite sources hold out for testing.

    Returns:
        The source.

    Raises:
        InputError: a name or key is unknown (the text gives the nearest ones), a value is wrong, data cannot be read,
            or the config only holds the record of data that were in memory.
    """
    settings = resolve_source(spec)
    for key in in_memory(settings):
        raise InputError(
            f"source {settings['name']}: {key} was in memory ({described(settings[key])}) and is not here"
        )
    factory = _FACTORIES[settings.pop("name")]
    if "seed" in inspect.signature(factory).parameters:
        settings.setdefault("seed", seed)
    return factory(**settings)


def _absolute(path: object) -> object:
    return str(Path(path).expanduser().absolute()) if isinstance(path, str) and path else path
