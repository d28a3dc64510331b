"""YAML as settings are written in it: version 1.2's core schema, read and written in this one place.

PyYAML follows version 1.1, in which 1e-3 is a string, ``no`` is false and 1:30 is ninety. Here 1e-3 is a number,
only true and false are booleans, and everything else that is neither a number nor null is a string. Beyond the
schema, a whole number may have an exponent (1e4 is the integer 10000).
"""

from __future__ import annotations

import math
import re
from typing import Any

from .errors import InputError
from .extras import extra

with extra("train"):
    import yaml
    from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_MOST_CHARACTERS = 1 << 20
_MOST_NODES = 100_000  # of a document whose aliases are written out
_EXACT = 2.0**53

_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
)
_INT = re.compile(r"^[-+]?[0-9]+$|^0o[0-7]+$|^0x[0-9a-fA-F]+$")
_RESOLVERS = (
    ("bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", re.compile(r"^<<$"), ["<"]),
)


class _Loader(yaml.SafeLoader):
    def construct_number(self, node: ScalarNode) -> int | float:
        """An int or a float of the core schema."""
        text = node.value
        if _INT.match(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        number = float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        # 1e4 steps are meant to be a whole number of steps
        whole = "e" in text.lower() and abs(number) < _EXACT and number == math.trunc(number)
        return int(number) if whole else number


class _Dumper(yaml.SafeDumper):
    """Quotes every string that version 1.1 or 1.2 would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal parts out, each in its place."""
        return True


_Loader.yaml_implicit_resolvers = {}  # none of version 1.1's
for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, _first)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, _first)
for _name in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _Loader.construct_number)


def parse(name: str, text: str | bytes) -> Any:
    """The value that ``text`` writes in YAML 1.2.

    Args:
        name: what an error calls the text.
        text: one document, as a string or UTF-8.

    Raises:
        InputError: not UTF-8, not YAML, a key twice, or a document that is long, deep, or made long by aliases.
    """
    if len(text) > _MOST_CHARACTERS:
        raise InputError(f"{name} is larger than settings are: expected at most {_MOST_CHARACTERS} bytes")
    try:
        loader = _Loader(text.decode("utf-8") if isinstance(text, bytes) else text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check(name, node)
        return loader.construct_document(node)
    except UnicodeDecodeError as problem:
        raise InputError(f"{name} is not UTF-8: byte {problem.start} is {text[problem.start]!r}") from None
    except RecursionError:
        raise InputError(f"{name} is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        raise InputError(f"{name} is not YAML: {_short(problem)}") from None


def dump(value: Any) -> str:
    """``value`` as YAML that both versions read alike, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _check(name: str, root: Node) -> None:
    """Refuse keys that come twice, aliases of themselves, and documents that aliases make huge."""
    sizes: dict[Node, int] = {}
    pending: set[Node] = set()

    def size(node: Node) -> int:
        if node in pending:
            raise InputError(f"{name}: an alias stands inside what it stands for")
        if node not in sizes:
            pending.add(node)
            sizes[node] = 1 + sum(size(part) for part in _parts(name, node))
            pending.remove(node)
        if sizes[node] > _MOST_NODES:
            raise InputError(f"{name}: its aliases stand for more than {_MOST_NODES} values")
        return sizes[node]

    size(root)


def _parts(name: str, node: Node) -> list[Node]:
    if isinstance(node, SequenceNode):
        return list(node.value)
    if not isinstance(node, MappingNode):
        return []
    keys: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, ScalarNode) and key.value in keys:
            raise InputError(f"{name}: {key.value[:80]!r} is set twice")
        if isinstance(key, ScalarNode):
            keys.add(key.value)
    return [part for pair in node.value for part in pair]


def _short(problem: Exception) -> str:
    """What PyYAML found wrong, and where, without the excerpt."""
    if isinstance(problem, yaml.MarkedYAMLError) and problem.problem_mark is not None:
        mark = problem.problem_mark
        return f"{problem.problem} in line {mark.line + 1}, column {mark.column + 1}"[:200]
    return " ".join(str(problem).split())[:200]
