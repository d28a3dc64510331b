"""A wrong setting names its key, what was expected and what came."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from efm_fast.config import Config
from efm_fast.data import step_generator
from efm_fast.errors import InputError
from efm_fast.presets import preset_names
from efm_fast.sections import length_in_data_units


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
        ("method.points.strategy", "fluxx", ["method.points: expected strategy", "flux, linear", "'fluxx'"]),
        ("method.L", -1.0, ["L", "above 0", "-1.0"]),
        ("method.L", "2 km", ["L", "multiple of s", "'2 km'"]),
        ("method.L", "0 s", ["L", "multiple of s", "'0 s'"]),
        ("method.points.nearest", "x", ["method.points.nearest", "multiple of s", "'x'"]),
        ("name", "a/b", ["name", "match", "'a/b'"]),
        ("seed", -1, ["seed", "0", "-1"]),
        ("train.steps.x", 1, ["train.steps.x", "no parts"]),
        (
            "method",
            "pfgn",
            ["method: expected name", "flow_matching, interaction_field, pfgm, pfgm++", "'pfgn'"],
        ),
        ("method", 3, ["method: expected a name or a mapping", "3"]),
        ("method.L.x", 3, ["method.L.x", "no parts"]),
        ("method.sample.map", "ful", ["method.sample.map", "'full' or 'forward'", "'ful'"]),
        ("net", "mpl", ["net: expected backbone", "mlp, unet, diffusers, or my_module:MyClass", "'mpl'"]),
        ("L", 3.0, ["L: no such setting any more", "method.L"]),
        ("points.nearest", 3.0, ["points: no such setting any more", "method.points"]),
        (
            "method.sample.steps",
            5,
            ["method.sample.steps", "method.sample.forward_steps", "method.sample.max_steps"],
        ),
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


FOREIGN = {
    "method.points.behind": (60.0, {"method.points.strategy": "linear"}),
    "method.points.noise": (0.5, {"method.points.strategy": "flux"}),
    "method.points.margin": (1.0, {"method.points.strategy": "lines"}),
    "method.points.bank": (32, {"method.points.strategy": "box"}),
    "method.points.refresh": (15, {"method.points.strategy": "custom"}),
    "method.points.charges": (64, {"method.points.strategy": "lines"}),
    "method.pairs": ("independent", {"method.name": "pfgm"}),
    "method.L": (3.0, {"method.name": "flow_matching"}),
    "method.sample.map": ("full", {"method.name": "flow_matching"}),
    "net.levels": ([1, 2], {"net.backbone": "mlp"}),
}
MINIMAL = {"name": "minimal", "plus": {"name": "gaussian"}, "minus": {"name": "moons"}}


@pytest.mark.parametrize("key", FOREIGN)
def test_a_setting_of_an_option_that_was_not_chosen_is_refused(key: str) -> None:
    value, chosen = FOREIGN[key]
    (tag, option), *_ = chosen.items()
    with pytest.raises(InputError, match=f"^{key}: no such setting with {tag.split('.')[-1]} = {option}; "):
        Config.load(MINIMAL, {**chosen, key: value})
    written: dict[str, object] = yaml.safe_load(Config.load(MINIMAL, chosen).to_yaml())
    *sections, name = key.split(".")
    for section in sections:
        written = written.get(section, {})  # type: ignore[assignment]
    assert name not in written, "config.yaml holds the settings of what was chosen"


@pytest.mark.parametrize(
    "chosen",
    [
        {"method.parametrisation": "direct"},
        {"method.parametrisation": "plate_means", "method.points.strategy": "linear"},
    ],
    ids=["flux points", "plate means"],
)
def test_per_plate_is_refused_where_it_has_no_effect(chosen: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"^method.normalization: per_plate has no effect with method"):
        Config.load(MINIMAL, {**chosen, "method.normalization": "per_plate"})


OTHER = {
    "method.points": {
        "nearest": 0.02,
        "behind": 50.0,
        "noise": 0.5,
        "margin": 0.5,
        "bank": 24,
        "refresh": 2,
        "charges": 24,
    },
    "method": {
        "L": 5.0,
        "normalization": "per_plate",
        "pairs": "optimal_transport",
        "sigma": 0.3,
        "charges": 24,
        "tau": 0.05,
        "largest_power": 100.0,
        "z_max": 20.0,
        "z_min": 1e-2,
    },
    "net": {"width": 16, "depth": 2, "levels": [1, 2]},
}
"""Another value for every setting that a loss depends on."""


def loss_at_step_three(changes: dict[str, object]) -> float:
    """The loss of a tiny network, which every setting that has an effect has to change."""
    from efm_fast.training import loop

    small = {"net.width": 8, "net.depth": 1, "train.batch": 16}
    config = Config.load(MINIMAL, {**small, **changes})
    sources = loop.make_sources(config)
    method = loop.make_method(
        config.method, loop.Problem(loop.measure(config, *sources), *sources, config.seed)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field = loop.untrained(config, method)
    rows = [source.draw(method.charges(16), step_generator(0, 3, k)) for k, source in enumerate(sources)]
    with torch.no_grad():
        return float(loop._loss(config, field, field, method, rows, 3))


METHODS = [
    *(
        {"method.points.strategy": strategy, "method.parametrisation": parametrisation}
        | ({"method.points.bank": 32} if strategy == "lines" else {})
        for strategy in ("flux", "linear", "box", "lines")
        for parametrisation in ("plate_means", "direct")
    ),
    {"method.name": "flow_matching"},
    {"method.name": "pfgm"},
]


@pytest.mark.parametrize("chosen", METHODS, ids=lambda chosen: "-".join(map(str, chosen.values())))
def test_every_setting_has_an_effect_or_is_refused(chosen: dict[str, object]) -> None:
    before = loss_at_step_three(chosen)
    written = yaml.safe_load(Config.load(MINIMAL, chosen).to_yaml())
    for path, values in OTHER.items():
        section = written["method"].get("points", {}) if path == "method.points" else written[path]
        apart = {"name", "points", "sample", "strategy", "parametrisation", "backbone"}
        assert set(section) - set(values) <= apart, "a new setting needs a value here"
        for key, value in values.items():
            try:
                changed = loss_at_step_three({**chosen, f"{path}.{key}": value})
            except InputError as refused:
                assert key not in section or key == "normalization", refused  # noqa: PT017
            else:
                assert changed != before, f"{path}.{key} has no effect"


def test_settings_of_a_replaced_option_go_with_it() -> None:
    config = Config.load("gaussian_to_swissroll", {"method.points.strategy": "linear"})
    assert config.method.points.nearest == 0.01, "both have it"
    with pytest.raises(InputError, match=r"points.behind: no such setting with strategy = linear"):
        Config.load(
            "gaussian_to_swissroll", {"method.points.strategy": "linear", "method.points.behind": 60.0}
        )
    assert Config.load("cifar10_generation", {"net.backbone": "mlp"}).net.width == 128, "both have it"


def test_settings_of_another_method_go_with_it_and_a_name_alone_will_do() -> None:
    changes = {"method.name": "flow_matching", "method.sample.steps": 7}
    for flow in (
        Config.load("digits_3_to_2", changes),
        Config.load("digits_3_to_2", changes | {"method.name": "flow_matching"}),
    ):
        assert flow.method.sample.steps == 7
        assert Config.load(flow) == flow
    assert Config.load("digits_3_to_2", {"method": "pfgm"}).method.z_max == 40.0
    same = Config.load("digits_3_to_2", {"method.name": "field_matching"})
    assert same == Config.load("digits_3_to_2"), "the method that it is already"


OLD = """
name: old
plus: {name: gaussian}
minus: {name: moons}
points: {strategy: flux, nearest: 0.01 s, behind: null, noise: 0.5, margin: 0.0, bank: 2048, refresh: 1000}
target: {charges: 24, normalization: superposition}
sample: {map: MAP, margin: 0.05, landing: null, steps: 7, step: 0.35}
"""


@pytest.mark.parametrize(("map", "most"), [("full", 7), ("forward", 200)])
def test_the_config_of_an_older_run_is_read_in_todays_names(tmp_path: Path, map: str, most: int) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(OLD.replace("MAP", map))
    config = Config.read(path)
    assert (config.method.sample.forward_steps, config.method.sample.max_steps) == (7, most)
    assert (config.method.points.strategy, config.method.points.charges) == ("flux", 24)
    with pytest.raises(InputError, match=r"points: no such setting any more; use method.points"):
        Config.load(path)


OLDER = """
name: old
plus: {name: gaussian}
minus: {name: moons}
L: 4.0
points: {strategy: STRATEGY, nearest: 0.01 s, ONLY}
target: {charges: 24, normalization: superposition}
net: {backbone: mlp, parametrisation: direct, width: 8, depth: 1}
sample: {map: full, margin: 0.05, landing: null, forward_steps: 7, step: 0.35, max_steps: 9}
"""


@pytest.mark.parametrize(
    ("strategy", "only"),
    [
        ("flux", "behind: 60.0"),
        ("linear", "noise: 0.1"),
        ("box", "margin: 0.2"),
        ("lines", "bank: 16, refresh: 7"),
    ],
)
def test_every_setting_of_version_0_1_has_its_place(tmp_path: Path, strategy: str, only: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(OLDER.replace("STRATEGY", strategy).replace("ONLY", only))
    method = Config.read(path).method.model_dump()
    key, value = only.split(",")[0].split(": ")
    assert method["points"][key] == float(value)
    assert method["points"].get("charges", 24) == 24
    assert (method["L"], method["parametrisation"], method["sample"]["max_steps"]) == (4.0, "direct", 9)


def test_a_whole_section_as_an_override_keeps_all_of_its_settings() -> None:
    pairs = {"kind": "whole_set", "rows": 7}
    method = {"name": "flow_matching", "pairs": pairs, "sample": {"solver": "multistep"}}
    config = Config.load("digits_3_to_2", {"method": method})
    assert (config.method.pairs.kind, config.method.pairs.rows) == ("whole_set", 7)
    assert config.method.sample.solver == "multistep"
    assert Config.load("digits_3_to_2", {"net": "unet"}).net.width == 256  # nothing of the preset's stays
