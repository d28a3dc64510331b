"""Sources of latents: an autoencoder encodes a finite set of images once, into a memory-mapped file."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from .. import checks
from ..errors import InputError
from ..extras import extra
from ..files import write_atomically
from .autoencoder import Autoencoder
from .glyphs import cache_folder
from .source import SPLITS, FiniteSource, Source
from .spec import Digest

_PART = 256  # images that are in memory as float32 at once


class LatentSource(Source):
    """The latents of a finite set of images.

    All images are encoded when the first latent is read. Latents are cached in one file per split, named by the
    fingerprints of the images and of the autoencoder. The files are memory-mapped, not read.

    Args:
        images: the source of the images.
        autoencoder: the autoencoder that encodes them.

    Attributes:
        images: the source of the images.

    Raises:
        InputError: the images have a shape that the autoencoder does not take, or are drawn anew each time.
    """

    def __init__(self, images: Source, autoencoder: Autoencoder) -> None:
        self.name, self.images, self._autoencoder = f"{images.name} latents", images, autoencoder
        self.shape = autoencoder.latent_shape(images.shape)
        if images.draws_anew:
            raise InputError(
                f"net.latent: expected images that can be encoded once, got the source {images.name}, which draws fresh"
                " colours or windows each time"
            )

    def draw(self, n: int, generator: Generator, split: str = "train") -> Tensor:
        """Draw the latents of ``n`` images with replacement, [n, D] float32 (see :meth:`Source.draw`)."""
        return self._rows.draw(n, generator, split)

    def size(self, split: str = "train") -> int | None:
        """Number of images of ``split``."""
        return self.images.size(split)

    def all(self, split: str = "train") -> Tensor:
        """The latents of every image of ``split``, [M, D] float32. Raises InputError if nothing was held out."""
        return self._rows.all(split)

    def labels(self, split: str = "train") -> Tensor | None:
        """Class of every image of ``split``, int64 [M]; None where classes are not known."""
        return self.images.labels(split)

    @functools.cached_property
    def _rows(self) -> FiniteSource:
        return FiniteSource(self.name, {split: self._cached(split) for split in SPLITS})

    def _cached(self, split: str) -> Tensor:
        """The latents of ``split``, mapped from the cache."""
        count = self.images.size(split) or 0
        if count == 0:
            return torch.zeros(0, *self.shape)
        known = self._fingerprint(split)
        path = cache_folder() / f"latents-{known}-{self._autoencoder.fingerprint}.npy"
        found = _mapped(path, (count, *self.shape))
        if found is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda temporary: self._encode(split, count, known, temporary))
            found = _mapped(path, (count, *self.shape))
        if found is None:
            raise InputError(f"{self.name}: cannot read {str(path)!r}, which was just written")
        return found

    def _fingerprint(self, split: str) -> str:
        digest = Digest()
        for part in self.images.parts(_PART, split):
            digest.add(part)
        return digest.text()

    def _encode(self, split: str, count: int, known: str, path: Path) -> None:
        with extra("train"):
            from tqdm.auto import tqdm
        latents = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, *self.shape))
        start, digest = 0, Digest()
        title = f"encoding {self.images.name}, {split}"
        with tqdm(total=count, desc=title, unit=" images", disable=not self._autoencoder.progress) as bar:
            for part in self.images.parts(_PART, split):
                digest.add(part)
                rows = self._autoencoder.encode(part.unflatten(1, self.images.shape))
                latents[start : start + len(rows)] = checks.finite("latents", rows).numpy()
                start += len(rows)
                bar.update(len(rows))
        latents.flush()
        if digest.text() != known:
            raise InputError(
                f"net.latent: expected images that can be encoded once, got the source {self.images.name}, whose rows"
                " differ each time they are read"
            )


def encoded(source: Source, autoencoder: Autoencoder) -> Source:
    """The source of one plate as a source of latents.

    A finite source holds images, which are encoded. An endless source is noise, which already has the shape of latents.

    Raises:
        InputError: the images cannot be encoded.
    """
    return source if source.size() is None else LatentSource(source, autoencoder)


def check_latents(plus: Source, minus: Source) -> None:
    """Check that at least one plate has images, and that noise has the shape of their latents.

    Raises:
        InputError: they do not.
    """
    shapes = [source.shape for source in (plus, minus) if isinstance(source, LatentSource)]
    if not shapes:
        raise InputError(
            "net.latent: expected a finite set of images on plus or minus, got sources that never repeat themselves"
        )
    for plate, source in (("plus", plus), ("minus", minus)):
        if source.shape != shapes[0] and not isinstance(source, LatentSource):
            raise InputError(
                f"{plate}: expected noise of the shape of the latents, {shapes[0]}, got {source.name} of shape"
                f" {source.shape}"
            )


def images_of(source: Source) -> Source:
    """The images of a source of latents; any other source is returned as it is."""
    return source.images if isinstance(source, LatentSource) else source


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The memory-mapped array of a file; None if the file is missing, damaged, or holds something else."""
    try:
        # copy on write, because torch warns about arrays that it must not write to
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(array) if array.shape == shape and array.dtype == np.float32 else None
