"""Draw the pictures of the pages: ``python -m bench.pages.pictures`` trains four presets, draws in docs/pictures/.

The runs go to a temporary folder; a run folder given on the command line, named after its preset, is used instead of
training that preset again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.common.record import ROOT
from efm_fast.data import step_generator
from efm_fast.pictures import plot_lines, plot_samples
from efm_fast.plots import animate_lines
from efm_fast.sampling import sample, starts
from efm_fast.training import Run, load, train

FOLDER = ROOT / "docs" / "pictures"
PRESETS = ("gaussian_to_swissroll", "digits_3_to_2", "digits_generation", "glyphs_3_to_2")


def animate(run: Run, path: Path) -> Path:
    """Field lines of a planar run, growing from the plus plate."""
    lines = sample(run, starts(run, 110, seed=0), map="full", return_paths=True)
    assert lines.paths is not None
    plus, minus = (s.draw(800, step_generator(0, k, 800)) for k, s in enumerate((run.plus, run.minus)))
    return animate_lines(lines.paths.cpu(), plus, minus, run.geometry.L, path)


def draw(run: Run) -> list[Path]:
    """The pictures of one run."""
    name = run.config.name
    count = 1000 if name == "gaussian_to_swissroll" else 48
    x0 = starts(run, count, seed=0)
    paths = [plot_samples(run, x0, sample(run, x0), FOLDER / f"{name}.png")]
    if name == "gaussian_to_swissroll":
        paths += [plot_lines(run, FOLDER / "field_lines.png"), animate(run, FOLDER / "field_lines.gif")]
    return paths


def main() -> None:
    """Train what is not given, and draw."""
    given = {path.name: path for path in map(Path, sys.argv[1:])}
    with tempfile.TemporaryDirectory() as folder:
        for name in PRESETS:
            quiet = {"runs": folder, "train.picture_every": 10**9}
            run = load(given[name]) if name in given else train(name, quiet)
            for path in draw(run):
                print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
