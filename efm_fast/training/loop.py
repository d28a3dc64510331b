"""The training loop: a standard one, on one screen."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from .. import checks
from ..config import Config, settings_in
from ..data import charge_loader
from ..errors import InputError, RunError
from ..extras import extra
from ..files import make_folder, remove_folder, remove_leftovers, write_text
from ..methods import InterplateStrategy, LearnedField, Method, Problem, make_method
from ..processes import Processes
from ..runs.measure import measure, measure_support
from ..runs.run import (
    Run,
    description,
    free_folder,
    read_description,
    read_support,
    resolve_device,
    untrained,
    write_description,
)
from ..runs.sources import autoencoder_of, make_sources, pinned, sources_again, with_data
from ..stop import interrupted_by_signals
from ..streams import Stream, step_generator
from ..types import Plates
from .changes import changed, refuse_fewer_steps
from .checkpoints import Checkpoints
from .divergence import Divergence
from .job import (
    averaging,
    begin_sharding,
    check_data,
    check_job,
    is_many,
    is_restart,
    joined,
    launcher_lost,
    launchers,
    local_device,
    mean_over,
    parts_of,
    write_launch,
)
from .report import Reporter
from .state import TrainingState

with extra("train"):
    from tqdm.auto import tqdm

_STRATEGY = "method.points.strategy"


def train(
    cfg: Config | Mapping[str, Any] | str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    plus: object = None,
    minus: object = None,
    strategy: InterplateStrategy | None = None,
    progress: bool = True,
) -> Run:
    """Learn the field between two data sets (EFM, algorithm 1), or what another method learns.

    Args:
        cfg: a preset's name, a YAML path, a mapping or a Config.
        overrides: dotted settings that replace those of ``cfg``, such as {"train.steps": 2000}.
        plus: data on the plate z = 0 instead of those of ``cfg``: a source's name, a mapping, a tensor or array
            [M, D] or [M, C, H, W], a map-style torch Dataset, or a Source.
        minus: data on the plate z = L.
        strategy: your own inter-plate points for field matching, which the run folder records as
            ``method.points.strategy: custom``; a run trained with one is resumed with the same one. It is called for
            step 0 once more, before the run folder is made.
        progress: show a progress bar.

    Returns:
        The run, with averaged weights, ready for ``sample``.

    Raises:
        InputError: a setting, the data or the device is not what the run needs; the text names the key.
        RunError: the run folder is already there, a file cannot be written, or training diverged.
    """
    _check_options(strategy, progress)
    config = pinned(Config.load(cfg, _changes(overrides, plus, minus, strategy)))
    with joined(config) as processes:
        check_job(config, processes)
        folder = Path(config.runs) / config.name
        launched_by = launchers(processes)
        # every machine counts its own restarts
        if any(one["restart"] for one in processes.agree({"restart": is_restart(folder, launched_by)})):
            return resume(folder, plus=plus, minus=minus, strategy=strategy, progress=progress)
        return _begin(config, strategy, processes, launched_by, progress)


def _begin(
    config: Config,
    strategy: InterplateStrategy | None,
    processes: Processes,
    launched_by: list[str],
    progress: bool,
) -> Run:
    """Make the folder of a new run, and train it."""
    processes.by_first(lambda: free_folder(config))
    folder = Path(config.runs) / config.name
    device = resolve_device(local_device(config.device))
    autoencoder = autoencoder_of(config, str(device), progress=progress and processes.first)
    sources = make_sources(config, autoencoder)
    geometry, support = measure(config, *sources), measure_support(config, *sources)
    method = make_method(config.method, Problem(geometry, *sources, config.seed), strategy)
    with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to move
        torch.manual_seed(step_generator(config.seed, 0, Stream.WEIGHTS).initial_seed())
        state = _state(config, method)
    _try_first_step(config, state.field, method)
    files = description(config, geometry, support)

    def begin(made: Path) -> None:
        (made / "samples").mkdir()
        write_description(made, files)
        write_launch(made, launched_by)
        state.save(made)

    def publish() -> None:
        remove_leftovers(folder.parent, folder.name)
        make_folder(folder, begin)

    check_data(config, method, 0, processes)  # no folder where a process has found a mistake
    processes.by_first(publish)
    begin_sharding(state, config, processes)
    run = Run(
        folder, config, geometry, method, state.averaged_field, *sources, state.step, support, autoencoder
    )
    try:
        return _fit(run, state, processes, progress=progress)
    except Exception:
        if state.step == 0 and processes.first:  # it never started, and its name is free again
            remove_folder(folder)
        raise


def resume(
    folder: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    plus: object = None,
    minus: object = None,
    strategy: InterplateStrategy | None = None,
    progress: bool = True,
) -> Run:
    """Continue a run that was stopped, killed or not, exactly as if it had not been.

    Args:
        folder: the run folder.
        overrides: dotted settings that change from here on, such as {"train.steps": 16000} to go on after the end,
            and are written to the run's config.yaml. ``train.steps``, ``checkpoint_every``, ``picture_every``,
            ``log_every``, ``workers`` and ``compile``, ``device``, ``description`` and all of ``method.sample`` may.
            The learning rate falls along a cosine that ends at ``train.steps``: with more steps it rises again first.
        plus: the data on the plate z = 0 again, if they were in memory; the run knows them by their fingerprint.
        minus: the data on the plate z = L again, if they were in memory.
        strategy: the strategy that was passed to ``train``, if one was.
        progress: show a progress bar.

    Returns:
        The finished run. On a CPU, with as many threads, its weights are bitwise those of an uninterrupted run.

    Raises:
        RunError: not a run folder, its checkpoint is truncated or foreign, or the run was trained with a
            strategy of its own or data in memory that are not given again.
        InputError: the data or the device is not there any more, other data than the run's are given, or a setting
            that cannot change.
    """
    folder = checks.folder("folder", folder)
    _check_options(strategy, progress)
    config, geometry = read_description(folder)
    _refuse_other_strategy(folder, config, strategy)
    config = with_data(folder, changed(config, overrides), plus, minus)
    with joined(config) as processes:
        check_job(config, processes)
        device = str(resolve_device(local_device(config.device)))
        autoencoder = autoencoder_of(config, device, progress=progress and processes.first)
        sources = sources_again(folder, config, "resume", autoencoder)
        method = make_method(config.method, Problem(geometry, *sources, config.seed), strategy)
        state = _state(config, method)
        begin_sharding(state, config, processes)
        state.load(folder, processes)
        refuse_fewer_steps(config, state.step)
        check_data(config, method, state.step, processes)
        support = read_support(folder, config, *sources)
        run = Run(
            folder, config, geometry, method, state.averaged_field, *sources, state.step, support, autoencoder
        )

        def prepare() -> None:
            remove_leftovers(folder)
            if overrides:
                write_text(folder / "config.yaml", config.to_yaml())

        processes.by_first(prepare)
        return _fit(run, state, processes, progress=progress)


def _changes(
    overrides: Mapping[str, Any] | None, plus: object, minus: object, strategy: InterplateStrategy | None
) -> dict[str, Any]:
    """``overrides`` and what was passed beside them, as settings."""
    changes = settings_in(overrides)
    changes |= {plate: data for plate, data in (("plus", plus), ("minus", minus)) if data is not None}
    if strategy is not None:
        if changes.get(_STRATEGY, "custom") != "custom":
            raise InputError(
                f"strategy: expected none beside {_STRATEGY} = {changes[_STRATEGY]}, got one of your own"
            )
        changes[_STRATEGY] = "custom"
    return changes


def _refuse_other_strategy(folder: Path, config: Config, strategy: InterplateStrategy | None) -> None:
    named = config.method.model_dump().get("points", {}).get("strategy")
    if named == "custom" and strategy is None:
        raise RunError(
            f"{folder} was trained with a strategy of its own, which its folder does not hold:"
            " give it again, resume(folder, strategy=...)"
        )
    if strategy is not None and named != "custom":
        raise RunError(f"{folder} was trained with {_STRATEGY} = {named}, got a strategy of your own")


def _check_options(strategy: object, progress: object) -> None:
    checks.flag("progress", progress)
    if strategy is not None and not callable(strategy):
        raise InputError(f"strategy: expected a callable or None, got {checks.describe(strategy)}")


def _state(config: Config, method: Method) -> TrainingState:
    field = untrained(config, method)
    if (
        config.train.sharding == "none" or not is_many()
    ):  # a sharded network need not fit on a device as a whole
        field = field.to(resolve_device(local_device(config.device)))
    return TrainingState(field, config.train)


def _try_first_step(config: Config, field: LearnedField, method: Method) -> None:
    """Compute the loss of the first step, so that what cannot work is refused before a folder is made."""
    charges, problem = method.charges(config.train.batch), method.problem
    rows = [
        source.draw(charges, step_generator(config.seed, 0, stream))
        for source, stream in ((problem.plus, Stream.PLUS), (problem.minus, Stream.MINUS))
    ]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        loss = float(_loss(config, field, field, method, rows, 0))
    if not math.isfinite(loss):
        raise RunError(f"{config.name}: the loss of the first step is {loss}; no run folder was made")


def _loss(
    config: Config,
    field: LearnedField,
    network: Any,
    method: Method,
    rows: Sequence[Tensor],
    step: int,
    part: slice | None = None,
) -> Tensor:
    """The loss of one step, or of a part of its points; everything random in it is a function of (seed, step)."""
    settings, parametrisation = config.train, field.parametrisation
    device = next(field.parameters()).device
    plates = Plates(rows[0].to(device), rows[1].to(device), field.geometry.L)
    points = method.points(plates, settings.batch, _generator(config.seed, step, device), step)
    if part is not None:
        points = method.part(points, part)
    target = parametrisation.target(points)
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
        features, scalar = network(points.x, points.z)
    return parametrisation.loss(features.float(), scalar.float(), points, target)


def _fit(run: Run, state: TrainingState, processes: Processes, *, progress: bool) -> Run:
    """Train ``state`` to the last step."""
    folder, config = run.folder, run.config
    settings = config.train
    loaders = _loaders(run, state.step)
    learner = _Learner(run, state, processes)
    show = progress and processes.first
    steps = tqdm(range(state.step, settings.steps), config.name, disable=not show, unit="step")
    divergence, parent = Divergence(folder, learner.device), os.getppid()
    with interrupted_by_signals(), contextlib.ExitStack() as stack:
        reporter: Any = processes.by_first(lambda: stack.enter_context(Reporter(run, state.step)))
        checkpoints = stack.enter_context(Checkpoints(folder, state, processes, settings.async_checkpoint))
        started = time.perf_counter()
        for step, *rows in zip(steps, *loaders, strict=False):
            loss, norm = learner.learn(rows, step)
            divergence.see(state.step, loss, norm)
            row, picture = (state.step % n == 0 for n in (settings.log_every, settings.picture_every))
            checkpoint = state.step % settings.checkpoint_every == 0 or state.step == settings.steps
            if not (row or picture or checkpoint or checkpoints.failed):
                continue
            divergence.refuse(processes, launcher_lost(parent))
            checkpoints.refuse()
            numbers = {}
            if row:
                value = mean_over(processes, float(loss))
                rate = settings.log_every / (time.perf_counter() - started)
                started = time.perf_counter()
                numbers = {"loss": value, "grad_norm": float(norm), "lr": state.learning_rate, "rate": rate}
                steps.set_postfix(loss=f"{value:.4f}")
            if picture:
                state.gather()
            processes.by_first(functools.partial(_tell, reporter, state.step, numbers, picture, checkpoint))
            if checkpoint:  # last, so that all rows and pictures up to a checkpoint are there with it
                checkpoints.write()
        checkpoints.refuse(wait=True)
        state.gather()
        processes.by_first(lambda: reporter.curves())
    return dataclasses.replace(run, field=state.averaged_field.eval(), step=state.step)


def _tell(reporter: Reporter, step: int, numbers: dict[str, float], picture: bool, checkpoint: bool) -> None:
    """Write what is due at this step."""
    if numbers:
        reporter.log(step, **numbers)
    if picture:
        reporter.picture(step)
    if checkpoint:
        reporter.flush()


def _loaders(run: Run, start: int) -> list[Iterable[Tensor]]:
    """The batches of both plates from step ``start`` on."""
    settings = run.config.train
    return [
        charge_loader(
            source,
            run.method.charges(settings.batch),
            seed=run.config.seed,
            start_step=start,
            workers=settings.workers,
            stream=stream,
        )
        for source, stream in ((run.plus, Stream.PLUS), (run.minus, Stream.MINUS))
    ]


class _Learner:
    """Takes the steps of a training, each from this process's part of the points."""

    def __init__(self, run: Run, state: TrainingState, processes: Processes) -> None:
        self.run, self.state, self.processes = run, state, processes
        settings = run.config.train
        self.device = next(state.field.parameters()).device
        self.parts: list[slice | None] = [*parts_of(settings, processes)]
        if len(self.parts) * processes.size == 1:
            self.parts = [None]  # nothing to cut
        network: Any = torch.compile(state.field) if settings.compile else state.field
        self.network = network
        if processes.size > 1 and not state.sharded and state.step < settings.steps:
            rows = next(zip(*_loaders(run, state.step), strict=False))
            with torch.random.fork_rng(devices=[]):
                loss = self._loss(rows, state.step, self.parts[0])
                self.network = averaging(network, loss, processes)

    def learn(self, rows: Sequence[Tensor], step: int) -> tuple[Tensor, Tensor]:
        """Take one step; the loss of this process's points, and the norm of the gradient of all."""
        self.state.optimizer.zero_grad()
        losses = []
        for k, part in enumerate(self.parts):
            last = k + 1 == len(self.parts)
            # gradients travel once a step, or with every pass where no process has room for all of them
            together = last or self.processes.size == 1 or self.state.sharded
            with contextlib.nullcontext() if together else self.network.no_sync():
                loss = self._loss(rows, step, part) / len(self.parts)
                loss.backward()
            losses.append(loss.detach())
        return sum(losses[1:], losses[0]), self.state.update()

    def _loss(self, rows: Sequence[Tensor], step: int, part: slice | None) -> Tensor:
        return _loss(self.run.config, self.state.field, self.network, self.run.method, rows, step, part)


def _generator(seed: int, step: int, device: torch.device) -> Generator:
    """Randomness of the points of one step, on the device, a function of (seed, step) alone."""
    host = step_generator(seed, step, Stream.POINTS)
    return host if device.type == "cpu" else Generator(device).manual_seed(host.initial_seed())
