"""The model card of a run: what it learned from what, how well, and how to use it; written from the run's own files."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from .. import __version__, yaml12
from ..data.spec import described, is_record
from ..extras import extra
from ..files import naming, write_text
from ..runs.run import Run

_PICTURES = ("samples/evaluation.png", "curves.png")
_USE = """```python
import efm_fast

run = efm_fast.from_pretrained({name!r})  # or "user/name" on the hub
lines = efm_fast.sample(run, {starts})
print(lines.end.shape)
```"""


def write_card(run: Run, settings: dict[str, Any], folder: Path, name: str, license: str | None) -> None:
    """Copy the run's pictures to ``folder``, and write its card there if there is none.

    Args:
        run: the run.
        settings: those that are published, as plain data.
        folder: where to.
        name: of the card's file.
        license: an identifier of the hub, or None.
    """
    with extra("hub"):
        from huggingface_hub import ModelCardData
    pictures = _copy_pictures(run, folder)
    if (folder / name).exists():
        return
    reports = _measured(run)
    data = ModelCardData(
        license=license,
        library_name="efm_fast",
        model_name=run.config.name,
        tags=["efm_fast", "electrostatic-field-matching", run.config.method.name],
        pipeline_tag=_task(run),
        eval_results=_results(run, settings, reports) or None,
    )
    parts = [
        f"# {run.config.name}",
        run.config.description,
        _what(run, settings),
        "## Use",
        f"`pip install 'efm_fast[{_extras(settings)}]'`, then:",
        _USE.format(name=folder.name, starts=_starts(run, settings)),
        *(f"![{path.stem}]({path.as_posix()})" for path in pictures),
        *_numbers(reports),
        "## Licence",
        f"`{license}`" if license else "The author of these weights has not chosen a licence.",
        "## Settings",
        f"Written by efm_fast {__version__}. The files hold numbers alone; opening them runs no code.",
        f"```yaml\n{yaml12.dump(settings)}```",
    ]
    body = "\n\n".join(part for part in parts if part)
    write_text(folder / name, f"---\n{data.to_yaml()}\n---\n\n{body}\n")


def _copy_pictures(run: Run, folder: Path) -> list[Path]:
    """Copies of the run's pictures, relative to ``folder``: the latest of its samples where nothing was measured."""
    found = [run.folder / name for name in _PICTURES if (run.folder / name).is_file()]
    if run.folder / _PICTURES[0] not in found:
        found = [*sorted(run.folder.glob("samples/step_*.png"))[-1:], *found]
    copies = []
    for path in found:
        copy = Path("pictures") / path.name
        with naming(folder / copy):
            (folder / copy).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / copy)
        copies.append(copy)
    return copies


def _what(run: Run, settings: dict[str, Any]) -> str:
    """A table of data, method and network."""
    geometry, train = run.geometry, run.config.train
    weights = sum(p.numel() for p in run.field.parameters())
    rows = {
        "plus plate, z = 0": "the method's own prior" if run.method.has_prior else _source(settings["plus"]),
        "minus plate, z = L": _source(settings["minus"]),
        "shape of a sample": " x ".join(map(str, geometry.shape)),
        "distance of the plates L": f"{geometry.L:.4g} ({geometry.L / geometry.s:.3g} s)",
        "method": run.config.method.name,
        "network": f"{settings['net']['backbone']}, {weights} weights, averaged",
        "training": f"{run.step} steps of {train.batch} points, learning rate {train.lr:g}, seed {run.config.seed}",
    }
    lines = [f"| {key} | {value} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _source(spec: dict[str, Any]) -> str:
    """A source in words, in one cell of a table."""
    settings = [
        f"{key} {_setting(value)}" for key, value in spec.items() if key != "name" and value is not None
    ]
    text = f"{spec['name']} ({', '.join(settings)})" if settings else str(spec["name"])
    return text.replace("|", "\\|")


def _setting(value: object) -> str:
    if isinstance(value, dict):
        return described(value) if is_record(value) else ", ".join(map(str, value.values()))
    return str(value)


def _extras(settings: dict[str, Any]) -> str:
    """The extras of this package that opening and sampling take."""
    extras = ["hub"]
    extras += ["images"] if settings["net"]["backbone"] != "mlp" else []
    extras += ["flow"] if settings["method"]["name"] == "flow_matching" else []
    return ",".join(extras)


def _starts(run: Run, settings: dict[str, Any]) -> str:
    """The argument that says where samples start: their number where the start needs no files of this machine."""
    known = run.method.has_prior or not any(isinstance(value, dict) for value in settings["plus"].values())
    sizes = ", ".join(map(str, run.geometry.shape))
    return "n=16" if known else f"x0  # your own starts, a tensor [N, {sizes}]\n"


def _task(run: Run) -> str | None:
    """The hub's name of what the model does; None where it has none."""
    if len(run.geometry.shape) != 3:
        return None
    return "unconditional-image-generation" if run.method.has_prior else "image-to-image"


def _measured(run: Run) -> list[dict[str, Any]]:
    """What ``efm-fast evaluate`` wrote of each map, the run's own first; nothing where it was not called."""
    try:
        return list(json.loads((run.folder / "evaluation.json").read_text(encoding="utf-8"))["maps"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _results(run: Run, settings: dict[str, Any], reports: list[dict[str, Any]]) -> list[Any]:
    """The numbers of the run's own map, as the hub lists them."""
    with extra("hub"):
        from huggingface_hub import EvalResult
    return [
        EvalResult(
            task_type=_task(run) or "other",
            dataset_type=str(settings["minus"]["name"]),
            dataset_name=_source(settings["minus"]),
            metric_type=key,
            metric_name=key.replace("_", " "),
            metric_value=value,
        )
        for report in reports[:1]
        for key, value in report.items()
        if _is_number(value)
    ]


def _numbers(reports: list[dict[str, Any]]) -> list[str]:
    """A section with one row for each measure and one column for each map."""
    if not reports:
        return []
    head = ["measure", *(str(report["map"]) for report in reports)]
    rows = [
        [key.replace("_", " "), *(_cell(report.get(key)) for report in reports)]
        for key in reports[0]
        if key != "map"
    ]
    table = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return ["## Numbers", "Measured on held-out data by `efm-fast evaluate`.", "\n".join(table)]


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(f"{part:.2f}" for part in value)
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)
