"""Methods: where a network learns, what it learns there, and how a sample travels.

``method: {name: ...}`` in a config chooses one. A method is one file here and one row in :data:`METHODS`; one of one's
own is chosen as ``my_module:MyMethod``.
"""

from __future__ import annotations

from typing import Annotated

from ..errors import InputError
from ..extras import extra
from ..plugins import own_class
from ..sections import Choice, Section
from .capacitor_chain import CapacitorChain
from .field_matching import FieldMatching
from .flow_matching import FlowMatching
from .interaction_field import InteractionField
from .interplate import InterplatePoints, InterplateStrategy
from .learned import LearnedField
from .loss import MatchingLoss
from .method import Method, MethodSettings, Problem, Travel
from .pfgm import PFGM
from .pfgmpp import PFGMPP

with extra("train"):
    from pydantic import BeforeValidator, Field, SerializeAsAny

__all__ = [
    "METHODS",
    "InterplatePoints",
    "InterplateStrategy",
    "LearnedField",
    "MatchingLoss",
    "Method",
    "MethodSettings",
    "OneMethod",
    "Problem",
    "Travel",
    "make_method",
    "method_class",
]

METHODS: dict[str, type[Method]] = {
    "capacitor_chain": CapacitorChain,
    "field_matching": FieldMatching,
    "flow_matching": FlowMatching,
    "interaction_field": InteractionField,
    "pfgm": PFGM,
    "pfgm++": PFGMPP,
}


def method_class(name: str, *, may_import: bool = False) -> type[Method]:
    """The method of that name, this package's or one's own.

    Raises:
        InputError: there is none, or the module of one's own is not imported and may not be.
    """
    return METHODS[name] if name in METHODS else own_class(name, Method, may_import=may_import)  # type: ignore[type-abstract]


def make_method(
    settings: MethodSettings, problem: Problem, strategy: InterplateStrategy | None = None
) -> Method:
    """The method that ``settings`` choose.

    Args:
        settings: the section ``method`` of a config.
        problem: what it is made for.
        strategy: inter-plate points of one's own, which field matching takes.

    Raises:
        InputError: a strategy that the method does not take.
    """
    made = method_class(settings.name)
    if strategy is None:
        return made(settings, problem)
    if not issubclass(made, FieldMatching):
        raise InputError(f"strategy: expected none with method.name = {settings.name}, got one of your own")
    return made(settings, problem, strategy)  # type: ignore[arg-type]


def _own_settings(name: str, may_import: bool) -> type[Section]:
    return method_class(name, may_import=may_import).Settings


OneMethod = Annotated[
    SerializeAsAny[MethodSettings],
    BeforeValidator(
        Choice(
            "name",
            "field_matching",
            {name: row.Settings for name, row in METHODS.items()},
            _own_settings,
            keeps=False,
        )
    ),
    Field(description="the method; each has settings of its own"),
]
