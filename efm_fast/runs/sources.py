"""A run's data: what the run folder keeps of them, and the same data taken again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import Config
from ..data import Source, make_source, resolve_source
from ..data.registry import source_module
from ..data.source import AbsentSource
from ..data.spec import described, given_again, in_memory, kept_back
from ..errors import EfmError, InputError, RunError
from ..types import Geometry

_PLATES = ("plus", "minus")


def pinned(config: Config) -> Config:
    """``config`` with the sources' defaults and absolute paths written out: it means the same anywhere, later.

    Raises:
        InputError: an unknown source or setting of one; the text names the plate.
    """
    specs = {}
    for plate in _PLATES:
        with _naming(plate):
            specs[plate] = resolve_source(getattr(config, plate))
    modules = {source_module(spec["name"]) for spec in specs.values()}
    return config.model_copy(update={**specs, "imports": tuple(sorted(filter(None, modules)))})


def make_sources(config: Config) -> tuple[Source, Source]:
    """Both plates' sources.

    Raises:
        InputError: a setting of a source, or its data, that does not fit; the text names the plate.
    """
    plus, minus = (_made(config, plate) for plate in _PLATES)
    return plus, minus


def with_data(folder: Path, config: Config, plus: object, minus: object) -> Config:
    """The ``config`` of the run in ``folder`` with data in memory, those that are given, in their places again.

    Raises:
        InputError: other data than those the run was trained on.
    """
    given = {plate: data for plate, data in zip(_PLATES, (plus, minus), strict=True) if data is not None}
    try:
        specs = {plate: given_again(plate, getattr(config, plate), data) for plate, data in given.items()}
    except InputError as problem:
        raise InputError(f"{folder}: {problem}") from None
    return config.model_copy(update=specs)


def sources_again(folder: Path, config: Config, call: str) -> tuple[Source, Source]:
    """The sources of the run in ``folder``.

    Args:
        folder: the run folder, for the error's text.
        config: its settings, from :func:`with_data`.
        call: the function that takes data in memory again, for the error's text.

    Raises:
        RunError: data in memory that were not given again, or a source that nothing imported registers.
        InputError: data that are not where they were.
    """
    plus, minus = (_again(folder, config, plate, call) for plate in _PLATES)
    return plus, minus


def sources_if_there(folder: Path, config: Config, geometry: Geometry, call: str) -> tuple[Source, Source]:
    """The sources of the run in ``folder``; one that says why in the place of each that is not there."""

    def source(plate: str) -> Source:
        try:
            return _again(folder, config, plate, call)
        except EfmError as problem:
            return AbsentSource(geometry.shape, str(problem))

    plus, minus = map(source, _PLATES)
    return plus, minus


def _again(folder: Path, config: Config, plate: str, call: str) -> Source:
    spec: dict[str, Any] = getattr(config, plate)
    for key in in_memory(spec):
        raise RunError(
            f"{folder}: its {plate} data were in memory, {described(spec[key])}, and are not in the run folder:"
            f" give them again in Python, {call}({str(folder)!r}, {plate}=...)"
        )
    if names := kept_back(spec):
        raise RunError(
            f"{folder}: its {plate} data, {', '.join(map(repr, names))}, are files of the machine that trained it and"
            " were not published; samples can start from x0 of your own"
        )
    try:
        return _made(config, plate)
    except InputError as problem:
        if not config.imports:
            raise
        modules = ", ".join(config.imports)
        raise RunError(
            f"{folder}: {problem} (its sources came from {modules}: import that first; on the command line --import)"
        ) from None


def _made(config: Config, plate: str) -> Source:
    with _naming(plate):
        return make_source(getattr(config, plate), seed=config.seed)


@contextlib.contextmanager
def _naming(plate: str) -> Iterator[None]:
    """Let an InputError inside the block name the plate."""
    try:
        yield
    except InputError as problem:
        raise InputError(f"{plate}: {problem}") from None
