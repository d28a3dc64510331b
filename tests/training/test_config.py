"""A wrong setting names its key, what was expected and what came."""

from __future__ import annotations

from pathlib import Path

import pytest

from efm_fast.config import Config, length_in_data_units
from efm_fast.errors import InputError
from efm_fast.presets import preset_names


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_named_after_its_file(name: str) -> None:
    config = Config.load(name)
    assert config.name == name
    assert config.description
    assert Config.load({**config.model_dump(mode="json")}) == config


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("train.stepz", 1, ["train.stepz", "no such setting", "steps"]),
        ("train.steps", "many", ["train.steps", "integer", "'many'"]),
        ("train.steps", 0, ["train.steps", "greater than 0", "0"]),
        ("train.steps", True, ["train.steps", "integer", "True"]),
        ("train.lr", float("nan"), ["train.lr", "nan"]),
        ("points.strategy", "fluxx", ["points.strategy", "'flux'", "'fluxx'"]),
        ("L", -1.0, ["L", "above 0", "-1.0"]),
        ("L", "2 km", ["L", "multiple of s", "'2 km'"]),
        ("L", "0 s", ["L", "multiple of s", "'0 s'"]),
        ("points.nearest", "x", ["points.nearest", "multiple of s", "'x'"]),
        ("name", "a/b", ["name", "match", "'a/b'"]),
        ("seed", -1, ["seed", "0", "-1"]),
        ("train.steps.x", 1, ["train.steps.x", "no parts"]),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: object, parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        Config.load("digits_3_to_2", {key: value})
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean digits_3_to_2"):
        Config.load("digits_3_2")


def test_a_file_that_is_not_a_config_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for text in ("[1, 2]", "a: [", ""):
        path.write_text(text)
        with pytest.raises(InputError, match=r"bad\.yaml"):
            Config.load(path)
    with pytest.raises(InputError, match="cannot read"):
        Config.load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="got int"):
        Config.load(3)  # type: ignore[arg-type]


def test_a_config_survives_its_yaml(tmp_path: Path) -> None:
    config = Config.load("cifar10_generation", {"train.steps": 5})
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert Config.load(path) == config


def test_lengths_in_s() -> None:
    assert length_in_data_units("1.5 s", 4.0) == 6.0
    assert length_in_data_units("1e-3s", 2.0) == pytest.approx(2e-3)
    assert length_in_data_units(2.5, 4.0) == 2.5
