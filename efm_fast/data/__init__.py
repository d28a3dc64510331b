"""Data sets as sources of charges, and the loaders that feed them to training."""

from ..plugins import import_modules as import_sources
from ..streams import step_generator
from . import digits as _digits  # noqa: F401  (registers its sources, as do the next five)
from . import glyphs as _glyphs  # noqa: F401
from . import images as _images  # noqa: F401
from . import memory as _memory  # noqa: F401
from . import npz as _npz  # noqa: F401
from . import toy as _toy  # noqa: F401
from .colour import ColouredShapes, hue_to_rgb, paint, rgb_to_hue
from .glyphs import GlyphShapes
from .loader import charge_loader
from .registry import make_source, register_source, resolve_source, source_names
from .source import FiniteSource, Source
from .tools import rms_distance, to_images

__all__ = [
    "ColouredShapes",
    "FiniteSource",
    "GlyphShapes",
    "Source",
    "charge_loader",
    "hue_to_rgb",
    "import_sources",
    "make_source",
    "paint",
    "register_source",
    "resolve_source",
    "rgb_to_hue",
    "rms_distance",
    "source_names",
    "step_generator",
    "to_images",
]
