"""A wrong setting names its key, what was expected and what came."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from efm_fast.config import Config, length_in_data_units
from efm_fast.data import step_generator
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
        ("sample.steps", 5, ["sample.steps", "sample.forward_steps", "sample.max_steps"]),
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


IDLE = {
    "points.behind": (60.0, {"points.strategy": "linear"}),
    "points.noise": (0.5, {"points.strategy": "flux"}),
    "points.margin": (1.0, {"points.strategy": "lines"}),
    "points.bank": (32, {"points.strategy": "box"}),
    "points.refresh": (15, {"points.strategy": "custom"}),
    "target.charges": (64, {"points.strategy": "lines"}),
    "target.normalization": (
        "per_plate",
        {"net.parametrisation": "plate_means", "points.strategy": "linear"},
    ),
    "net.levels": ([1, 2], {"net.backbone": "mlp"}),
}
MINIMAL = {"name": "minimal", "plus": {"name": "gaussian"}, "minus": {"name": "moons"}}


@pytest.mark.parametrize("key", IDLE)
def test_a_setting_of_an_option_that_was_not_chosen_is_refused(key: str) -> None:
    value, chosen = IDLE[key]
    with pytest.raises(InputError, match=f"^{key}: has an effect only with .*, got ") as caught:
        Config.load(MINIMAL, {**chosen, key: value})
    assert "\n" not in str(caught.value)
    config = Config.load(MINIMAL, chosen)
    section, name = key.split(".")
    default = getattr(getattr(config, section), name)
    assert Config.load(MINIMAL, {**chosen, key: default}) == config, "a default changes nothing"
    assert name not in yaml.safe_load(config.to_yaml())[section], "config.yaml holds what the run uses"


def test_per_plate_is_refused_at_flux_points() -> None:
    with pytest.raises(InputError, match=r"target.normalization: .* points.strategy = linear or box"):
        Config.load(MINIMAL, {"net.parametrisation": "direct", "target.normalization": "per_plate"})


OTHER = {
    "points": {"nearest": 0.02, "behind": 50.0, "noise": 0.5, "margin": 0.5, "bank": 24, "refresh": 2},
    "target": {"charges": 24, "normalization": "per_plate"},
    "net": {"width": 16, "depth": 2, "levels": [1, 2]},
}


def loss_at_step_three(changes: dict[str, object]) -> float:
    """The loss of a tiny network, which every setting that has an effect has to change."""
    from efm_fast.training import loop

    small = {"net.width": 8, "net.depth": 1, "train.batch": 64, "L": 6.0, "points.nearest": 0.01}
    config = Config.load(MINIMAL, {**small, **changes})
    sources = loop.make_sources(config)
    geometry = loop.measure(config, *sources)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field = loop.build_field(config, geometry)
    strategy = loop.make_strategy(config, geometry, *sources)
    rows = [source.draw(config.target.charges, step_generator(0, 3, k)) for k, source in enumerate(sources)]
    with torch.no_grad():
        return float(loop._loss(config, field, field, strategy, rows, 3))


@pytest.mark.parametrize("parametrisation", ["plate_means", "direct"])
@pytest.mark.parametrize("strategy", ["flux", "linear", "box", "lines"])
def test_every_setting_has_an_effect_or_is_refused(strategy: str, parametrisation: str) -> None:
    chosen: dict[str, object] = {"points.strategy": strategy, "net.parametrisation": parametrisation}
    if strategy == "lines":
        chosen |= {"points.bank": 32}
    before = loss_at_step_three(chosen)
    for section, values in OTHER.items():
        known = set(Config.model_fields[section].annotation.model_fields)
        assert known - set(values) <= {"strategy", "parametrisation", "backbone"}, (
            "a new setting needs a value here"
        )
        for key, value in values.items():
            try:
                changed = loss_at_step_three({**chosen, f"{section}.{key}": value})
            except InputError as refused:
                assert str(refused).startswith(f"{section}.{key}: has an effect only with")  # noqa: PT017
            else:
                assert changed != before, f"{section}.{key} has no effect"


def test_settings_of_a_replaced_option_go_with_it() -> None:
    config = Config.load("gaussian_to_swissroll", {"points.strategy": "linear"})
    assert config.points.behind is None
    with pytest.raises(InputError, match=r"points.behind: has an effect only"):
        Config.load("gaussian_to_swissroll", {"points.strategy": "linear", "points.behind": 60.0})
    unet = Config.load("cifar10_generation", {"net": {"backbone": "mlp"}})
    assert Config.load("cifar10_generation", {"net.backbone": "mlp"}).net.levels == unet.net.levels


OLD = """
name: old
plus: {name: gaussian}
minus: {name: moons}
points: {strategy: flux, nearest: 0.01 s, behind: null, noise: 0.5, margin: 0.0, bank: 2048, refresh: 1000}
target: {charges: 1024, normalization: superposition}
sample: {map: MAP, margin: 0.05, landing: null, steps: 7, step: 0.35}
"""


@pytest.mark.parametrize(("map", "most"), [("full", 7), ("forward", 200)])
def test_the_config_of_an_older_run_is_read_in_todays_names(tmp_path: Path, map: str, most: int) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(OLD.replace("MAP", map))
    config = Config.read(path)
    assert (config.sample.forward_steps, config.sample.max_steps) == (7, most)
    assert config.points.noise == 0.0, "noise had no effect on flux points"
    with pytest.raises(InputError, match=r"sample\.steps: no such setting any more"):
        Config.load(path)
