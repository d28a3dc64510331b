"""Presets: YAML files that just run, one per experiment."""

from __future__ import annotations

from pathlib import Path

from .. import checks

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """Names of the presets, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """The preset's YAML file.

    Raises:
        InputError: no preset has that name; the text lists the nearest ones.
    """
    return _FOLDER / f"{checks.choice('preset', name, preset_names())}.yaml"
