"""The settings of a run: typed, checked on construction, read from a preset, a YAML file or a mapping.

Every setting has its meaning beside it; ``efm-fast train --help`` and the run folder's config.yaml show the
same names. Lengths are in data units unless they are written as a multiple of s, the root mean square
distance between a charge of one plate and a charge of the other ("1.5 s").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from . import checks, yaml12
from .data.spec import as_spec, recorded
from .errors import InputError
from .extras import extra
from .presets import preset_path

with extra("train"):
    from pydantic import (
        BaseModel,
        ConfigDict,
        Field,
        StringConstraints,
        ValidationError,
        ValidationInfo,
        field_validator,
        model_validator,
    )

_IN_S = re.compile(r"^\s*((?=[\d.eE+-]*[1-9])\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*s\s*$")  # a number above 0
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)] | Annotated[str, StringConstraints(pattern=_IN_S)]


def length_in_data_units(length: float | str, s: float) -> float:
    """Resolve a length such as 6.0 or "1.5 s" where ``s`` is the rms distance between the plates' charges."""
    match = _IN_S.match(length) if isinstance(length, str) else None
    return float(match.group(1)) * s if match else float(length)


_LENGTHS = ("L", "points.nearest", "points.behind")
# Settings that only some choices use: setting -> {choice: values under which the setting is used}.
_ONLY_WITH: dict[str, dict[str, tuple[str, ...]]] = {
    "points.behind": {"points.strategy": ("flux",)},
    "points.noise": {"points.strategy": ("linear",)},
    "points.margin": {"points.strategy": ("box",)},
    "points.bank": {"points.strategy": ("lines",)},
    "points.refresh": {"points.strategy": ("lines",)},
    "target.charges": {"points.strategy": ("flux", "linear", "box", "custom")},
    "target.normalization": {
        "net.parametrisation": ("direct",),
        "points.strategy": ("linear", "box", "lines", "custom"),
    },
    "net.levels": {"net.backbone": ("unet",)},
}
_PLATES = {"plus", "minus"}
_RENAMED = {"sample.steps": "sample.forward_steps for the forward map, sample.max_steps for the full map"}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class PointsConfig(_Section):
    """Where the field is learned."""

    strategy: Literal["flux", "linear", "box", "lines", "custom"] = Field(
        default="flux", description="inter-plate points; custom: the strategy that was passed to train"
    )
    nearest: Length = Field(
        default="0.001 s",
        description="smallest distance from a plate: of flux points, and of heights that the network tells apart",
    )
    behind: Length | None = Field(
        default=None, description="flux: largest distance behind a plate; null: none"
    )
    noise: float = Field(default=0.0, ge=0, description="linear: standard deviation of the noise on x")
    margin: float = Field(default=0.0, ge=0, description="box: reach beyond the charges, data units")
    bank: PositiveInt = Field(default=2048, description="lines: charges per plate whose lines fill the bank")
    refresh: PositiveInt = Field(default=1000, description="lines: steps between fresh banks")


class TargetConfig(_Section):
    """What is learned there."""

    charges: PositiveInt = Field(
        1024, description="charges per plate and step, apart from the batch of points; lines have their bank"
    )
    normalization: Literal["superposition", "per_plate"] = Field(
        default="superposition",
        description="per_plate: the authors' published form, for parity (direct field, points other than flux)",
    )


class NetConfig(_Section):
    """Backbone and parametrisation."""

    backbone: Literal["mlp", "unet"] = Field(default="mlp", description="mlp for vectors, unet for images")
    parametrisation: Literal["plate_means", "direct"] = Field(
        default="plate_means", description="what it outputs"
    )
    width: PositiveInt = Field(
        default=256, description="mlp: units per layer; unet: channels of the first level"
    )
    depth: PositiveInt = Field(default=3, description="mlp: hidden layers; unet: blocks per level")
    levels: tuple[PositiveInt, ...] = Field(
        default=(1, 2, 2), strict=False, description="unet: channel factors"
    )


