"""The command line, ``efm-fast``: a thin layer over the Python API."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from .errors import EfmError, InputError, NothingArrivedWarning, RunError

app = typer.Typer(
    name="efm-fast",
    help="Learn the electrostatic field between two data sets and carry one to the other along its lines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that `efm-fast train` wrote.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
Samples = Annotated[int, typer.Option("--n", min=2, help="Samples per plate to measure with.")]
Seed = Annotated[int, typer.Option(help="Seed of the starts and of the map.")]


@app.command()
def train(
    cfg: Annotated[str, typer.Argument(metavar="PRESET|FILE", help="Preset's name, or a YAML file.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings to replace, such as train.steps=2000."),
    ] = None,
    n: Samples = 2000,
    quiet: Quiet = False,
) -> None:
    """Train a field, then measure it.

    Examples:

      efm-fast train gaussian_to_swissroll

      efm-fast train digits_3_to_2 train.steps=2000 name=short

    `efm-fast presets` lists the presets; a run folder's config.yaml shows every setting.
    """
    from .training import train as train_run

    run = train_run(cfg, _overrides(settings or []), progress=not quiet)
    _evaluate(run, n, 0)


@app.command()
def resume(run: RunFolder, n: Samples = 2000, quiet: Quiet = False) -> None:
    """Continue a stopped or killed run exactly where its last checkpoint stands, then measure it."""
    from .training import resume as resume_run

    _evaluate(resume_run(run, progress=not quiet), n, 0)


@app.command()
def sample(
    run: RunFolder,
    n: Annotated[int, typer.Option(min=1, help="Number of samples.")] = 64,
    out: Annotated[Path | None, typer.Option(help="A .png picture or an .npz of inputs and outputs.")] = None,
    map: Annotated[str | None, typer.Option(help="full or forward; the run's own by default.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the forward map.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Most steps per line of the full map.")] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Draw samples: carry held-out data of the plus plate to the minus plate."""
    from .sampling import none_arrived, starts
    from .sampling import sample as draw
    from .show import save_samples
    from .training import load

    loaded = load(run, device=device)
    x0 = starts(loaded, n, seed)
    lines = draw(loaded, x0, map=map, steps=steps, max_steps=max_steps, seed=seed)  # type: ignore[arg-type]
    if problem := none_arrived(lines):
        raise RunError(f"{run}: {problem}")
    path = save_samples(loaded, x0, lines, out or run / "samples" / "samples.png")
    typer.echo(
        f"{int(lines.arrived.sum())} of {n} lines arrived, "
        f"{float(lines.evaluations.double().mean()):.1f} evaluations each; wrote {path}"
    )


@app.command()
def evaluate(
    run: RunFolder,
    n: Samples = 2000,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Measure a run on held-out data, print the table and write evaluation.json and pictures."""
    from .training import load

    _evaluate(load(run, device=device), n, seed)


@app.command()
def diagnose(
    data: Annotated[str, typer.Argument(metavar="PRESET|FILE", help="Whose data: a preset or a YAML file.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to replace.")
    ] = None,
    charges: Annotated[int, typer.Option(min=2, help="Charges per plate.")] = 1024,
    lines: Annotated[int, typer.Option(min=1, help="Exact lines per distance.")] = 128,
    out: Annotated[Path, typer.Option(help="Folder for diagnosis.png and .json.")] = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Trace exact lines between your data for several plate distances L, and suggest one.

    Examples:

      efm-fast diagnose gaussian_to_swissroll

      efm-fast diagnose digits_3_to_2 minus.label=7 --lines 64
    """
    from .config import Config
    from .diagnosis import diagnose as look
    from .files import write_text
    from .plots import plot_distances

    config = Config.load(data, _overrides(settings or []))
    found = look(config, charges=charges, lines=lines, progress=not quiet)
    typer.echo(found.table())
    folder = out / f"{config.name}-diagnosis"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "diagnosis.json", json.dumps(found.as_dict(), indent=1) + "\n")
    picture = plot_distances([row.L for row in found.rows], found.curves(), found.L, folder / "diagnosis.png")
    typer.echo(f"wrote {picture} and diagnosis.json beside it")


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
    """Run the command line; a user's mistake prints one line and exits with 1, Ctrl-C with 130."""
    warnings.simplefilter("ignore", NothingArrivedWarning)  # a command ends with that as its error
    try:
        app()
    except EfmError as problem:
        typer.echo(f"efm-fast: {problem}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("efm-fast: stopped; `efm-fast resume RUN` continues a training run", err=True)
        sys.exit(130)


def _overrides(settings: list[str]) -> dict[str, Any]:
    overrides = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InputError(f"settings: expected KEY=VALUE, such as train.steps=2000, got {setting!r}")
        try:
            overrides[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"{key}: {value!r} is not a YAML value") from None
    return overrides


def _evaluate(run: Any, n: int, seed: int) -> None:
    from .evaluation import evaluate as measure
    from .show import write_evaluation

    result = measure(run, n=n, seed=seed)
    typer.echo(result.table())
    for path in write_evaluation(run, result):
        typer.echo(f"wrote {path}")
    if problem := result.maps[0].problem:
        raise RunError(f"{run.folder}: {problem}")


if __name__ == "__main__":
    main()
