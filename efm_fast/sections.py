"""Sections of settings: checked on construction, and chosen by name where an option has settings of its own.

A section is a frozen pydantic model. A :class:`Choice` is a section of which one setting, its tag, says which others
there are: ``method: {name: flow_matching, pairs: independent}``. The settings of another option are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_origin

from . import checks
from .extras import extra

with extra("train"):
    from pydantic import (
        BaseModel,
        BeforeValidator,
        ConfigDict,
        Field,
        StringConstraints,
        ValidationError,
        ValidationInfo,
    )
    from pydantic.fields import FieldInfo

_IN_S = re.compile(r"^\s*((?=[\d.eE+-]*[1-9])\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*s\s*$")  # a number above 0
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)] | Annotated[str, StringConstraints(pattern=_IN_S)]
FROM_RUN_FOLDER = {"may_import": False}
"""Context of the validation of settings that a run folder holds: they must not import modules."""


def length_in_data_units(length: float | str, s: float) -> float:
    """Resolve a length such as 6.0 or "1.5 s" where ``s`` is the rms distance between the plates' charges."""
    match = _IN_S.match(length) if isinstance(length, str) else None
    return float(match.group(1)) * s if match else float(length)


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Wrong(ValueError):
    """What was expected of a whole section; the text follows the section's key."""


class _Inside(ValueError):
    """A problem inside a section that was chosen by its tag."""

    def __init__(self, model: type[BaseModel], option: str, problem: ValidationError) -> None:
        super().__init__(str(problem))
        self.model, self.option, self.problem = model, option, problem


@dataclass(frozen=True)
class Choice:
    """One of several sections, told apart by one setting.

    Attributes:
        tag: the setting that names the option.
        default: the option where the tag is not given.
        options: the sections by their names.
        own: the section of an option "my_module:MyClass" of the user's own and whether its module may be imported
            now; None where there are no such options.
        keeps: whether settings that both options know stay when another option is chosen.
    """

    tag: str
    default: str
    options: Mapping[str, type[Section]]
    own: Callable[[str, bool], type[Section]] | None = None
    keeps: bool = True

    def __call__(self, value: object, info: ValidationInfo) -> Section:
        """The section that ``value`` describes: a section, a mapping, or an option's name alone."""
        if isinstance(value, Section):
            return value
        settings = self.mapping(value)
        if not isinstance(settings, Mapping):
            raise _Wrong(
                f"expected a name or a mapping of settings with {self.tag}, got {checks.describe(value)}"
            )
        model = self.section(settings, may_import=(info.context or {}).get("may_import", True))
        settings = {self.tag: self.default, **settings}
        try:
            return model.model_validate(settings, context=info.context)
        except ValidationError as problem:
            raise _Inside(model, f"{self.tag} = {settings[self.tag]}", problem) from None

    def mapping(self, value: object) -> object:
        """``value`` with an option's name alone written as a mapping."""
        return {self.tag: value} if isinstance(value, str) else value

    def section(self, settings: Mapping[str, Any], *, may_import: bool = True) -> type[Section]:
        """The section of the option that ``settings`` name.

        Raises:
            ValueError: there is none; InputError where it is one's own and cannot be had.
        """
        name = settings.get(self.tag, self.default)
        if isinstance(name, str) and name in self.options:
            return self.options[name]
        if isinstance(name, str) and ":" in name and self.own is not None:
            return self.own(name, may_import)
        names = ", ".join(self.options) + (", or my_module:MyClass" if self.own else "")
        raise _Wrong(f"expected {self.tag} to be one of {names}, got {checks.describe(name)}")


def choice_of(field: FieldInfo) -> Choice | None:
    """The choice that a model's field is, or None."""
    functions = [meta.func for meta in field.metadata if isinstance(meta, BeforeValidator)]
    return next((function for function in functions if isinstance(function, Choice)), None)


def model_in(field: FieldInfo) -> type[BaseModel] | None:
    """The model that a field holds, or None."""
    kind = field.annotation
    # Python 3.10 takes tuple[int, ...] for a class
    if isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, BaseModel):
        return kind
    return None


def sections_in(model: type[BaseModel]) -> Iterator[tuple[str, Choice | None, type[BaseModel] | None]]:
    """The sections of ``model``: their keys, and either the choice or the one model that each is."""
    for key, field in model.model_fields.items():
        choice, kind = choice_of(field), model_in(field)
        if choice is not None:
            yield key, choice, None
        elif kind is not None:
            yield key, None, kind


