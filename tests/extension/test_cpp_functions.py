"""No function of csrc is over 80 lines, and none takes more than 8 parameters, lambdas included.

A small reader of C++ finds the functions. It knows comments, strings, macros and brackets, and needs no more here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
SOURCES = sorted(p for kind in ("*.h", "*.cpp", "*.cu") for p in CSRC.rglob(kind))

pytestmark = pytest.mark.skipif(not CSRC.is_dir(), reason="csrc is not here")

# comments, strings and macros, which may hold brackets
_UNREAD = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
    re.MULTILINE | re.DOTALL,
)
_NOT_A_FUNCTION = re.compile(r"\b(?:namespace|class|struct|union|enum)\b|=\s*$")
_NAME = re.compile(r"(operator\s*\(\s*\)|operator[^\w\s(]+|~?\w+)\s*\(")
_BEFORE_A_NAME = ("alignas", "__attribute__", "__launch_bounds__", "decltype", "noinline")
_INITIALISER = re.compile(r"\)\s*:[^;]*\w\s*$")  # of a member, by braces
_LAMBDA = re.compile(r"\[[\w\s&=,*.]*\]\s*(?=\()")


@dataclass(frozen=True)
class Function:
    """A function, or a lambda in it, whose lines count with the function's."""

    name: str
    lines: int
    parameters: int


def blanked(text: str) -> str:
    """``text`` without what is not to be read, every line where it was."""
    return _UNREAD.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def closing(text: str, start: int) -> int:
    """Where the bracket at ``start`` is closed."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] in "([{") - (text[at] in ")]}")
        if depth == 0:
            return at
    raise AssertionError("a bracket is not closed")


def parameters(listed: str) -> int:
    """How many parameters stand between two parentheses."""
    plain = listed
    while (smaller := re.sub(r"<[^<>]*>|\([^()]*\)|\{[^{}]*\}|\[[^\[\]]*\]", "", plain)) != plain:
        plain = smaller
    return plain.count(",") + 1 if plain.strip() not in ("", "void") else 0


def head_list(head: str) -> tuple[str, int] | None:
    """Name and number of parameters if ``head``, the text before a brace, is that of a function."""
    head = re.sub(r"^\s*(?:(?:public|protected|private)\s*:\s*)?", "", head)
    head = re.sub(r"^(?:template\s*<(?:[^<>]|<[^<>]*>)*>\s*)+", "", head)
    if _NOT_A_FUNCTION.search(head.partition("(")[0]) or head.rstrip().endswith("="):
        return None
    for found in _NAME.finditer(head):
        if found[1] not in _BEFORE_A_NAME:
            opened = found.end() - 1
            return found[1], parameters(head[opened + 1 : closing(head, opened)])
    return None


def functions(text: str) -> Iterator[Function]:
    """The functions of a source, members included; and the lambdas in them, for their parameters."""
    text = blanked(text)
    at = begin = 0
    while at < len(text):
        if text[at] == "{":
            if _INITIALISER.search(text[begin:at]):
                at = closing(text, at) + 1
                continue
            found = head_list(text[begin:at])
            if found is not None:
                end = closing(text, at)
                first = begin + len(text[begin:at]) - len(text[begin:at].lstrip())
                yield Function(found[0], text.count("\n", first, end) + 1, found[1])
                for inner in _LAMBDA.finditer(text, at, end):
                    taken = text[inner.end() + 1 : closing(text, inner.end())]
                    yield Function(f"lambda in {found[0]}", 0, parameters(taken))
                at = end
            begin = at + 1
        elif text[at] in ";}":
            begin = at + 1
        at += 1


def test_the_reader_finds_functions_and_counts_them() -> None:
    text = """
    #define LOOP(x) for (;;) { x
    namespace a {
    template <class T, std::enable_if_t<true, int> = 0>
    __attribute__((noinline)) std::map<int, int> put(const T& a, std::map<int, int> b /* , int c */,
                                                     int (*f)(int, int)) {
        const char* brace = "{,";
        call(a, [&](int x, float y) { return x; });
        if (a) {
        }
    }
    struct Point {
        int x{0}, y;
        explicit Point(int a, int b) : x{a}, y(b) {}
        bool operator()(int left) const { return left < x; }
    };
    constexpr int numbers[] = {1, 2};
    }
    """
    assert list(functions(text)) == [
        Function("put", 8, 3),
        Function("lambda in put", 0, 2),
        Function("Point", 1, 2),
        Function("operator()", 1, 1),
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(CSRC).as_posix())
def test_no_function_is_long_or_takes_many_parameters(path: Path) -> None:
    found = list(functions(path.read_text(encoding="utf-8")))
    assert [f for f in found if f.lines > 80] == []
    # what a CUDA kernel takes would count too: none of ours takes more than a few records
    assert [f for f in found if f.parameters > 8] == []


def test_the_reader_finds_most_of_the_core() -> None:
    assert sum(len(list(functions(path.read_text(encoding="utf-8")))) for path in SOURCES) > 400