class TrainConfig(_Section):
    """The optimisation."""

    steps: PositiveInt = Field(default=8000, description="optimiser steps")
    batch: PositiveInt = Field(default=256, description="inter-plate points per step")
    lr: PositiveFloat = Field(1e-3, description="peak learning rate of AdamW, cosine to 0")
    warmup: int = Field(default=100, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(default=0.0, ge=0, description="of AdamW")
    clip: PositiveFloat = Field(default=1.0, description="largest norm of the gradient")
    ema: float = Field(
        default=0.999, ge=0, lt=1, description="decay of the averaged weights that sampling uses"
    )
    bf16: bool = Field(default=False, description="autocast the network to bfloat16")
    compile: bool = Field(default=False, description="torch.compile the network")
    workers: int = Field(default=0, ge=0, description="loader processes per plate")
    checkpoint_every: PositiveInt = Field(default=1000, description="steps between checkpoints")
    picture_every: PositiveInt = Field(default=2000, description="steps between sample pictures")
    log_every: PositiveInt = Field(default=50, description="steps between rows of metrics.jsonl")


class SampleConfig(_Section):
    """How samples are drawn from the learned field; ``sample`` can be asked for either map of any run."""

    map: Literal["full", "forward"] = Field(
        default="full", description="full stochastic map, or forward only"
    )
    margin: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="forward: share of L left out at each plate; a field that knows where its lines land jumps there",
    )
    landing: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="forward: share of L left out at the minus plate, if not margin",
    )
    forward_steps: PositiveInt = Field(default=40, description="forward: number of steps")
    step: PositiveFloat = Field(default=0.35, description="full: step over the distance to the charges")
    max_steps: PositiveInt = Field(default=200, description="full: lines that take more steps end unfinished")


class Config(_Section):
    """All settings of a run.

    A setting of an option that was not chosen, such as ``points.noise`` with flux points, has to keep its default.

    Raises:
        InputError: from :meth:`load`, naming the key, what was expected and what came.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(
        description="of the run and of its folder"
    )
    description: str = Field(default="", description="a line about the run, for people")
    seed: int = Field(default=0, ge=0, description="of everything random in the run")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    runs: str = Field(default="runs", description="folder in which the run folder is made")
    plus: dict[str, Any] = Field(
        description="data on the plate z = 0, such as moons or {name: digits, label: 3}; in Python also a tensor,"
        " an array, a torch Dataset or a Source"
    )
    minus: dict[str, Any] = Field(description="data on the plate z = L")
    imports: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="modules that registered the sources of plus and minus; written by train, never imported from here",
    )
    L: Length = Field(default="1 s", description="distance between the plates")
    points: PointsConfig = Field(default=PointsConfig(), description="where the field is learned")
    target: TargetConfig = Field(default=TargetConfig(), description="what is learned there")
    net: NetConfig = Field(default=NetConfig(), description="backbone and parametrisation")
    train: TrainConfig = Field(default=TrainConfig(), description="the optimisation")
    sample: SampleConfig = Field(default=SampleConfig(), description="how samples are drawn")

    @classmethod
    def load(
        cls, source: Config | Mapping[str, Any] | str | Path, overrides: Mapping[str, Any] | None = None
    ) -> Config:
        """Read a config from a preset's name, a YAML path, a mapping or a Config, then apply ``overrides``.

        Settings of ``source`` that belong to an option which ``overrides`` replace by another are dropped.

        Args:
            source: what to read.
            overrides: dotted keys and their values, such as {"train.steps": 2000}.

        Raises:
            InputError: an unknown preset or file, or a setting that does not fit; the text names the key.
        """
        changes = settings_in(overrides)
        try:
            raw = _raw(source)
            used = [key for key in _ONLY_WITH if not _idle(key, lambda key: _get(raw, key))]
            for key, value in changes.items():
                _set(raw, key, _deep_copy(value))
            for key in used:
                if _idle(key, lambda key: _get(raw, key)) and not any(
                    f"{key}.".startswith(f"{c}.") for c in changes
                ):
                    _drop(raw, key)
            return cls._checked(raw)
        except RecursionError:
            raise InputError("cfg: its mappings are nested too deeply, or one holds itself") from None

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read the config.yaml of a run folder, as this version or an earlier one wrote it.

        Raises:
            InputError: it cannot be read, or a setting does not fit.
        """
        raw = _raw(path)
        sampling = raw.get("sample")
        if isinstance(sampling, dict) and "steps" in sampling:
            # before sample.steps got two names, files held every setting, those that nothing used too
            sampling["forward_steps"] = steps = sampling.pop("steps")
            if sampling.get("map") == "full":
                sampling["max_steps"] = steps
            for key in [key for key in _ONLY_WITH if _idle(key, lambda key: _get(raw, key))]:
                _drop(raw, key)
        return cls._checked(raw)

    @classmethod
    def _checked(cls, raw: dict[str, Any]) -> Config:
        try:
            return cls.model_validate(raw)
        except ValidationError as problem:
            raise InputError(_explain(problem)) from None

    @field_validator("plus", "minus", mode="before")
    @classmethod
    def _as_spec(cls, value: object, info: ValidationInfo) -> dict[str, Any]:
        return as_spec(str(info.field_name), value)

    @model_validator(mode="after")
    def _refuse_idle_settings(self) -> Config:
        settings = self.model_dump(exclude=_PLATES)
        for key in _ONLY_WITH:
            reason = _idle(key, lambda key: _get(settings, key))
            if reason and _get(settings, key) != _get({}, key):
                raise InputError(f"{key}: {reason}")
        return self

    def to_yaml(self) -> str:
        """The config as YAML: every setting that the run uses; data in memory as a record of them.

        Raises:
            InputError: a setting of a source that can neither be written out nor recorded.
        """
        settings = self.plain()
        for key in _ONLY_WITH:
            if _idle(key, lambda key: _get(settings, key)):
                _drop(settings, key)
        return yaml12.dump(settings)

    def plain(self) -> dict[str, Any]:
        """Every setting as plain data, in their order; data in memory as a record of them.

        Raises:
            InputError: a setting of a source that can neither be written out nor recorded.
        """
        plates = {plate: recorded(plate, getattr(self, plate)) for plate in ("plus", "minus")}
        written = {**self.model_dump(mode="json", exclude=_PLATES), **plates}
        return {key: written[key] for key in Config.model_fields}


