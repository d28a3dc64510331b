"""A run's report: settings, curves, measures, pictures and lines, as data for the page."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EfmError, InputError
from ..files import naming, write_text
from ..plots.curves import curves_of, is_logarithmic, running_mean
from ..runs.run import read_description
from ..training.report import read_metrics
from .frame import Array
from .gallery import run_scene
from .html import page

#: Points of a curve, and pictures and their bytes, that a report holds.
_MOST_POINTS, _MOST_PICTURES, _MOST_BYTES = 400, 12, 3_000_000
_CAPTIONS = {
    "evaluation": "Held-out samples that the run's own map carried",
    "field_lines": "Learned field lines",
    "samples": "Samples of `efm-fast sample`",
    "step": "Samples while training, step",
}


def report_of(folder: Path, *, lines: bool = False) -> dict[str, Any]:
    """Everything a report says of the run in ``folder``, ready for JSON.

    Args:
        folder: the run folder.
        lines: whether the run's lines are in it too, for a page without a server.

    Returns:
        ``name``, ``description``, ``facts``, ``settings``, ``curves``, ``tables``, ``pictures``, ``notes``
        (sentences that say what is missing) and ``scene`` (the frame of :func:`efm_fast.page.gallery.run_scene` in
        base64, or None).

    Raises:
        RunError: not a run folder.
    """
    config, geometry = read_description(folder)
    notes: list[str] = []
    rows = _metrics(folder, notes)
    tables = list(_tables(folder, notes))
    if not tables:
        notes.append(f"It was not measured yet: `efm-fast evaluate {folder.name}` does so.")
    pictures = list(_pictures(folder, notes))
    return {
        "name": config.name,
        "description": config.description,
        "facts": {
            "data": f"{config.plus['name']} to {config.minus['name']}",
            "shape": " x ".join(map(str, geometry.shape)),
            "L": f"{geometry.L:.4g}, which is {geometry.L / geometry.s:.3g} rms distances between the plates' data",
            "method": config.method.name,
            "steps": f"{rows[-1]['step'] if rows else 0} of {config.train.steps}",
            **_versions(folder),
        },
        "settings": [[key, _text(value)] for key, value in _flat(config.plain())],
        "curves": [_curve(name, *curve) for name, curve in curves_of(rows).items()],
        "tables": tables,
        "pictures": pictures,
        "scene": _scene(folder, notes) if lines else None,
        "notes": notes,
    }


def _metrics(folder: Path, notes: list[str]) -> list[dict[str, float]]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rows = read_metrics(folder)
    notes += [str(warning.message) for warning in told]
    return rows


def _curve(name: str, steps: Array, values: Array) -> dict[str, Any]:
    """One curve with its running mean, thinned out."""
    smooth = running_mean(values, max(3, len(values) // 40)) if len(values) > 60 else values
    kept = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MOST_POINTS)).astype(int))
    return {
        "name": name.replace("_", " "),
        "steps": steps[kept].tolist(),
        "values": [float(f"{value:.5g}") for value in values[kept]],
        "smooth": [float(f"{value:.5g}") for value in smooth[kept]],
        "logarithmic": is_logarithmic(values),
    }


def _tables(folder: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """The measures of each evaluation, one row per map."""
    for name, title in (
        ("evaluation.json", "From P to Q"),
        ("evaluation_reverse.json", "From Q to P"),
    ):
        if not (folder / name).is_file():
            continue
        try:
            maps = json.loads((folder / name).read_text(encoding="utf-8"))["maps"]
            columns = list(dict.fromkeys(key for row in maps for key in row))
            cells = [[_text(row.get(key)) for key in columns] for row in maps]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            notes.append(f"{name} cannot be read as measures of this version.")
            continue
        yield {"title": title, "columns": [key.replace("_", " ") for key in columns], "rows": cells}


def _pictures(folder: Path, notes: list[str]) -> Iterator[dict[str, str]]:
    """The run's PNG files as data, what was measured first and then the newest steps."""
    home = folder.resolve()
    found = [path for path in (folder / "samples").glob("*.png") if path.resolve().is_relative_to(home)]
    order = list(_CAPTIONS)
    found.sort(key=lambda path: path.name, reverse=True)
    found.sort(
        key=lambda path: next((k for k, kind in enumerate(order) if path.name.startswith(kind)), len(order))
    )
    for path in found[:_MOST_PICTURES]:
        if path.stat().st_size > _MOST_BYTES:
            notes.append(f"{path.name} has more than {_MOST_BYTES:,} bytes and is left out.")
            continue
        content = path.read_bytes()
        if not content.startswith(b"\x89PNG\r\n"):
            notes.append(f"{path.name} is no PNG picture and is left out.")
            continue
        data = base64.b64encode(content).decode("ascii")
        yield {"caption": _caption(path.stem), "source": f"data:image/png;base64,{data}"}


def _caption(stem: str) -> str:
    kind = next((kind for kind in _CAPTIONS if stem.startswith(kind)), None)
    if kind is None:
        return stem.replace("_", " ")
    rest = stem.removeprefix(kind).strip("_")
    if kind == "step":
        return f"{_CAPTIONS[kind]} {int(rest):,}" if rest.isdigit() else stem
    return f"{_CAPTIONS[kind]}, from Q to P" if rest == "reverse" else _CAPTIONS[kind]


def _versions(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / "versions.json").read_text(encoding="utf-8"))
        return {name: str(found[name]) for name in ("efm_fast", "torch") if found.get(name)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _scene(folder: Path, notes: list[str]) -> str | None:
    try:
        return base64.b64encode(run_scene(folder)).decode("ascii")
    except EfmError as problem:
        notes.append(f"Its lines are not drawn: {problem}")
        return None


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", part


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "-"
    return str(value)


def write_report(folder: Path, path: Path) -> Path:
    """Write the report of the run in ``folder`` as one HTML file that needs nothing else.

    Raises:
        RunError: not a run folder, or the file cannot be written.
        InputError: the file's name does not end in .html.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"out: expected a name ending in .html, got {str(path)!r}")
    text, _ = page({"report": report_of(folder, lines=True)})
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path
