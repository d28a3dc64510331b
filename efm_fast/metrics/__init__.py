"""Numbers that say how good a map is, each beside what real data scores."""

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
from .strokes import hue_difference, nearest_shape, stroke_colour

__all__ = [
    "DigitReader",
    "GenerationReport",
    "Outcome",
    "TranslationReport",
    "TransportReport",
    "generation_report",
    "hue_difference",
    "measure",
    "nearest_shape",
    "outlier_share",
    "outlier_threshold",
    "sampling_floor",
    "sliced_wasserstein2",
    "stroke_colour",
    "translation_report",
    "transport_report",
    "wasserstein2",
]
