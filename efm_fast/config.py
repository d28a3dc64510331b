"""The settings of a run: typed, checked on construction, read from a preset, a YAML file or a mapping.

Every setting has its meaning beside it; ``efm-fast train --help`` and the run folder's config.yaml show the
same names. Lengths are in data units unless they are written as a multiple of s, the root mean square
distance between a charge of one plate and a charge of the other ("1.5 s").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from . import checks, yaml12
from .data.spec import as_spec, recorded
from .errors import InputError
from .extras import extra
from .methods import OneMethod
from .nets import Net
from .presets import preset_path
from .sections import (
    FROM_RUN_FOLDER,
    PositiveFloat,
    PositiveInt,
    Section,
    drop_other_options,
    explain,
    written_out,
)

with extra("train"):
    from pydantic import Field, StringConstraints, ValidationError, ValidationInfo, field_validator

_PLATES = {"plus", "minus"}
_RENAMED = {
    "L": "method.L",
    "points": "method.points",
    "target": "method.points.charges and method.normalization",
    "net.parametrisation": "method.parametrisation",
    "sample": "method.sample",
    "method.sample.steps": "method.sample.forward_steps for the forward map, method.sample.max_steps for the full map",
}


class TrainConfig(Section):
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
    accumulate: PositiveInt = Field(
        default=1, description="backward passes per step, of a part of the batch each; saves memory"
    )
    timeout: PositiveFloat = Field(
        default=600.0, description="many processes: seconds after which one that does not answer ends the job"
    )
    sharding: Literal["none", "fsdp"] = Field(
        default="none",
        description="many processes: fsdp keeps only a part of the weights, the average and the moments on each",
    )
    async_checkpoint: bool = Field(default=False, description="write a checkpoint while training goes on")
    workers: int = Field(default=0, ge=0, description="loader processes per plate")
    checkpoint_every: PositiveInt = Field(default=1000, description="steps between checkpoints")
    picture_every: PositiveInt = Field(default=2000, description="steps between sample pictures")
    log_every: PositiveInt = Field(default=50, description="steps between rows of metrics.jsonl")


class Config(Section):
    """All settings of a run.

    The section ``method`` has the settings of the method that it names, and ``net`` those of the network.

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
    method: OneMethod = Field(default="field_matching", validate_default=True)
    net: Net = Field(default="mlp", validate_default=True)
    train: TrainConfig = Field(default=TrainConfig(), description="the optimisation")

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
            written_out(cls, raw)
            before = _deep_copy(raw)
            for key, value in changes.items():
                _set(raw, key, _deep_copy(value))
            written_out(cls, raw)
            drop_other_options(cls, before, raw, set(changes))
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
        if "method" not in raw:
            raw = _of_version_0_1(raw)
        return cls.of_plain(raw)

    @classmethod
    def of_plain(cls, raw: dict[str, Any]) -> Config:
        """The config whose :meth:`plain` is ``raw``; no module that it names is imported.

        Raises:
            InputError: a setting does not fit.
        """
        return cls._checked(raw, FROM_RUN_FOLDER)

    @classmethod
    def _checked(cls, raw: dict[str, Any], context: dict[str, Any] | None = None) -> Config:
        try:
            return cls.model_validate(raw, context=context)
        except ValidationError as problem:
            raise InputError(explain(problem, cls, _RENAMED)) from None

    @field_validator("plus", "minus", mode="before")
    @classmethod
    def _as_spec(cls, value: object, info: ValidationInfo) -> dict[str, Any]:
        return as_spec(str(info.field_name), value)

    def to_yaml(self) -> str:
        """The config as YAML: every setting that the run uses; data in memory as a record of them.

        Raises:
            InputError: a setting of a source that can neither be written out nor recorded.
        """
        return yaml12.dump(self.plain())

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


def _set(raw: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        if parent in _PLATES and parent in raw:
            raw[parent] = as_spec(parent, raw[parent])
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise InputError(f"{dotted}: {parent} is a single setting and has no parts")
    raw[last] = value


def _of_version_0_1(raw: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run folder from when field matching was the only method, in today's places."""
    old = _deep_copy(raw)
    points, target, net, sampling = (old.pop(key, {}) for key in ("points", "target", "net", "sample"))
    if not all(isinstance(section, dict) for section in (points, target, net, sampling)):
        raise InputError("config.yaml: expected mappings under points, target, net and sample")
    if "steps" in sampling:
        # before sample.steps got two names, files held every setting, those that nothing used too
        sampling["forward_steps"] = steps = sampling.pop("steps")
        if sampling.get("map") == "full":
            sampling["max_steps"] = steps
        used = {
            "flux": {"behind"},
            "linear": {"noise"},
            "box": {"margin"},
            "lines": {"bank", "refresh"},
        }.get(points.get("strategy", "flux"), set())
        points = {key: value for key, value in points.items() if key in used | {"strategy", "nearest"}}
        if net.get("backbone", "mlp") == "mlp":
            net.pop("levels", None)
    if "charges" in target and points.get("strategy") != "lines":
        points["charges"] = target["charges"]
    method = {"name": "field_matching", "points": points, "sample": sampling}
    if "L" in old:
        method["L"] = old.pop("L")
    if "parametrisation" in net:
        method["parametrisation"] = net.pop("parametrisation")
    if method.get("parametrisation") == "direct" and points.get("strategy", "flux") != "flux":
        method["normalization"] = target.get("normalization", "superposition")
    return {**old, "method": method, "net": net}
