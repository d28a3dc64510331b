"""A method with the lengths of its data, for users with their own training loop."""

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

    ``method.sample_location(x0, x1, generator)`` then draws points and targets for your training loop, and
    ``method.field(network)`` makes a field of your network. The sections ``net`` and ``train`` of the config are not
    used.

    Args:
        cfg: a preset's name, a YAML path, a mapping or a Config.
        overrides: dotted settings that replace those of ``cfg``.

    Raises:
        InputError: a setting or the data do not fit; the text names the key.
    """
    config = Config.load(cfg, overrides)
    sources = make_sources(config)
    return make_method(config.method, Problem(measure(config, *sources), *sources, config.seed))
