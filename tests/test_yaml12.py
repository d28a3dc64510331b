"""Settings are read as YAML 1.2 writes them, and a hostile file is one line, not a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from efm_fast import yaml12
from efm_fast.config import Config
from efm_fast.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E-3", 1e-3),
        ("-2.5e+3", -2500),
        ("-2.5e-3", -0.0025),
        (".5", 0.5),
        ("3.", 3.0),
        ("1e4", 10_000),
        ("1.5e3", 1_500),
        ("1e22", 1e22),
        ("17", 17),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-5", -5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        (".inf", float("inf")),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0b11", "0b11"),
        ("'1e-3'", "1e-3"),
        ("1.5 s", "1.5 s"),
        ("{name: digits, label: 3}", {"name": "digits", "label": 3}),
        ("{a: &x [1], b: *x}", {"a": [1], "b": [1]}),
        ("{a: &x {p: 1}, b: {<<: *x, q: 2}}", {"a": {"p": 1}, "b": {"p": 1, "q": 2}}),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = yaml12.parse("text", text)
    assert found == value
    assert type(found) is type(value)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (b"name: caf\xe9\n", "not UTF-8"),
    "UTF-16": ("name: a".encode("utf-16"), "not UTF-8"),
    "nested lists": (b"[" * 20_000, "nested too deeply"),
    "nested mappings": (b"{a: " * 20_000 + b"}" * 20_000, "nested too deeply"),
    "nested blocks": (b"- " * 20_000 + b"x", "nested too deeply"),
    "billion laughs": (LAUGHS.encode(), "aliases"),
    "merged laughs": (
        ("a: &a {x: 1}\n" + f"b: &b {{<<: [{', '.join(['*a'] * 2000)}]}}\n" * 60).encode(),
        "",
    ),
    "an alias of itself": (b"a: &a [*a]", "alias"),
    "control characters": (b"name: a\x00b", "not YAML"),
    "a tag": (b"name: !!python/object/apply:os.system [ls]", "not YAML"),
    "a key twice": (b"train: {steps: 1, lr: 0.1, steps: 2}", "steps"),
    "a list as key": (b"{[1]: 2}", "not YAML"),
    "a number of 5000 digits": (b"seed: " + b"9" * 5000, "not YAML"),
    "two documents": (b"name: a\n---\nname: b", "not YAML"),
    "long": (b"name: a # " + b"x" * 3_000_000, "larger than"),
    "no mapping": (b"3", "expected a mapping"),
    "a number as key": (b"{1: 2}", "1"),
    "a key of nothing": (b"{~: 2}", "None"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_short_line(name: str, tmp_path: Path) -> None:
    content, part = HOSTILE[name]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Config.load(path)
    message = str(caught.value)
    assert part in message, message
    assert "\n" not in message
    assert len(message) < 300 + len(str(path)), message


def test_a_nested_python_mapping_is_one_line_too() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    ring: dict[str, Any] = {}
    ring["a"] = ring
    for value in (deep, ring):
        with pytest.raises(InputError, match="nested too deeply"):
            Config.load({"name": "a", "plus": value, "minus": "moons"})


@pytest.mark.parametrize(
    "name", ["1e3", "1e-3", "yes", "null", "0o17", "017", "1_000", "2024-01-01", "1.5", "true"]
)
def test_what_is_written_is_read_back(name: str) -> None:
    values = {"name": name, "lr": 1e-5, "large": 1e22, "steps": 10_000, "on": True, "list": [1, 2.5]}
    assert yaml12.parse("text", yaml12.dump(values)) == values


def test_a_learning_rate_without_a_dot_is_a_number() -> None:
    settings = yaml12.parse("settings", "{train.lr: 1e-3, train.steps: 1e4, method.L: 2e1}")
    config = Config.load("gaussian_to_swissroll", settings)
    assert config.train.lr == 1e-3
    assert config.train.steps == 10_000
    assert config.method.L == 20
