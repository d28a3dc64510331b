"""A method for data, for those who have a training loop of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Config
from ..methods import Method, Problem, make_method
from .measure import measure
from .sources import make_sources


def method_for(
    cfg: Config | Mapping[str, Any] | str | Path, overrides: Mapping[str, Any] | None = None
) -> Method:
    """The method of a config, with the lengths of its data measured.

    ``method.sample_location(x0, x1, generator)`` then gives points and targets for a training loop of one's own, and
    ``method.field(network)`` what the network's output means there. The config's sections ``net`` and ``train`` are not
    looked at.

    Args:
        cfg: a preset's name, a YAML path, a mapping or a Config.
        overrides: dotted settings that replace those of ``cfg``.

    Raises:
        InputError: a setting or the data do not fit; the text names the key.
    """
    config = Config.load(cfg, overrides)
    sources = make_sources(config)
    return make_method(config.method, Problem(measure(config, *sources), *sources, config.seed))
