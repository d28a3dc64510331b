"""Every setting with its meaning and default, told by the config itself."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from .config import Config
from .data import source_names
from .extras import extra

with extra("train"):
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

_WIDTH = 100


@dataclass(frozen=True)
class Setting:
    """One setting of a run.

    Attributes:
        key: its dotted name.
        default: as YAML would write it; None where a value has to be given.
        meaning: in words, with the values it may have where they are a few.
    """

    key: str
    default: str | None
    meaning: str


def settings(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[Setting]:
    """All settings of ``model`` in their order, sections written out."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings(kind, f"{prefix}{name}.")
        else:
            yield Setting(prefix + name, _default(field), _meaning(field))


def settings_help() -> str:
    """The settings as text for a terminal."""
    rows = list(settings())
    wide = max(
        len(f"{row.key}={row.default}") for row in rows if row.default is None or len(row.default) < 20
    )
    lines = ["Settings, with their defaults:", ""]
    for row in rows:
        head = row.key if row.default is None else f"{row.key}={row.default}"
        told = textwrap.wrap(row.meaning, _WIDTH - wide - 6) or [""]
        lines.append(f"  {head:<{wide}}  {told[0]}")
        lines += [" " * (wide + 4) + part for part in told[1:]]
    names = textwrap.wrap(", ".join(source_names()), _WIDTH - 20, break_on_hyphens=False)
    lines += ["", "Names of data for plus and minus:", *(f"  {part}" for part in names)]
    return "\n".join(lines)


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value: Any = field.default
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value)).replace(" ", "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _meaning(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    told = field.description or ""
    return f"{told} ({' | '.join(map(str, choices))})" if choices else told
