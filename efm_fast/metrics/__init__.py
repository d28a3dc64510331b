"""Numbers that say how good a map is, each next to the number of real data."""

from .distance import (
    TransportReport,
    outlier_share,
    outlier_threshold,
    sampling_floor,
    sliced_wasserstein2,
    transport_report,
    wasserstein2,
)
from .measure import Outcome, measure
from .reader import DigitReader
from .report import GenerationReport, TranslationReport, generation_report, translation_report
from .shape_reader import ShapeReader, frechet_distance
from .strokes import hue_difference, nearest_shape, stroke_colour
from .style import StyleReport, style_report, true_glyphs

__all__ = [
    "DigitReader",
    "GenerationReport",
    "Outcome",
    "ShapeReader",
    "StyleReport",
    "TranslationReport",
    "TransportReport",
    "frechet_distance",
    "generation_report",
    "hue_difference",
    "measure",
    "nearest_shape",
    "outlier_share",
    "outlier_threshold",
    "sampling_floor",
    "sliced_wasserstein2",
    "stroke_colour",
    "style_report",
    "translation_report",
    "transport_report",
    "true_glyphs",
    "wasserstein2",
]
