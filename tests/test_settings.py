"""The help of the settings is made of the config, and says something of each."""

from __future__ import annotations

from typing import Any

import pytest

from efm_fast import yaml12
from efm_fast.config import Config
from efm_fast.settings import settings, settings_help


def test_every_setting_says_what_it_means() -> None:
    silent = [row.key for row in settings() if len(row.meaning) < 5]
    assert not silent


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        plate = key in ("plus", "minus")
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) and not plate else {prefix + key: value}
        )
    return found


CHOSEN = {
    "": {},
    "method.name=field_matching method.points.strategy=lines": {"method.points.strategy": "lines"},
    "method.name=flow_matching": {"method": "flow_matching"},
    "method.name=pfgm": {"method": "pfgm"},
    "net.backbone=unet": {"net": "unet"},
}


@pytest.mark.parametrize("option", CHOSEN)
def test_every_setting_of_what_is_chosen_is_listed_with_its_default(option: str) -> None:
    minimal = {"name": "a", "plus": {"name": "moons"}, "minus": {"name": "moons"}}
    known = flat(Config.load(minimal, CHOSEN[option]).model_dump(mode="json"))
    default = {"method.name=field_matching", "method.points.strategy=flux", "net.backbone=mlp"}
    chosen = {part for part in option.split() if part}
    tags = {part.split("=")[0] for part in chosen}
    chosen |= {part for part in default if part.split("=")[0] not in tags}
    rows = {row.key: row for row in settings() if set(row.only_with.split()) <= chosen}
    assert list(known) == list(rows)
    text = settings_help()
    for key, value in known.items():
        assert f"  {key}" in text
        if key in ("name", "plus", "minus"):
            assert rows[key].default is None
        elif (
            rows[key].default
            and key.rpartition(".")[2] not in ("backbone", "strategy")
            and key != "method.name"
        ):
            assert yaml12.parse(key, rows[key].default) == value, key
    assert max(len(line) for line in text.splitlines()) <= 110
