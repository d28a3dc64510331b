"""What may change when a run is resumed, and why the rest may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import checks
from ..config import Config
from ..errors import InputError

_MAY_CHANGE = {
    "description",
    "device",
    "train.steps",
    "train.checkpoint_every",
    "train.picture_every",
    "train.log_every",
    "train.workers",
    "train.compile",
    "train.accumulate",
    "train.timeout",
    "train.sharding",
    "train.async_checkpoint",
}
_LEARNED = "what the run knows was learned with it; start a new run"
_WHY_NOT = {
    **{
        plate: f"data that were in memory are given again as resume(folder, {plate}=...); for others start a new run"
        for plate in ("plus", "minus")
    },
    "name": "the run folder stands for the run; rename the folder instead",
    "runs": "the run folder is where it is; move the folder instead",
    "net": "the run's weights are those of that network; start a new run",
}


def changed(config: Config, overrides: Mapping[str, Any] | None) -> Config:
    """The ``config`` of a run with ``overrides``.

    Raises:
        InputError: a setting that does not fit, or that a run cannot change any more.
    """
    new = Config.load(config, overrides)
    before, after = _flat(config.plain()), _flat(new.plain())
    for key in after:
        was = before.get(key)  # an option that was not chosen has none of its settings
        if key in _MAY_CHANGE or key.startswith("method.sample.") or was == after[key]:
            continue
        raise InputError(
            f"{key}: {checks.describe(was)} cannot become {checks.describe(after[key])} when a run is"
            f" resumed: {_WHY_NOT.get(key.split('.')[0], _LEARNED)}"
        )
    return new


def refuse_fewer_steps(config: Config, step: int) -> None:
    """Raise InputError if ``config`` asks for fewer steps than the ``step`` that the run has taken."""
    if config.train.steps < step:
        raise InputError(
            f"train.steps: expected at least {step}, which the run has taken, got {config.train.steps}"
        )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Sections written out as dotted keys; a plate's data is one setting."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and key not in ("plus", "minus"):
            flat |= {f"{key}.{k}": v for k, v in _flat(value).items()}
        else:
            flat[key] = value
    return flat
