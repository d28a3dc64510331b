"""Style is what the same font's other character says; readers and Frechet distances against plain references."""

from __future__ import annotations

import pytest
import scipy.linalg
import torch

from efm_fast.data import GlyphShapes, paint
from efm_fast.errors import InputError
from efm_fast.metrics import Outcome, ShapeReader, frechet_distance, measure, style_report, true_glyphs

FONTS = 24


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def every() -> GlyphShapes:
    """Bars of three directions with a thickness of each font's own."""
    shapes = torch.zeros(FONTS, 3, 12, 12)
    for font in range(FONTS):
        strength = 0.4 + 0.6 * font / FONTS
        shapes[font, 0, :, 4 : 7 + font % 3] = strength
        shapes[font, 1, 4 : 7 + font % 3, :] = strength
        shapes[font, 2] = torch.eye(12) * strength
    rows = {"train": slice(0, 16), "test": slice(16, FONTS)}
    fonts = torch.arange(FONTS).repeat_interleave(3).reshape(FONTS, 3)
    return GlyphShapes(
        "bars",
        {s: (shapes[r].flatten(0, 1) * 255).to(torch.uint8) for s, r in rows.items()},
        {s: torch.arange(3).repeat(len(fonts[r])) for s, r in rows.items()},
        {s: fonts[r].flatten() for s, r in rows.items()},
    )


def one(every: GlyphShapes, label: int) -> GlyphShapes:
    return GlyphShapes("bars", every._every_shape, every._every_label, every._every_font, label)


def test_the_truth_ranks_first_and_the_least_alike_font_last(every: GlyphShapes) -> None:
    source, goal = one(every, 0), one(every, 1)
    hue = torch.rand(8, generator=generator())
    inputs, truth = (paint(s.shapes("test"), hue) for s in (source, goal))
    report = style_report(inputs, truth, source, goal)
    assert report.style_mean == 0
    assert report.distance_to_truth == 0
    assert report.ink == pytest.approx(1, abs=1e-6)
    grey = goal.shapes("test").flatten(1).double()
    apart = torch.cdist(grey, grey)
    farthest = apart.argmax(1)
    away = style_report(inputs, truth[farthest], source, goal)
    by_hand = [sum(apart[farthest[k], j] < apart[farthest[k], k] for j in range(8)) / 7 for k in range(8)]
    assert away.style_mean == pytest.approx(float(torch.stack(by_hand).mean()))
    assert away.style_mean > 0.7
    dim = style_report(inputs, (truth + 1) / 2 - 1, source, goal)
    assert dim.ink == pytest.approx(0.5, abs=1e-6)
    shuffled = torch.randperm(8, generator=generator(1))
    assert style_report(inputs[shuffled], truth[shuffled], source, goal).style_mean == 0


def test_true_glyphs_are_the_same_fonts_in_the_same_hues(every: GlyphShapes) -> None:
    source, goal = one(every, 0), one(every, 1)
    hue, order = torch.rand(8, generator=generator()), torch.randperm(8, generator=generator(1))
    inputs, truth = (paint(s.shapes("test"), hue)[order] for s in (source, goal))
    torch.testing.assert_close(true_glyphs(inputs, source, goal), truth, atol=1e-6, rtol=0)
    with pytest.raises(InputError, match="expected glyphs of the source's split"):
        true_glyphs(inputs + 0.1, source, goal)


def test_inputs_that_are_no_glyphs_of_the_split_are_refused(every: GlyphShapes) -> None:
    source, goal = one(every, 0), one(every, 1)
    rows = source.draw(4, generator(), "test")
    with pytest.raises(InputError, match="expected glyphs of the source's split"):
        style_report(rows + 0.1, rows, source, goal)
    with pytest.raises(InputError, match="expected 4 rows as in inputs, got 3"):
        style_report(rows, rows[:3], source, goal)


def test_the_frechet_distance_is_that_of_the_matrix_root() -> None:
    a = torch.randn(400, 5, generator=generator(), dtype=torch.float64)
    b = 2 * torch.randn(300, 5, generator=generator(1), dtype=torch.float64) + 0.3
    cov = [x.T.cov().numpy() for x in (a, b)]
    root = scipy.linalg.sqrtm(cov[0] @ cov[1]).real
    wanted = (a.mean(0) - b.mean(0)).square().sum() + (cov[0] + cov[1] - 2 * root).trace()
    assert frechet_distance(a, b) == pytest.approx(float(wanted), rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="at least two rows"):
        frechet_distance(a[:1], b)


def test_a_reader_reads_what_it_has_not_seen_and_is_the_same_every_time(every: GlyphShapes) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    reader = ShapeReader(every)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    again = ShapeReader(every)
    images = every.draw(30, generator(), "test")
    assert torch.equal(reader.features(images), again.features(images))
    assert reader.accuracy > 0.6
    assert ShapeReader.of(every) is ShapeReader.of(one(every, 1))


def test_glyphs_choose_these_numbers(every: GlyphShapes) -> None:
    source, goal = one(every, 0), one(every, 1)
    inputs = source.draw(40, generator(), "test")
    target, other = (goal.draw(40, generator(k), "test") for k in (1, 2))
    numbers = measure(goal, Outcome(inputs, target, target, other, source))
    assert numbers["frechet"] == pytest.approx(0, abs=1e-6)
    assert 0.2 < numbers["style_mean"] < 0.8  # real 2s of random fonts
    assert numbers["coverage"] > 0
    assert "recognised" in measure(every, Outcome(inputs, target, target, other, source))
