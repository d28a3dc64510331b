"""The commands of the page: ``efm-fast show`` and ``efm-fast report``."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

from ..extras import extra

with extra("train"):
    import typer

_Imports = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Import a module of yours that registers data sources."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    for command in (show, report):
        app.command()(command)


def show(
    runs: Annotated[Path, typer.Option(help="Folder of the runs that the page can open.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes one that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    imports: _Imports = None,
) -> None:
    """Open a page on which field lines follow their charges, and runs can be looked at.

    Examples:

      efm-fast show

      efm-fast show --runs runs --port 8765 --no-browser

    The page is served to this machine alone, under an address with a secret in it, until Ctrl-C.
    """
    from .server import PageServer

    _import(imports)
    with PageServer(runs, port) as server:
        typer.echo(f"{server.address} shows field lines and the runs of {runs}; Ctrl-C ends it")
        threading.Thread(target=server.warm_up, daemon=True).start()
        if not no_browser:
            # a browser of the terminal would keep this thread
            threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
        server.serve_forever()


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that `efm-fast train` wrote.")],
    out: Annotated[Path | None, typer.Option(help="The .html file; RUN/report.html by default.")] = None,
    imports: _Imports = None,
) -> None:
    """Write a run's report, with settings, curves, measures, pictures and lines, as one HTML file.

    Example:

      efm-fast report runs/gaussian_to_swissroll --out report.html
    """
    from .report import write_report

    _import(imports)
    typer.echo(f"wrote {write_report(run, out or run / 'report.html')}")


def _import(modules: list[str] | None) -> None:
    if modules:
        from ..data import import_sources

        import_sources(modules)
