"""The training loop: a standard one, on one screen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator
from tqdm import tqdm

from ..config import Config
from ..data import Source, charge_loader, make_source, step_generator
from ..files import make_folder, remove_folder, remove_leftovers
from ..interplate import InterplateStrategy
from ..nets import Geometry, build_field
from ..types import Plates
from .divergence import Divergence
from .geometry import measure
from .report import Reporter
from .run import Run, free_folder, read_description, resolve_device, write_description
from .state import TrainingState
from .stop import interrupted_by_signals
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
    config = Config.load(cfg, overrides)
    folder = free_folder(config)
    resolve_device(config.device)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    geometry = measure(config, plus, minus)
    with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to move
        torch.manual_seed(step_generator(config.seed, 0, _WEIGHTS).initial_seed())
        state = _state(config, geometry)
    if strategy is None:
        strategy = make_strategy(config, geometry, plus, minus)

    def begin(made: Path) -> None:
        (made / "samples").mkdir()
        write_description(made, config, geometry)
        state.save(made)

    remove_leftovers(folder.parent, folder.name)
    make_folder(folder, begin)
    try:
        return _fit(folder, config, state, plus, minus, strategy=strategy, progress=progress)
    except Exception:
        if state.step == 0:  # it never started, and its name is free again
            remove_folder(folder)
        raise


def resume(folder: str | Path, *, strategy: InterplateStrategy | None = None, progress: bool = True) -> Run:
    """Continue a run that was stopped, killed or not, exactly as if it had not been.

    Args:
        folder: the run folder.
        strategy: the strategy that was passed to ``train``, if one was.
        progress: show a progress bar.

    Returns:
        The finished run. On a CPU its weights are bitwise those of an uninterrupted run.

    Raises:
        RunError: not a run folder, or its checkpoint is truncated or foreign.
        InputError: the data or the device is not there any more.
    """
    folder = Path(folder)
    config, geometry = read_description(folder)
    plus, minus = (make_source(spec, seed=config.seed) for spec in (config.plus, config.minus))
    state = _state(config, geometry)
    state.load(folder)
    if strategy is None:
        strategy = make_strategy(config, geometry, plus, minus)
    remove_leftovers(folder)
    return _fit(folder, config, state, plus, minus, strategy=strategy, progress=progress)


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
    strategy: InterplateStrategy,
    progress: bool,
) -> Run:
    """Train ``state`` to the last step; everything random in a step is a function of (seed, step)."""
    settings, field = config.train, state.field
    geometry, device = field.geometry, next(field.parameters()).device
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
    divergence = Divergence(folder, device)
    with interrupted_by_signals(), Reporter(run, state.step) as reporter:
        started = time.perf_counter()
        for step, plus_rows, minus_rows in zip(steps, *loaders, strict=False):
            plates = Plates(plus_rows.to(device), minus_rows.to(device), geometry.L)
            points = strategy(plates, settings.batch, _generator(config.seed, step, device), step)
            target = parametrisation.target(points)
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
                features, scalar = network(points.x, points.z)
            loss = parametrisation.loss(features.float(), scalar.float(), points, target)
            norm = state.advance(loss)
            divergence.see(state.step, loss, norm)
            row, picture = (state.step % n == 0 for n in (settings.log_every, settings.picture_every))
            checkpoint = state.step % settings.checkpoint_every == 0 or state.step == settings.steps
            if row or picture or checkpoint:
                divergence.refuse()
            if row:
                rate = settings.log_every / (time.perf_counter() - started)
                started = time.perf_counter()
                value = float(loss.detach())
                reporter.log(state.step, loss=value, grad_norm=float(norm), lr=state.learning_rate, rate=rate)
                steps.set_postfix(loss=f"{value:.4f}")
            if picture:
                reporter.picture(state.step)
            if checkpoint:  # last, so that all rows and pictures up to a checkpoint are there with it
                reporter.flush()
                state.save(folder)
        reporter.curves()
    return Run(folder, config, geometry, state.averaged_field.eval(), plus, minus, state.step)


def _generator(seed: int, step: int, device: torch.device) -> Generator:
    """Randomness of the points of one step, on the device, a function of (seed, step) alone."""
    host = step_generator(seed, step, _POINTS)
    return host if device.type == "cpu" else Generator(device).manual_seed(host.initial_seed())
