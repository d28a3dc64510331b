"""Every setting with its meaning and default, told by the config itself."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from .config import Config
from .data import source_names
from .extras import extra
from .sections import Choice, choice_of, model_in

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
        only_with: the option that has it, such as "method.name=pfgm"; "" where all have it.
    """

    key: str
    default: str | None
    meaning: str
    only_with: str = ""


def settings(model: type[BaseModel] = Config, prefix: str = "", only_with: str = "") -> Iterator[Setting]:
    """All settings of ``model`` in their order, sections and the options of each choice written out."""
    for name, field in model.model_fields.items():
        key, kind, choice = prefix + name, model_in(field), choice_of(field)
        if choice is not None:
            yield from _options(choice, field, key, only_with)
        elif kind is not None:
            yield from settings(kind, f"{key}.", only_with)
        else:
            yield Setting(key, _default(field), _meaning(field), only_with)


def _options(choice: Choice, field: FieldInfo, key: str, only_with: str) -> Iterator[Setting]:
    """The tag of a choice, then the settings of each option without it."""
    own = " | my_module:MyClass" if choice.own else ""
    meaning = f"{field.description or ''} ({' | '.join(choice.options)}{own})"
    yield Setting(f"{key}.{choice.tag}", choice.default, meaning, only_with)
    for name, section in choice.options.items():
        option = f"{key}.{choice.tag}={name}"
        inner = settings(section, f"{key}.", f"{only_with} {option}".strip())
        yield from (row for row in inner if row.key != f"{key}.{choice.tag}")


def settings_help() -> str:
    """The settings as text for a terminal."""
    rows = list(settings())
    wide = max(
        len(f"{row.key}={row.default}") for row in rows if row.default is None or len(row.default) < 20
    )
    lines = ["Settings, with their defaults:", ""]
    option = ""
    for row in rows:
        if row.only_with != option and row.only_with:
            lines.append(f"  with {row.only_with}:")
        option = row.only_with
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
