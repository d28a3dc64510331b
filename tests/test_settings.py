"""The help of the settings is made of the config, and says something of each."""

from __future__ import annotations

from efm_fast import yaml12
from efm_fast.config import Config
from efm_fast.settings import settings, settings_help


def test_every_setting_says_what_it_means() -> None:
    silent = [row.key for row in settings() if len(row.meaning) < 5]
    assert not silent


def test_every_setting_is_listed_once_with_its_default() -> None:
    config = Config.load({"name": "a", "plus": {"name": "moons"}, "minus": {"name": "moons"}})
    rows = {row.key: row for row in settings()}
    known = []
    for key, value in config.model_dump(mode="json").items():
        section = isinstance(value, dict) and key not in ("plus", "minus")
        known += [(f"{key}.{k}", v) for k, v in value.items()] if section else [(key, value)]
    assert [key for key, _ in known] == list(rows)
    text = settings_help()
    for key, value in known:
        assert f"  {key}" in text
        default = rows[key].default
        if key in ("name", "plus", "minus"):
            assert default is None
        elif default:
            assert yaml12.parse(key, default) == value, key
    assert max(len(line) for line in text.splitlines()) <= 110
