"""The training loop: a standard one, on one screen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm.auto import tqdm

from .. import checks
from ..config import Config
from ..data import Source, charge_loader, make_source, step_generator
from ..errors import InputError, RunError
from ..interplate import InterplateStrategy
from ..nets import Geometry, build_field
from ..types import Plates
from .changes import changed, refuse_fewer_steps
from .files import write_text
from .geometry import measure
from .report import Reporter
from .run import Run, new_folder, read_description, resolve_device, write_description
from .state import TrainingState
from .strategies import make_strategy

_PLUS, _MINUS, _POINTS, _WEIGHTS = range(4)  # streams of randomness


def train(
    cfg: Config | Mapping[str, Any] | str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    strategy: InterplateStrategy | None = None,
    progress: bool = True,
) -> Run:
    """Learn the field between two data sets (EFM, algorithm 1).

    Args:
        cfg: a preset's name, a YAML path, a mapping or a Config.
        overrides: dotted settings that replace those of ``cfg``, such as {"train.steps": 2000}.
        strategy: your own inter-plate points instead of ``points``; a run trained with one is resumed with
            the same one.
        progress: show a progress bar.

    Returns:
        The run, with averaged weights, ready for ``sample``.

    Raises:
        InputError: a setting, the data or the device is not what the run needs; the text names the key.
        RunError: the run folder is already there, a file cannot be written, or training diverged.
    """
    _check_options(strategy, progress)
    config = Config.load(cfg, overrides)
    resolve_device(config.device)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    geometry = measure(config, plus, minus)
    with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to move
        torch.manual_seed(step_generator(config.seed, 0, _WEIGHTS).initial_seed())
        state = _state(config, geometry)
    folder = new_folder(config)
    write_description(folder, config, geometry)
    state.save(folder)
    return _fit(folder, config, state, plus, minus, strategy=strategy, progress=progress)


def resume(
    folder: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    strategy: InterplateStrategy | None = None,
    progress: bool = True,
) -> Run:
    """Continue a run that was stopped, killed or not, exactly as if it had not been.

    Args:
        folder: the run folder.
        overrides: dotted settings that change from here on, such as {"train.steps": 16000} to go on after the end,
            and are written to the run's config.yaml. ``train.steps``, ``checkpoint_every``, ``picture_every``,
            ``log_every``, ``workers`` and ``compile``, ``device``, ``description`` and all of ``sample`` may. The
            learning rate falls along a cosine that ends at ``train.steps``: with more steps it rises again first.
        strategy: the strategy that was passed to ``train``, if one was.
        progress: show a progress bar.

    Returns:
        The finished run. On a CPU its weights are bitwise those of an uninterrupted run.

    Raises:
        RunError: not a run folder, or its checkpoint is truncated or foreign.
        InputError: the data or the device is not there any more, or a setting that cannot change.
    """
    folder = checks.folder("folder", folder)
    _check_options(strategy, progress)
    config, geometry = read_description(folder)
    config = changed(config, overrides)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    state = _state(config, geometry)
    state.load(folder)
    if overrides:
        refuse_fewer_steps(config, state.step)
        write_text(folder / "config.yaml", config.to_yaml())
    return _fit(folder, config, state, plus, minus, strategy=strategy, progress=progress)


def _check_options(strategy: object, progress: object) -> None:
    checks.flag("progress", progress)
    if strategy is not None and not callable(strategy):
        raise InputError(f"strategy: expected a callable or None, got {checks.describe(strategy)}")


def _state(config: Config, geometry: Geometry) -> TrainingState:
    field = build_field(config, geometry).to(resolve_device(config.device))
    return TrainingState(field, config.train)


def _fit(
    folder: Path,
    config: Config,
    state: TrainingState,
    plus: Source,
    minus: Source,
    *,
    strategy: InterplateStrategy | None,
    progress: bool,
) -> Run:
    """Train ``state`` to the last step; everything random in a step is a function of (seed, step)."""
    settings, field = config.train, state.field
    geometry, device = field.geometry, next(field.parameters()).device
    if strategy is None:
        strategy = make_strategy(config, geometry, plus, minus)
    charges = config.target.charges
    loaders = [
        charge_loader(
            source,
            charges,
            seed=config.seed,
            start_step=state.step,
            workers=settings.workers,
            stream=stream,
        )
        for source, stream in ((plus, _PLUS), (minus, _MINUS))
    ]
    network = torch.compile(field) if settings.compile else field
    parametrisation = field.parametrisation
    run = Run(folder, config, geometry, state.averaged_field, plus, minus, state.step)
    steps = tqdm(range(state.step, settings.steps), config.name, disable=not progress, unit="step")
    with Reporter(run, state.step) as reporter:
        started = time.perf_counter()
        for step, plus_rows, minus_rows in zip(steps, *loaders, strict=False):
            plates = Plates(plus_rows.to(device), minus_rows.to(device), geometry.L)
            points = strategy(plates, settings.batch, _generator(config.seed, step, device), step)
            target = parametrisation.target(points)
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
                features, scalar = network(points.x, points.z)
            loss = parametrisation.loss(features.float(), scalar.float(), points, target)
            norm = state.advance(loss)
            if state.step % settings.log_every == 0:
                rate = settings.log_every / (time.perf_counter() - started)
                started = time.perf_counter()
                value = float(loss.detach())
                reporter.log(state.step, loss=value, grad_norm=float(norm), lr=state.learning_rate, rate=rate)
                steps.set_postfix(loss=f"{value:.4f}")
            if state.step % settings.checkpoint_every == 0 or state.step == settings.steps:
                _refuse_divergence(folder, state.step, norm)
                state.save(folder)
            if state.step % settings.picture_every == 0:
                reporter.picture(state.step)
        reporter.curves()
    return Run(folder, config, geometry, state.averaged_field.eval(), plus, minus, state.step)


def _refuse_divergence(folder: Path, step: int, norm: Tensor) -> None:
    if not torch.isfinite(norm):
        raise RunError(
            f"{folder}: the gradient is not finite at step {step}; the last checkpoint is whole."
            " Start again with a smaller train.lr"
        )


def _generator(seed: int, step: int, device: torch.device) -> Generator:
    """Randomness of the points of one step, on the device, a function of (seed, step) alone."""
    host = step_generator(seed, step, _POINTS)
    return host if device.type == "cpu" else Generator(device).manual_seed(host.initial_seed())
