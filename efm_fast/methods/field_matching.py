"""From a config's ``points`` section to a strategy."""

from __future__ import annotations

from ..config import Config, length_in_data_units
from ..data import Source
from ..errors import InputError
from ..interplate import BoxPoints, FluxPoints, InterplateStrategy, LinearPoints
from ..nets import Geometry


def make_strategy(config: Config, geometry: Geometry, plus: Source, minus: Source) -> InterplateStrategy:
    """The strategy that ``config.points`` names, its lengths resolved in data units.

    Raises:
        InputError: lengths that contradict each other, or a custom strategy, which no config can make.
    """
    points = config.points
    if points.strategy == "custom":
        raise InputError(
            "points.strategy: custom is a strategy of your own: pass it to train as strategy=..."
        )
    if points.strategy == "flux":
        behind = 0.0 if points.behind is None else length_in_data_units(points.behind, geometry.s)
        return FluxPoints(nearest=geometry.nearest, behind=behind)
    if points.strategy == "linear":
        return LinearPoints(points.noise)
    if points.strategy == "box":
        return BoxPoints(points.margin)
    from .bank import LineBank

    return LineBank(plus, minus, geometry.L, points.bank, points.refresh, config.seed, 0.1 * geometry.scale)
