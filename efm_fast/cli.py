"""The command line, ``efm-fast``: a thin layer over the Python API."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from . import __version__, yaml12
from .errors import EfmError, InputError, NothingArrivedWarning, RunError
from .extras import extra
from .page.commands import add_to as add_page
from .stop import exit_status, interrupted_by_signals, is_first

with extra("train"):
    import typer
    from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from .runs import Run


class _Stopped(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP came; the text says to whom it came and what to do next."""

    def __init__(self, problem: KeyboardInterrupt, what: str, advice: str = "") -> None:
        super().__init__(f"{what}; {advice}" if advice else what)
        self.status = exit_status(problem)


class _Commands(TyperGroup):
    """All commands; being asked to stop leaves them as :class:`_Stopped`."""

    def invoke(self, ctx: Any) -> Any:
        with _stoppable("stopped"):
            return super().invoke(ctx)


class _WithSettings(TyperCommand):
    """A command whose help ends with every setting; made only when it is asked for."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from .settings import settings_help

        formatter.write("\n" + settings_help() + "\n")


app = typer.Typer(
    name="efm-fast",
    cls=_Commands,
    help="Learn the electrostatic field between two data sets and carry one to the other along its lines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that `efm-fast train` wrote.")]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to replace, such as train.steps=2000."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
Samples = Annotated[int, typer.Option("--n", min=2, help="Samples per plate to measure with.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the starts and of the map.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Reverse = Annotated[bool, typer.Option("--reverse", help="From the minus plate to the plus plate, Q to P.")]
Imports = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Import a module of yours that registers data sources."),
]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"efm-fast {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command(cls=_WithSettings)
def train(
    cfg: Annotated[str, typer.Argument(metavar="PRESET|FILE", help="Preset's name, or a YAML file.")],
    settings: Settings = None,
    n: Samples = 2000,
    imports: Imports = None,
    quiet: Quiet = False,
) -> None:
    """Train a field, then measure it.

    Examples:

      efm-fast train gaussian_to_swissroll

      efm-fast train digits_3_to_2 train.steps=2000 train.lr=1e-3 name=short

      efm-fast train mine.yaml plus="{name: npz, path: mine.npz}" --import my_sources

      torchrun --standalone --nproc-per-node=8 -m efm_fast train cifar10_generation

    Values are YAML 1.2. Relative paths start from the working folder.
    """
    from .config import Config
    from .training import train as train_run

    _import(imports)
    config = Config.load(cfg, _overrides(settings))
    folder = Path(config.runs) / config.name
    with _stoppable("training stopped", lambda: _how_to_resume(folder)):
        run = train_run(config, progress=not quiet)
    _evaluate(run, n, 0)


@app.command()
def resume(
    run: RunFolder,
    settings: Settings = None,
    n: Samples = 2000,
    imports: Imports = None,
    quiet: Quiet = False,
) -> None:
    """Continue a stopped or killed run exactly where its last checkpoint stands, then measure it.

    Examples:

      efm-fast resume runs/gaussian_to_swissroll

      efm-fast resume runs/gaussian_to_swissroll train.steps=16000

    The second goes on after the end. train.steps, checkpoint_every, picture_every, log_every, workers and compile,
    device, description and all of method.sample may change, and are written to config.yaml. The learning rate
    falls along a cosine that ends at train.steps, so with more steps it rises again first.
    """
    from .training import resume as resume_run

    _import(imports)
    with _stoppable("training stopped", lambda: _how_to_resume(run)):
        resumed = resume_run(run, _overrides(settings), progress=not quiet)
    _evaluate(resumed, n, 0)


@app.command()
def sample(
    run: RunFolder,
    n: Annotated[int, typer.Option(min=1, help="Number of samples.")] = 64,
    out: Annotated[Path | None, typer.Option(help="A .png picture or an .npz of inputs and outputs.")] = None,
    map: Annotated[
        str | None,
        typer.Option(help="Way to travel, such as full or forward; the run's own by default."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of a map with a fixed number of them.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Most steps per line of the full map.")] = None,
    seed: Seed = 0,
    reverse: Reverse = False,
    device: Device = "auto",
    imports: Imports = None,
) -> None:
    """Draw samples: carry held-out data of one plate to the other.

    Examples:

      efm-fast sample runs/digits_3_to_2 --n 64 --out grid.png

      efm-fast sample runs/digits_3_to_2 --reverse --out 2_to_3.npz
    """
    from .pictures import save_samples
    from .runs import load
    from .sampling import none_arrived, starts
    from .sampling import sample as draw

    _import(imports)
    path = out or run / "samples" / f"samples{'_reverse' if reverse else ''}.png"
    with _stoppable("sampling stopped", lambda: f"{path} was not written"):
        loaded = load(run, device=device)
        x0 = starts(loaded, n, seed, reverse=reverse)
        lines = draw(loaded, x0, map=map, steps=steps, max_steps=max_steps, seed=seed, reverse=reverse)
        if problem := none_arrived(lines):
            raise RunError(f"{run}: {problem}")
        save_samples(loaded, x0, lines, path, reverse=reverse)
    typer.echo(
        f"{int(lines.arrived.sum())} of {n} lines arrived, "
        f"{float(lines.evaluations.double().mean()):.1f} evaluations each; wrote {path}"
    )


@app.command()
def evaluate(
    run: RunFolder,
    n: Samples = 2000,
    seed: Seed = 0,
    reverse: Reverse = False,
    device: Device = "auto",
    imports: Imports = None,
) -> None:
    """Measure a run on held-out data, print the table and write evaluation.json and pictures.

    Examples:

      efm-fast evaluate runs/gaussian_to_swissroll --n 1000

      efm-fast evaluate runs/gaussian_to_swissroll --reverse
    """
    from .runs import load

    _import(imports)
    _evaluate(load(run, device=device), n, seed, reverse=reverse)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A .safetensors file.")],
    imports: Imports = None,
) -> None:
    """Write a run's averaged weights, which sampling uses, to one file.

    Example:

      efm-fast export runs/gaussian_to_swissroll weights.safetensors
    """
    from .runs import load

    _import(imports)
    typer.echo(f"wrote {load(run, device='cpu').export(out)}")


@app.command()
def diagnose(
    data: Annotated[str, typer.Argument(metavar="PRESET|FILE", help="Whose data: a preset or a YAML file.")],
    settings: Settings = None,
    charges: Annotated[int, typer.Option(min=2, help="Charges per plate.")] = 1024,
    lines: Annotated[int, typer.Option(min=1, help="Exact lines per distance.")] = 128,
    out: Annotated[Path, typer.Option(help="Folder for diagnosis.png and .json.")] = Path("runs"),
    imports: Imports = None,
    quiet: Quiet = False,
) -> None:
    """Trace exact lines between your data for several plate distances L, and suggest one.

    Examples:

      efm-fast diagnose gaussian_to_swissroll

      efm-fast diagnose digits_3_to_2 minus.label=7 --lines 64
    """
    from .config import Config
    from .diagnosis import diagnose as look
    from .files import naming, write_text
    from .plots import plot_distances

    _import(imports)
    config = Config.load(data, _overrides(settings))
    folder = out / f"{config.name}-diagnosis"
    with _stoppable("stopped", lambda: "nothing was written"):
        found = look(config, charges=charges, lines=lines, progress=not quiet)
    typer.echo(found.table())
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "diagnosis.json", json.dumps(found.as_dict(), indent=1) + "\n")
    picture = plot_distances([row.L for row in found.rows], found.curves(), found.L, folder / "diagnosis.png")
    typer.echo(f"wrote {picture} and diagnosis.json beside it")


add_page(app)


@app.command()
def presets() -> None:
    """List the presets."""
    from .config import Config
    from .presets import preset_names

    for name in preset_names():
        typer.echo(f"{name:<24} {Config.load(name).description}")


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show versions, devices, and which backend serves what, with the reason where it does not."""
    from .info import describe

    facts = describe()
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    for name, version in facts["versions"].items():
        typer.echo(f"{name:<12} {version or 'not installed'}")
    for device in facts["devices"]:
        typer.echo(f"{'device':<12} {device}")
    typer.echo(f"{'backend':<12} {facts['backend']}; EFM_FAST_BACKEND chooses, for sums and lines alike")
    for row in facts["backends"]:
        answer = f"yes, {row['purpose']}" if row["serves"] else f"no: {row['reason']}"
        typer.echo(f"{row['operation']:<20} {row['device']:<5} {row['backend']:<10} {answer}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench(ctx: typer.Context) -> None:
    """Measure the field kernels on this machine (needs a checkout of the project)."""
    script = Path(__file__).resolve().parent.parent / "bench" / "field_kernel.py"
    if not script.is_file():
        raise InputError("bench: needs a checkout of the project; bench/field_kernel.py is not installed")
    raise typer.Exit(subprocess.call([sys.executable, str(script), *ctx.args]))


def main() -> None:
    """Run the command line.

    A user's mistake prints one line and exits with 1; Ctrl-C, SIGTERM and SIGHUP say what they stopped and exit with
    130, 143 and 129.
    """
    warnings.simplefilter("ignore", NothingArrivedWarning)  # a command ends with that as its error
    with interrupted_by_signals():
        try:
            app()
        except EfmError as problem:
            _leave(problem, 1)
        except _Stopped as problem:
            _leave(problem, problem.status)


def _leave(problem: BaseException, status: int) -> None:
    cause: BaseException | None = problem
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)  # ends a progress bar, whose line the text would share
        cause = cause.__context__
    if is_first() or not getattr(problem, "shared", True):
        typer.echo(f"efm-fast: {problem}", err=True)
    sys.exit(status)


