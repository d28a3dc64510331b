"""The judges of coloured digits, on pictures made to have known faults."""

import json
import math

import pytest
import torch

from efm_fast.data import hue_to_rgb, make_source, paint
from efm_fast.errors import InputError
from efm_fast.metrics import (
    DigitReader,
    generation_report,
    hue_difference,
    nearest_shape,
    stroke_colour,
    translation_report,
)
from efm_fast.metrics.strokes import painted_distances


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return make_source("digits")


@pytest.fixture(scope="module")
def twos():
    return make_source({"name": "digits", "label": 2})


@pytest.fixture(scope="module")
def reader(digits):
    return DigitReader(digits)


def test_reader_reads_held_out_digits_in_any_colour(digits, reader):
    assert reader.accuracy > 0.95
    read = reader.read(digits.all("test"))
    assert (read == digits.labels("test")).double().mean().item() == pytest.approx(reader.accuracy)
    assert reader.is_sure(digits.all("test")).double().mean() == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("size", [16, 32])
def test_reader_learns_every_class_of_a_single_digit_source(size):
    reader = DigitReader(make_source({"name": "digits", "label": 7, "size": size}))
    assert reader.accuracy > 0.95
    nines = make_source({"name": "digits", "label": 9, "size": size})
    assert (reader.read(nines.all("test")) == 9).double().mean() > 0.9


def test_reader_refuses_bad_pictures(reader):
    with pytest.raises(InputError, match="x: expected 192 columns"):
        reader.read(torch.zeros(2, 100))
    with pytest.raises(InputError, match="images: expected at least one row"):
        reader.read(torch.zeros(0, 192))
    with pytest.raises(InputError, match="images: expected finite"):
        reader.read(torch.full((2, 192), math.nan))


def test_stroke_colour_is_the_paint_times_the_stroke_mean():
    grey = torch.tensor([[0.0, 0.5, 1.0, 0.5]])
    colour = torch.tensor([1.0, 0.25, 0.0])
    found = stroke_colour((colour[:, None] * grey)[None])
    torch.testing.assert_close(found, (colour * 1.5 / 2).double()[None])
    assert torch.equal(stroke_colour(torch.zeros(1, 3, 4)), torch.zeros(1, 3).double())
    with pytest.raises(InputError, match=r"images: expected shape \[N, 3, P\]"):
        stroke_colour(torch.zeros(1, 1, 4))


def test_hue_difference_goes_round_the_circle():
    a, b = torch.tensor([0.0, 0.95, 0.25, 0.5]), torch.tensor([0.5, 0.05, 0.25, 0.25])
    torch.testing.assert_close(hue_difference(a, b), torch.tensor([180.0, 36, 0, 90]))


def test_nearest_shape_is_the_minimum_over_all_hues():
    g = generator()
    images, shapes = torch.rand(20, 3, 9, generator=g).double(), torch.rand(5, 9, generator=g).double()
    images[:5] = images[:5] - 0.5  # also where a channel disagrees with the shape
    colours = hue_to_rgb(torch.arange(6000) / 6000).double()
    painted = colours[:, :, None] * shapes[:, None, None]  # [5, 6000, 3, 9]
    every = torch.cdist(images.flatten(1), painted.flatten(0, 1).flatten(1)).reshape(20, 5, 6000)
    distance, index = nearest_shape(images, shapes)
    torch.testing.assert_close(distance, every.amin((1, 2)), atol=1e-5, rtol=0)
    assert torch.equal(index, every.amin(2).argmin(1))


def test_nearest_shape_is_zero_on_real_pictures(twos):
    images = (twos.all() / 2 + 0.5).reshape(-1, 3, 64)
    distance, index = nearest_shape(images, twos.shapes().flatten(1))
    assert distance.max() < 1e-5
    assert torch.equal(index, torch.arange(len(images)))
    with pytest.raises(InputError, match="shapes: expected at least one"):
        nearest_shape(images, torch.zeros(0, 64))


def test_painted_distances_are_those_of_the_painted_pictures():
    g = generator()
    drawn, shapes = torch.rand(7, 9, generator=g).double(), torch.rand(5, 9, generator=g).double()
    hue = torch.arange(12).double() / 12
    painted = hue_to_rgb(hue)[None, :, :, None] * drawn[:, None, None]  # [7, 12, 3, 9]
    expected = nearest_shape(painted.flatten(0, 1), shapes)[0].reshape(7, 12)
    found = painted_distances(drawn, hue, shapes)
    torch.testing.assert_close(found, expected)
    # a third of a turn exchanges the channels
    torch.testing.assert_close(found[:, :4], found[:, 4:8])
    assert (found[:, 0] - found[:, 1]).abs().max() > 1e-3
    with pytest.raises(InputError, match="shapes: expected at least one"):
        painted_distances(drawn, hue, torch.zeros(0, 9))


