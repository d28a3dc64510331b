"""The data of a run: their record in the run folder, and the sources made from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..config import Config
from ..data import Source, make_source, resolve_source
from ..data.autoencoder import Autoencoder
from ..data.latent import check_latents, encoded
from ..data.registry import source_module
from ..data.source import AbsentSource
from ..data.spec import described, given_again, in_memory, kept_back
from ..data.tools import existing
from ..errors import EfmError, InputError, RunError
from ..nets import ImageSection
from ..types import Geometry

_PLATES = ("plus", "minus")


def pinned(config: Config) -> Config:
    """``config`` with all defaults of its sources, absolute paths, and the fingerprint of an autoencoder.

    It then means the same in any working folder and with later versions.

    Raises:
        InputError: a source or one of its settings is unknown (the text names the plate), or there is no autoencoder.
    """
    specs = {}
    for plate in _PLATES:
        with _naming(plate):
            specs[plate] = resolve_source(getattr(config, plate))
    net = config.net
    if isinstance(net, ImageSection) and net.latent is not None:
        place = existing("net.latent", net.latent, folder=True)
        found = Autoencoder(place, net.latent_fingerprint).fingerprint
        net = net.model_copy(update={"latent": str(place), "latent_fingerprint": found})
    modules = {source_module(spec["name"]) for spec in specs.values()}
    return config.model_copy(update={**specs, "net": net, "imports": tuple(sorted(filter(None, modules)))})


def autoencoder_of(
    config: Config, device: str | None = None, *, progress: bool = False
) -> Autoencoder | None:
    """The autoencoder of ``config`` if its field is one of latents, otherwise None.

    Args:
        config: settings of a run.
        device: device on which it computes; None for the device of ``config``.
        progress: show a progress bar while a data set is encoded.

    Raises:
        InputError: it is missing, or is not the one of the training.
    """
    net = config.net
    if not isinstance(net, ImageSection) or net.latent is None:
        return None
    where = device or config.device
    if where == "auto":
        where = "cuda" if torch.cuda.is_available() else "cpu"
    return Autoencoder(net.latent, net.latent_fingerprint, where, progress=progress)


def make_sources(config: Config, autoencoder: Autoencoder | None = None) -> tuple[Source, Source]:
    """Both plates' sources.

    Args:
        config: settings of a run.
        autoencoder: that of the run, from :func:`autoencoder_of`.

    Raises:
        InputError: a setting of a source or its data are wrong; the text names the plate.
    """
    plus, minus = (_made(config, plate, autoencoder) for plate in _PLATES)
    if autoencoder is not None:
        check_latents(plus, minus)
    return plus, minus


def with_data(folder: Path, config: Config, plus: object, minus: object) -> Config:
    """The ``config`` of the run in ``folder`` with the given data in memory in place of their records.

    Raises:
        InputError: the data are not those of the training.
    """
    given = {plate: data for plate, data in zip(_PLATES, (plus, minus), strict=True) if data is not None}
    try:
        specs = {plate: given_again(plate, getattr(config, plate), data) for plate, data in given.items()}
    except InputError as problem:
        raise InputError(f"{folder}: {problem}") from None
    return config.model_copy(update=specs)


def sources_again(
    folder: Path, config: Config, call: str, autoencoder: Autoencoder | None = None
) -> tuple[Source, Source]:
    """The sources of the run in ``folder``.

    Args:
        folder: the run folder, for the error's text.
        config: its settings, from :func:`with_data`.
        call: the function that takes data in memory again, for the error's text.
        autoencoder: that of the run, from :func:`autoencoder_of`.

    Raises:
        RunError: data in memory were not given again, or the module that registers a source was not imported.
        InputError: data are not where they were.
    """
    plus, minus = (_again(folder, config, plate, call, autoencoder) for plate in _PLATES)
    return plus, minus


def sources_if_there(
    folder: Path, config: Config, geometry: Geometry, call: str, autoencoder: Autoencoder | None = None
) -> tuple[Source, Source]:
    """The sources of the run in ``folder``. A missing source is replaced by an AbsentSource, which says why."""

    def source(plate: str) -> Source:
        try:
            return _again(folder, config, plate, call, autoencoder)
        except EfmError as problem:
            return AbsentSource(geometry.shape, str(problem))

    plus, minus = map(source, _PLATES)
    return plus, minus


def _again(folder: Path, config: Config, plate: str, call: str, autoencoder: Autoencoder | None) -> Source:
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
        return _made(config, plate, autoencoder)
    except InputError as problem:
        if not config.imports:
            raise
        modules = ", ".join(config.imports)
        raise RunError(
            f"{folder}: {problem} (its sources came from {modules}: import that first; on the command line --import)"
        ) from None


def _made(config: Config, plate: str, autoencoder: Autoencoder | None) -> Source:
    with _naming(plate):
        source = make_source(getattr(config, plate), seed=config.seed)
        return source if autoencoder is None else encoded(source, autoencoder)


@contextlib.contextmanager
def _naming(plate: str) -> Iterator[None]:
    """Let an InputError inside the block name the plate."""
    try:
        yield
    except InputError as problem:
        raise InputError(f"{plate}: {problem}") from None
