"""Glyphs: the same fonts give the same data, families are held out whole, and what cannot be used is left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib
import pytest
import torch

from efm_fast.data import GlyphShapes, glyphs, make_source
from efm_fast.data.font_files import FontSheet, _first_of_its_look, _readable, fonts_of, render
from efm_fast.errors import InputError

FONTS = (
    Path(matplotlib.get_data_path()) / "fonts" / "ttf"
)  # DejaVu, STIX and Computer Modern come with matplotlib


@pytest.fixture(autouse=True)
def few_fonts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(glyphs, "_LEAST_FONTS", 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    glyphs._sheet.cache_clear()


def source(**settings: object) -> GlyphShapes:
    made = make_source({"name": "glyphs", "root": str(FONTS), **settings})
    assert isinstance(made, GlyphShapes)
    return made


def test_the_same_fonts_give_the_same_bytes_with_and_without_the_cache(tmp_path: Path) -> None:
    first = source()
    again = source()
    glyphs._sheet.cache_clear()
    cached = source()
    stored = next((tmp_path / "cache" / "efm_fast").glob("glyphs-*.npz"))
    stored.write_bytes(b"damaged")
    glyphs._sheet.cache_clear()
    fresh = source()
    for other in (again, cached, fresh):
        assert other.fingerprint == first.fingerprint
        assert torch.equal(other.shapes("train"), first.shapes("train"))
    assert first._every_shape["train"].dtype == torch.uint8


def test_families_are_held_out_whole_and_every_font_has_every_character() -> None:
    every = source(held_out=0.4)
    train, test = every.fonts("train"), every.fonts("test")
    assert not set(train.tolist()) & set(test.tolist())
    assert set(train.bincount().tolist()) <= {0, 10}
    sheet = render(fonts_of(str(FONTS)), "0123456789", 16)
    families = [{sheet.families[font] for font in part.tolist()} for part in (train, test)]
    assert all(families)
    assert not families[0] & families[1]
    three, two = source(label=3, held_out=0.4), source(label="2", held_out=0.4)
    assert torch.equal(three.fonts("test"), two.fonts("test"))
    assert torch.equal(three.shapes("test"), every.shapes("test")[every.labels("test") == 3])


def test_a_glyph_fills_its_picture_and_stays_on_its_base_line() -> None:
    shapes = render([FONTS / "DejaVuSans.ttf"], "1g", 32)
    assert shapes.pixels.shape[0] == 1
    one, tail = (shapes.pixels[0, k].amax(1).nonzero()[:, 0] for k in range(2))
    assert tail.max() > one.max() + 3  # the tail of g is below the line
    spans = [int(p.max() - p.min()) + 1 for p in (one, tail)]
    assert 24 <= max(int(tail.max()), int(one.max())) - min(int(tail.min()), int(one.min())) + 1 <= 30
    assert min(spans) > 12


def test_grey_pictures_of_any_size_are_bytes_in_one_channel() -> None:
    grey = make_source({"name": "glyphs", "root": str(FONTS), "size": 24, "coloured": False, "label": 7})
    assert grey.shape == (1, 24, 24)
    assert grey.all("train").min() == -1.0
    assert grey.all("train").max() > 0.9


def test_fonts_that_look_alike_or_hold_ornaments_are_left_out() -> None:
    sheet = render(fonts_of(str(FONTS)), "0123456789", 16)
    small = sheet.pixels.flatten(2).float() / 255
    twice = torch.cat([small, small[:2]])
    assert _first_of_its_look(twice).tolist() == [True] * len(small) + [False] * 2
    ornament = small[:1].flip(1)  # 9 in the place of 0
    assert _readable(torch.cat([small, ornament])).tolist() == [True] * len(small) + [False]
    with_copy = [*fonts_of(str(FONTS)), FONTS / "DejaVuSans.ttf"]
    assert render(with_copy, "0123456789", 16).fingerprint == sheet.fingerprint


def test_files_that_are_no_fonts_and_missing_characters_do_not_stop_it(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    shutil.copy(FONTS / "DejaVuSans.ttf", tmp_path / "a.ttf")
    assert len(render(fonts_of(str(tmp_path)), "01", 16).families) == 1
    assert len(render(fonts_of(str(tmp_path)), "0\U00020000", 16).families) == 0


def test_wrong_settings_are_refused_in_one_line(tmp_path: Path) -> None:
    for settings, text in (
        ({"characters": "3"}, "characters: expected a text of at least two different characters"),
        ({"characters": "33"}, "characters"),
        ({"label": "x"}, "label"),
        ({"size": 4}, "size"),
        ({"size": 500}, "size: expected 8 to 128, got 500"),
        ({"fingerprint": "other"}, "fingerprint: expected other, got"),
        ({"root": str(tmp_path / "nowhere")}, "root"),
        ({"root": str(tmp_path)}, "apt-get install"),
    ):
        with pytest.raises(InputError, match=text) as caught:
            source(**settings)
        assert "\n" not in str(caught.value)


def test_a_sheet_is_stored_without_pickle(tmp_path: Path) -> None:
    sheet = FontSheet.of(torch.arange(32, dtype=torch.uint8).reshape(1, 2, 4, 4), ["ä family"])
    sheet.save(tmp_path / "sheet.npz")
    read = FontSheet.load(tmp_path / "sheet.npz")
    assert read is not None
    assert read.fingerprint == sheet.fingerprint
    assert read.families == ("ä family",)
    assert torch.equal(read.pixels, sheet.pixels)
