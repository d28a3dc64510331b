"""Finds font files on this machine, draws their characters as small grey pictures, and leaves out unsuitable fonts."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ..extras import extra

SUFFIXES = (".ttf", ".otf")
_TEX = ("/usr/share/texlive/texmf-dist/fonts", "/usr/share/texmf/fonts")  # fontconfig does not list these
_FILL = 0.875  # share of the picture's side that a font's largest character takes
_FINER = 4  # drawn this much larger, then averaged
_PROBE = 96  # pixels of the size at which a font is measured
_COMPARED = 16  # side in pixels at which fonts are compared, for every size of pictures
_SAME = 0.02  # root mean square difference of two fonts that look the same, of white = 1
_READABLE = 0.5  # share of its characters that a font must draw as other fonts do
_NOTHING = "\U0010fffe"  # no font has this character, so its picture is the font's sign for "missing"


@dataclass(frozen=True)
class FontSheet:
    """Characters of many fonts.

    Attributes:
        pixels: [fonts, characters, side, side] uint8, 0 black to 255 white.
        families: family of each font; fonts are sorted by it.
        fingerprint: fingerprint of the pixels and the families.
    """

    pixels: Tensor
    families: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of(cls, pixels: Tensor, families: Sequence[str]) -> FontSheet:
        """A sheet with its fingerprint."""
        digest = hashlib.blake2b("\n".join(families).encode(), digest_size=12)
        digest.update(pixels.contiguous().numpy().tobytes())
        return cls(pixels, tuple(families), digest.hexdigest())

    def save(self, path: Path) -> None:
        """Write the sheet as arrays, without pickle."""
        with path.open("wb") as file:
            np.savez_compressed(file, pixels=self.pixels.numpy(), families=np.array(self.families, dtype=str))

    @classmethod
    def load(cls, path: Path) -> FontSheet | None:
        """The sheet in ``path``; None if the file is damaged."""
        try:
            with np.load(path, allow_pickle=False) as found:
                return cls.of(torch.from_numpy(found["pixels"]), found["families"].tolist())
        except (OSError, ValueError, KeyError, EOFError, NotImplementedError, BadZipFile, zlib.error):
            return None


def fonts_of(root: str) -> list[Path]:
    """Font files below ``root``, or those of this system if it is "", sorted by name."""
    if root:
        found: Iterable[Path] = _below(Path(root))
    else:
        with extra("train"):
            from matplotlib.font_manager import findSystemFonts
        tex = (path for folder in _TEX for path in _below(Path(folder)))
        found = {*map(Path, findSystemFonts()), *tex}
    return sorted((p for p in found if p.suffix.lower() in SUFFIXES), key=lambda p: (p.name, str(p)))


def _below(folder: Path) -> list[Path]:
    return [Path(where, name) for where, _, names in os.walk(folder) for name in names]


def render(files: Iterable[Path], characters: str, size: int) -> FontSheet:
    """Draw ``characters`` of every font that has them all and does not look like another font.

    Args:
        files: TrueType and OpenType files.
        characters: to draw.
        size: side of the pictures, pixels.
    """
    drawn, families = [], []
    for path in files:
        found = _font(path, characters, size)
        if found is not None:
            drawn.append(found[0])
            families.append(found[1])
    if not drawn:
        return FontSheet.of(torch.zeros(0, len(characters), size, size, dtype=torch.uint8), ())
    order = sorted(range(len(families)), key=families.__getitem__)
    pixels = torch.stack([drawn[k] for k in order])
    small = _small(pixels)
    kept = (_first_of_its_look(small) & _readable(small)).nonzero()[:, 0].tolist()
    return FontSheet.of(pixels[kept], [families[order[k]] for k in kept])


def _small(pixels: Tensor) -> Tensor:
    """Pictures of the fonts at the size for comparison, [fonts, characters, P] float32 in [0, 1]."""
    side = pixels.shape[-1]
    x = pixels.float() / 255
    if side != _COMPARED:
        x = torch.nn.functional.interpolate(x, size=(_COMPARED, _COMPARED), mode="area")
    return x.flatten(2)


def _first_of_its_look(small: Tensor) -> Tensor:
    """False for a font that looks like an earlier one, bool [fonts]."""
    flat = small.flatten(1)
    squared = flat.square().sum(1)
    first = torch.ones(len(flat), dtype=torch.bool)
    for start in range(0, len(flat), 512):
        rows = slice(start, start + 512)
        apart = squared[rows, None] + squared[None] - 2 * flat[rows] @ flat.T
        near = apart < _SAME**2 * flat.shape[1]
        earlier = torch.arange(len(flat))[None] < torch.arange(len(flat))[rows, None]
        first[rows] = ~(near & earlier).any(1)
    return first


def _readable(small: Tensor) -> Tensor:
    """False for a font whose pictures do not show its characters, such as a font of ornaments; bool [fonts].

    A linear classifier of all fonts must read most of a font's characters correctly.
    """
    fonts, count, _ = small.shape
    rows = small.flatten(0, 1).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
    wanted = torch.eye(count, dtype=rows.dtype).repeat(fonts, 1)
    gram = rows.T @ rows + 1e-2 * fonts * torch.eye(rows.shape[1], dtype=rows.dtype)
    read = (rows @ torch.linalg.solve(gram, rows.T @ wanted)).argmax(1).reshape(fonts, count)
    return (read == torch.arange(count)).double().mean(1) >= _READABLE


def _font(path: Path, characters: str, size: int) -> tuple[Tensor, str] | None:
    """One font's characters [characters, size, size] uint8 and its family; None if a character is missing."""
    with extra("train"):
        from PIL import ImageFont
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            probe = ImageFont.truetype(str(path), _PROBE, layout_engine=ImageFont.Layout.BASIC)
            boxes = [probe.getbbox(character, anchor="ls") for character in characters]
            if any(right <= left or low <= high for left, high, right, low in boxes):
                return None
            missing = bytes(probe.getmask(_NOTHING))
            if any(bytes(probe.getmask(character)) == missing for character in characters):
                return None
            top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
            extent = max(bottom - top, max(box[2] - box[0] for box in boxes))
            pixels = round(_PROBE * _FINER * size * _FILL / extent)
            font = ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)
            middle = (top + bottom) / 2 * pixels / _PROBE
            drawn = torch.stack([_character(font, character, size, middle) for character in characters])
    except (OSError, ValueError, OverflowError):
        return None  # not a font that can be drawn
    if (drawn.flatten(1).amax(1) < 64).any():
        return None
    return drawn, _family(str(font.getname()[0] or path.stem))


def _character(font: Any, character: str, size: int, middle: float) -> Tensor:
    """One character [size, size] uint8, centred horizontally, on the font's own base line."""
    with extra("train"):
        from PIL import Image, ImageDraw
    side = size * _FINER
    left, _, right, _ = font.getbbox(character, anchor="ls")
    canvas = Image.new("L", (side, side))
    place = (round(side / 2 - (left + right) / 2), round(side / 2 - middle))
    ImageDraw.Draw(canvas).text(place, character, fill=255, font=font, anchor="ls")
    return torch.from_numpy(np.array(canvas.reduce(_FINER)))


def _family(name: str) -> str:
    """A family's name without sizes and weights and with unified spelling, the same for all its members."""
    words = re.sub(r"[^a-z ]", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()).split()
    return " ".join(words[:2]) or name.lower()
