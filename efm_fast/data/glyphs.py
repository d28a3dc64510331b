"""Characters drawn from the fonts of this machine: real images without a download, with known pairs.

The 3 and the 2 of one font form a pair. No method is told the pairs, so they measure how much of its style a
translation keeps. Fonts are split by family, and training never sees the families of the test split.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..extras import extra
from ..files import write_atomically
from .colour import ColouredShapes
from .font_files import FontSheet, fonts_of, render
from .registry import register_source
from .source import SPLITS, FiniteSource, Source, split_rows
from .tools import existing

SIZES = range(8, 129)
_LEAST_FONTS = 20  # with fewer, results on unseen families mean nothing
_DRAWN_BY = 1  # version of the drawing, raised when the same fonts give other pixels
HOW_TO_INSTALL = (
    "make fonts, which is: apt-get install --no-install-recommends texlive-fonts-extra fonts-aenigma ..."
)


class GlyphShapes(ColouredShapes):
    """Coloured characters of many fonts, each shape with the number of its font.

    Args:
        name: of the source.
        shapes: bytes per split, [M, H, W].
        labels: place of each shape's character in the character set, int64 [M].
        fonts: number of each shape's font, int64 [M]; no font is in both splits.
        label: keep this character's shapes alone; None keeps all.
        fingerprint: fingerprint of all shapes.
    """

    def __init__(
        self,
        name: str,
        shapes: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        fonts: Mapping[str, Tensor],
        label: int | None = None,
        fingerprint: str = "",
    ) -> None:
        super().__init__(name, shapes, labels, label)
        self.fingerprint = fingerprint
        self._every_font = dict(fonts)
        self._fonts = {s: fonts[s] if label is None else fonts[s][labels[s] == label] for s in SPLITS}

    def every_class(self) -> GlyphShapes:
        """The same fonts with all their characters and the same splits."""
        return GlyphShapes(
            self.name,
            self._every_shape,
            self._every_label,
            self._every_font,
            fingerprint=self.fingerprint,
        )

    def fonts(self, split: str = "train") -> Tensor:
        """Number of the font of every shape of ``split``, int64 [M]."""
        return self._fonts[checks.choice("split", split, SPLITS)]


@register_source("glyphs")
def glyphs(
    characters: str = "0123456789",
    label: str | int | None = None,
    size: int = 16,
    coloured: bool = True,
    root: str = "",
    fingerprint: str = "",
    held_out: float = 0.2,
    seed: int = 0,
) -> Source:
    """Characters of all fonts found on this machine, white on black or painted in a fresh random hue per draw.

    Fonts are left out if they lack a character, look like another font, or hold ornaments in place of characters.
    Characters of one font share its scale and its base line. The same fonts give the same bytes.

    Args:
        characters: at least two characters; all are read from every font, for every ``label``.
        label: the character to keep, one of ``characters``; None keeps all.
        size: side in pixels, 8 to 128.
        coloured: paint each draw in a fresh, fully saturated hue; otherwise grey.
        root: folder with TrueType and OpenType fonts, searched with its subfolders; "" for the folders of this system.
        fingerprint: the fingerprint that the data must have; "" for any. The source has it as ``fingerprint``.
        held_out: share of the families held out as the test split, in [0, 1).
        seed: fixes which families are held out, the same ones for every ``label`` and ``size``.

    Returns:
        The source: :class:`GlyphShapes` of shape (3, size, size), or grey pictures of shape (1, size, size).

    Raises:
        InputError: there are too few fonts (the text says how to install some), a character is unknown, or the data
            have another fingerprint.
    """
    characters = _distinct(characters)
    size = checks.whole("glyphs size", size, least=SIZES.start)
    if size not in SIZES:
        raise InputError(f"glyphs size: expected {SIZES.start} to {SIZES.stop - 1}, got {size}")
    keep = None if label is None else characters.find(checks.choice("glyphs label", str(label), characters))
    sheet = _sheet(str(existing("glyphs root", root, folder=True)) if root else "", characters, size)
    if fingerprint and fingerprint != sheet.fingerprint:
        raise InputError(
            f"glyphs fingerprint: expected {fingerprint}, got {sheet.fingerprint}: this machine has other fonts"
        )
    families = sorted(set(sheet.families))
    number = torch.tensor([families.index(family) for family in sheet.families])
    dealt = {
        split: torch.isin(number, rows).nonzero()[:, 0]
        for split, rows in split_rows(len(families), held_out, seed).items()
    }
    count = len(characters)
    shapes = {split: sheet.pixels[rows].flatten(0, 1) for split, rows in dealt.items()}
    labels = {split: torch.arange(count).repeat(len(rows)) for split, rows in dealt.items()}
    if coloured:
        fonts = {split: rows.repeat_interleave(count) for split, rows in dealt.items()}
        return GlyphShapes("glyphs", shapes, labels, fonts, keep, sheet.fingerprint)
    kept = {s: labels[s] >= 0 if keep is None else labels[s] == keep for s in SPLITS}
    return FiniteSource(
        "glyphs", {s: shapes[s][kept[s]][:, None] for s in SPLITS}, {s: labels[s][kept[s]] for s in SPLITS}
    )


def _distinct(characters: object) -> str:
    text = str(characters) if isinstance(characters, int) and not isinstance(characters, bool) else characters
    if not isinstance(text, str) or len(text) < 2 or len(set(text)) < len(text):
        raise InputError(
            f"glyphs characters: expected a text of at least two different characters, got {checks.describe(text)}"
        )
    return text


@functools.lru_cache(maxsize=4)
def _sheet(root: str, characters: str, size: int) -> FontSheet:
    """All characters of all fonts, read from the cache if the same font files were drawn before."""
    files = fonts_of(root)
    cached = cache_folder() / f"glyphs-{_key(files, characters, size)}.npz"
    if cached.is_file() and (sheet := FontSheet.load(cached)) is not None:
        return sheet
    sheet = render(files, characters, size)
    if len(sheet.families) < _LEAST_FONTS:
        where = repr(root) if root else "the font folders of this system"
        raise InputError(
            f"glyphs: expected at least {_LEAST_FONTS} fonts with the characters {characters!r} in {where}, found"
            f" {len(sheet.families)}; to install some: {HOW_TO_INSTALL}"
        )
    cached.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(cached, sheet.save)
    return sheet


def cache_folder() -> Path:
    """The folder of the cache: efm_fast in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "efm_fast"


def _key(files: Iterable[Path], characters: str, size: int) -> str:
    with extra("train"):
        import PIL
    digest = hashlib.blake2b(f"{_DRAWN_BY} {PIL.__version__} {size} {characters}".encode(), digest_size=12)
    for path in files:
        found = path.stat()
        digest.update(f"{path} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()