def _raw(source: Config | Mapping[str, Any] | str | Path) -> dict[str, Any]:
    if isinstance(source, Config):
        # data in memory are handed on as they are
        return {**source.model_dump(mode="json", exclude=_PLATES), "plus": source.plus, "minus": source.minus}
    if isinstance(source, Mapping):
        return _deep_copy(source)
    if not isinstance(source, str | Path):
        raise InputError(
            f"cfg: expected a preset's name, a YAML path, a mapping or a Config, got {type(source).__name__}"
        )
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        path = preset_path(str(source))
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as problem:  # ValueError: a path with a null byte
        reason = getattr(problem, "strerror", None) or problem
        raise InputError(f"cfg: cannot read {checks.place(path)}: {reason}") from None
    loaded = yaml12.parse(f"cfg: {str(path)!r}", content)
    if not isinstance(loaded, dict):
        raise InputError(f"cfg: {str(path)!r}: expected a mapping of settings, got {type(loaded).__name__}")
    return loaded


def settings_in(overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of ``overrides``, dotted keys and their values.

    Raises:
        InputError: something else.
    """
    if overrides is None:
        return {}
    checks.instance("overrides", overrides, Mapping, 'a mapping such as {"train.steps": 2000}')
    for key in overrides:
        checks.instance("overrides", key, str, "dotted keys such as train.steps")
    return dict(overrides)


def _deep_copy(value: Any) -> Any:
    return {k: _deep_copy(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _get(raw: Mapping[str, Any], dotted: str) -> Any:
    """The setting ``section.key`` of ``raw``, or its default."""
    section, key = dotted.split(".")
    given = raw.get(section)
    default = getattr(Config.model_fields[section].default, key)
    return given.get(key, default) if isinstance(given, Mapping) else default


def _drop(raw: dict[str, Any], dotted: str) -> None:
    section, key = dotted.split(".")
    if isinstance(raw.get(section), dict):
        raw[section].pop(key, None)


def _idle(key: str, choice: Callable[[str], Any]) -> str | None:
    """Why the setting ``key`` has no effect under these choices, or None if it has one."""
    for chooser, values in _ONLY_WITH[key].items():
        if choice(chooser) not in values:
            return f"has an effect only with {chooser} = {' or '.join(values)}, got {choice(chooser)}"
    return None


def _set(raw: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        if parent in _PLATES and parent in raw:
            raw[parent] = as_spec(parent, raw[parent])
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise InputError(f"{dotted}: {parent} is a single setting and has no parts")
    raw[last] = value


def _explain(problem: ValidationError) -> str:
    """One line for the first wrong setting: its key, what was expected, what came."""
    errors = problem.errors()
    # a misspelt key explains a missing one
    first = next((e for e in errors if e["type"] in ("extra_forbidden", "invalid_key")), errors[0])
    if isinstance(cause := first.get("ctx", {}).get("error"), InputError):
        return str(cause)
    got = checks.describe(first["input"])
    # the last parts of a union's location name its branches, not keys
    key = ".".join(str(p) for p in first["loc"] if p != "float" and not str(p).startswith("constrained-"))
    if key in _RENAMED:
        return f"{key}: no such setting any more; use {_RENAMED[key]}"
    key = key if len(key) <= 80 else f"{key[:77]}..."
    if first["type"] == "extra_forbidden":
        return f"{key}: no such setting; expected one of {', '.join(_known_keys(first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{key}: expected a value, got none"
    if key in _LENGTHS:
        return f"{key}: expected a number above 0 or a multiple of s such as '1.5 s', got {got}"
    if first["type"] in ("bool_type", "invalid_key"):
        expected = "true or false" if first["type"] == "bool_type" else "names of settings"
    else:
        expected = first["msg"].removeprefix("Input should be ").removeprefix("String should ")
    return f"{key}: expected {expected}, got {got}"


def _known_keys(parents: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for parent in parents:
        model = model.model_fields[str(parent)].annotation  # type: ignore[assignment]
    return list(model.model_fields)