def written_out(model: type[BaseModel], raw: dict[str, Any]) -> None:
    """Write every option's name in ``raw`` that stands alone as a mapping, in place."""
    for key, choice, kind in sections_in(model):
        if key not in raw:
            continue
        if choice is not None:
            raw[key] = choice.mapping(raw[key])
        if isinstance(raw[key], dict) and (inner := _chosen(choice, kind, raw[key])) is not None:
            written_out(inner, raw[key])


def drop_other_options(
    model: type[BaseModel], before: dict[str, Any], after: dict[str, Any], changed: set[str], path: str = ""
) -> None:
    """Drop settings of options that were chosen in ``before`` and no longer are, in place.

    Args:
        model: of both mappings.
        before: settings as they were.
        after: settings as they are, with ``changed`` ones.
        changed: dotted keys that were set on purpose; they stay, and are refused later where they do not fit.
        path: where the mappings stand, for the dotted keys.
    """
    for key, choice, kind in sections_in(model):
        old, new = before.get(key), after.get(key)
        if not isinstance(old, dict) or not isinstance(new, dict):
            continue
        inner = _chosen(choice, kind, new)
        if inner is None or f"{path}{key}" in changed:  # a whole section that was set holds nothing of before
            continue
        if choice is not None and old.get(choice.tag, choice.default) != new.get(choice.tag, choice.default):
            on_purpose = _set_on_purpose(new, changed, f"{path}{key}.")
            kept = {k: v for k, v in new.items() if choice.keeps and k in inner.model_fields}
            after[key] = {**kept, **on_purpose, choice.tag: new.get(choice.tag, choice.default)}
        else:
            drop_other_options(inner, old, new, changed, f"{path}{key}.")


def _set_on_purpose(section: dict[str, Any], changed: set[str], path: str) -> dict[str, Any]:
    """The part of ``section``, which stands at ``path``, that ``changed`` names."""
    found = {}
    for key, value in section.items():
        inner = _set_on_purpose(value, changed, f"{path}{key}.") if isinstance(value, dict) else {}
        if f"{path}{key}" in changed or inner:
            found[key] = value if f"{path}{key}" in changed else inner
    return found


def _chosen(
    choice: Choice | None, kind: type[BaseModel] | None, settings: Mapping[str, Any]
) -> type[BaseModel] | None:
    """The model of one section; None where its option is unknown, which validation will say."""
    if choice is None:
        return kind
    try:
        return choice.section(settings)
    except _Wrong:
        return None


def explain(
    problem: ValidationError,
    model: type[BaseModel],
    renamed: Mapping[str, str],
    prefix: str = "",
    option: str = "",
) -> str:
    """One line for the first wrong setting: its key, what was expected, what came.

    Args:
        problem: what pydantic found.
        model: of the settings.
        renamed: dotted keys that used to be, and what to write instead.
        prefix: of the keys, where ``model`` is a section.
        option: which the section belongs to, where it was chosen.
    """
    errors = problem.errors()
    # a misspelt key explains a missing one
    first = next((e for e in errors if e["type"] in ("extra_forbidden", "invalid_key")), errors[0])
    # the last parts of a union's location name its branches, not keys
    names = [str(p) for p in first["loc"] if p != "float" and not str(p).startswith("constrained-")]
    key = prefix + ".".join(names)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, _Inside):
        return explain(cause.problem, cause.model, renamed, f"{key}.", f" with {cause.option}")
    if isinstance(cause, ValueError):
        return f"{key}: {cause}" if isinstance(cause, _Wrong) else str(cause)
    got = checks.describe(first["input"])
    if key in renamed:
        return f"{key}: no such setting any more; use {renamed[key]}"
    key = key if len(key) <= 80 else f"{key[:77]}..."
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(model, first["loc"][:-1]))
        return f"{key}: no such setting{option}; expected one of {known}"
    if first["type"] == "missing":
        return f"{key}: expected a value, got none"
    if any(str(part).startswith("constrained-str") for e in errors for part in e["loc"]):
        return f"{key}: expected a number above 0 or a multiple of s such as '1.5 s', got {got}"
    if first["type"] in ("bool_type", "invalid_key"):
        expected = "true or false" if first["type"] == "bool_type" else "names of settings"
    else:
        expected = first["msg"].removeprefix("Input should be ").removeprefix("String should ")
    return f"{key}: expected {expected}, got {got}"


def _known_keys(model: type[BaseModel], parents: tuple[int | str, ...]) -> list[str]:
    for parent in parents:
        model = model.model_fields[str(parent)].annotation  # type: ignore[assignment]
    return list(model.model_fields)