@contextlib.contextmanager
def _stoppable(what: str, advice: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn a request to stop into one line: ``what`` stopped, and the advice at that moment."""
    try:
        yield
    except KeyboardInterrupt as problem:
        raise _Stopped(problem, what, advice()) from None


def _how_to_resume(folder: Path) -> str:
    if not (folder / "config.yaml").is_file():
        return "no run folder was made"
    return f"`efm-fast resume {shlex.quote(str(folder))}` continues from its last checkpoint"


def _import(modules: list[str] | None) -> None:
    if modules:
        from .data import import_sources

        import_sources(modules)


def _overrides(settings: list[str] | None) -> dict[str, Any]:
    overrides = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InputError(f"settings: expected KEY=VALUE, such as train.steps=2000, got {setting[:80]!r}")
        overrides[key] = yaml12.parse(key, value)
    return overrides


def _evaluate(run: Run, n: int, seed: int, *, reverse: bool = False) -> None:
    from .evaluation import evaluate as measure
    from .evaluation import write_evaluation

    if not is_first():
        return  # one process of the job measures
    again = f"`efm-fast evaluate {shlex.quote(str(run.folder))}` measures the run"
    with _stoppable("measuring stopped", lambda: again):
        result = measure(run, n=n, seed=seed, reverse=reverse)
        typer.echo(result.table())
        for path in write_evaluation(run, result):
            typer.echo(f"wrote {path}")
    if problem := result.maps[0].problem:
        raise RunError(f"{run.folder}: {problem}")


if __name__ == "__main__":
    main()