def translated(twos, count=240):
    """Held-out threes, and held-out twos painted in exactly their hues."""
    hue = torch.rand(count, generator=generator())
    threes = make_source({"name": "digits", "label": 3}).shapes("test")
    rows = torch.arange(count)
    shapes = twos.shapes("test")
    return paint(threes[rows % len(threes)], hue), paint(shapes[rows % len(shapes)], hue), shapes, hue


def test_a_perfect_translation_scores_as_real(twos, reader):
    inputs, outputs, _, _ = translated(twos)
    report = translation_report(inputs, outputs, twos, 2, reader=reader)
    assert report.samples == 240
    assert report.read_as_wanted > 0.95
    assert report.reader_accuracy == reader.accuracy
    assert report.hue_error_mean < 0.01
    assert report.hue_error_median < 0.01
    assert report.colour_error == pytest.approx(report.colour_floor, abs=1e-3)
    assert 0 < report.colour_floor < 0.1
    assert report.like_real_ratio == pytest.approx(1, abs=0.05)
    assert report.like_real == pytest.approx(report.real_like_real * report.like_real_ratio)
    assert 0 < report.coverage < report.ideal_coverage < 1
    assert json.loads(json.dumps(report.as_dict()))["hue_error_mean"] == report.hue_error_mean


def test_each_fault_shows_in_its_own_number(twos, reader):
    inputs, outputs, shapes, hue = translated(twos)

    def report(outputs):
        return translation_report(inputs, outputs, twos, 2, reader=reader)

    unchanged = report(inputs)
    assert unchanged.read_as_wanted < 0.05
    assert unchanged.like_real_ratio > 1.5
    turned = report(paint(shapes[torch.arange(240) % len(shapes)], hue + 0.1))
    assert turned.hue_error_mean == pytest.approx(36, abs=0.1)
    assert turned.colour_error > 3 * turned.colour_floor
    pale = report(outputs + 0.5 * (outputs.reshape(240, 3, 64).amax(1).repeat(1, 3) - outputs))
    assert pale.hue_error_mean < 0.1
    assert pale.colour_error > 3 * pale.colour_floor
    assert pale.like_real_ratio > 1.5
    collapsed = report(paint(shapes[:1].expand(240, -1, -1), hue))
    assert collapsed.coverage == pytest.approx(1 / 240)
    copied = report(paint(twos.shapes()[torch.arange(240) % twos.size()], hue))
    assert copied.like_real_ratio < 1e-3
    assert copied.coverage == pytest.approx(twos.size() / 240)
    blurred = report(outputs + 0.3 * torch.randn(outputs.shape, generator=generator()))
    assert blurred.like_real_ratio > 1.2


def test_translation_refuses_bad_rows(twos, digits, reader):
    inputs, outputs, _, _ = translated(twos, 10)
    cases = [
        ((inputs, outputs[:5], twos, 2), "outputs: expected 10 rows as in inputs, got 5"),
        ((inputs, outputs[:, :5], twos, 2), "outputs: expected 192 columns"),
        ((inputs[:0], outputs[:0], twos, 2), "inputs: expected at least one row"),
        ((inputs, outputs * math.nan, twos, 2), "outputs: expected finite numbers"),
        ((inputs, outputs, twos, 11), r"wanted_label: expected a class of digits \(0, 1, .* got 11"),
        ((inputs, outputs, make_source("moons"), 2), "target: expected a coloured set .* got Moons"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            translation_report(*arguments, reader=reader)


def test_held_out_digits_score_as_real_in_generation(digits, reader):
    report = generation_report(digits.draw(500, generator(), "test"), digits, reader=reader)
    assert report.recognised == pytest.approx(0.94, abs=0.03)
    assert len(report.class_shares) == 10
    assert sum(report.class_shares) == pytest.approx(1)
    assert report.class_gap < 0.1
    assert report.like_real_ratio == pytest.approx(1, abs=0.05)
    assert report.saturation == pytest.approx(1, abs=1e-5)
    assert report.hue_gap < 0.08
    assert 0.3 < report.coverage < report.ideal_coverage
    assert json.loads(json.dumps(report.as_dict()))["samples"] == 500


def test_training_draws_reach_the_ideal_coverage(digits, reader):
    report = generation_report(digits.draw(500, generator()), digits, reader=reader)
    assert report.coverage == pytest.approx(report.ideal_coverage, abs=0.03)
    assert report.like_real_ratio < 1e-3


def test_faults_of_generation_show(digits, reader):
    noise = 2 * torch.rand(300, 192, generator=generator()) - 1
    report = generation_report(noise, digits, reader=reader)
    assert report.recognised < 0.01
    assert report.like_real_ratio > 3
    assert report.saturation < 0.3
    one = make_source({"name": "digits", "label": 1}).draw(300, generator())
    assert generation_report(one, digits, reader=reader).class_gap > 0.85
    red = paint(digits.shapes("test"), torch.zeros(digits.size("test")))
    assert generation_report(red, digits, reader=reader).hue_gap == pytest.approx(1)
