"""What the exact field does with images: ``python -m bench.pages.exact_field``; some minutes on two cores.

The 3s and 2s of all fonts of unseen families, 16 x 16 (D = 768), painted in random hues, are the charges. No network is
trained. It writes bench/results/exact_field.json and draws docs/pictures/exact_line.png and exact_hubs.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from bench.common.record import ROOT, print_table, write_result
from efm_fast import couple
from efm_fast.couplings.record import Coupling
from efm_fast.data import make_source, rms_distance, step_generator
from efm_fast.data.colour import paint, rgb_to_hue
from efm_fast.data.glyphs import GlyphShapes
from efm_fast.data.tools import to_images
from efm_fast.lines import trace_lines
from efm_fast.metrics.strokes import hue_difference, stroke_colour
from efm_fast.plots import style

FOLDER = ROOT / "docs" / "pictures"
SHARES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Distances L between the plates, over the root mean square distance s of the sets."""
FRAMES = 9
_SHOWN = 40  # lines whose progress is drawn
_START = 1e-3  # height at which a line starts, over L

Row = dict[str, Any]


class Glyphs:
    """3s and 2s of the same fonts, in independent hues.

    Args:
        size: side in pixels.
        count: fonts, the first ones; None for all.
    """

    def __init__(self, size: int, count: int | None) -> None:
        self.sources = [make_source({"name": "glyphs", "label": label, "size": size}) for label in (3, 2)]
        for source in self.sources:
            assert isinstance(source, GlyphShapes)
        shapes = [source.shapes("test")[:count] for source in self.sources]  # type: ignore[attr-defined]
        self.grey = shapes[1].flatten(1).double()
        self.plus, self.minus = (
            paint(x, torch.rand(len(x), generator=step_generator(0, k, 900))) for k, x in enumerate(shapes)
        )
        self.shape = self.sources[0].shape
        self.s = rms_distance(self.plus, self.minus)

    def numbers(self, name: str, found: Coupling) -> Row:
        """How much the pairs of a coupling keep, and how evenly they use the 2s."""
        # rank of the chosen 2's own place: of the font's true 2 among all, by distance to the chosen one
        apart = torch.cdist(self.grey[found.minus], self.grey)
        own = apart.gather(1, found.plus[:, None])
        rank = (apart < own).double().sum(1) / (len(self.grey) - 1)
        times = torch.bincount(found.minus, minlength=len(self.minus))
        hues = [
            rgb_to_hue(stroke_colour(to_images(x[rows], self.shape).flatten(2)))
            for x, rows in ((self.plus, found.plus), (self.minus, found.minus))
        ]
        return {
            "pairs by": name,
            "distinct 2s, of all": f"{(times > 0).double().mean():.2f}",
            "most lines on one 2": int(times.max()),
            "style": f"{rank.mean():.3f}",
            "hue error, degrees": f"{hue_difference(*hues).mean():.0f}",
            "mean squared distance": f"{found.cost:.1f}",
        }


def couplings(glyphs: Glyphs, shares: Sequence[float]) -> tuple[list[Row], dict[str, Tensor]]:
    """The numbers of every coupling, and for some how often each 2 was chosen, most often first."""
    kinds: dict[str, dict[str, Any]] = {
        "nearest 2": {"kind": "nearest"},
        **{
            f"perpendicular lines, L = {share:g} s": {
                "kind": "lines",
                "L": share * glyphs.s,
                "both_ways": False,
            }
            for share in shares
        },
        "lines in all directions, L = 0.03 s": {
            "kind": "lines",
            "L": 0.03 * glyphs.s,
            "direction": "flux",
            "both_ways": False,
        },
        "optimal transport": {"kind": "ot"},
    }
    rows, times = [], {}
    for name, settings in kinds.items():
        found = couple(glyphs.plus, glyphs.minus, **settings)
        rows.append(glyphs.numbers(name, found))
        times[name] = torch.bincount(found.minus, minlength=len(glyphs.minus)).sort(descending=True).values
    return rows, times


def paths(glyphs: Glyphs, share: float, count: int) -> list[Tensor]:
    """The points of ``count`` perpendicular lines, each [T, D+1], data units."""
    L = share * glyphs.s
    x = glyphs.plus[:count].double()
    lines = trace_lines(
        x,
        torch.full((count,), _START * L, dtype=torch.float64),
        glyphs.plus.double(),
        glyphs.minus.double(),
        L,
        return_paths=True,
    )
    assert lines.paths is not None
    found = [path[torch.isfinite(path).all(1)] for path in lines.paths.transpose(0, 1)]
    return [path for path, arrived in zip(found, lines.arrived, strict=True) if arrived]


def along(path: Tensor, shares: Tensor) -> Tensor:
    """The points of a line at ``shares`` of its length; lines end straight where a single charge is left."""
    length = torch.cat([path.new_zeros(1), path.diff(dim=0).norm(dim=1).cumsum(0)])
    wanted = shares.to(path.dtype) * length[-1]
    after = torch.searchsorted(length, wanted).clamp(1, len(path) - 1)
    part = (wanted - length[after - 1]) / (length[after] - length[after - 1])
    return torch.lerp(path[after - 1], path[after], part[:, None])


def draw_line(glyphs: Glyphs, path: Path) -> Path:
    """A line's way from a 3 to a 2, flux points of the same heights, and how lines rise and cross."""
    wide, close = (paths(glyphs, share, _SHOWN) for share in (1.0, 0.03))
    frames = along(wide[0], torch.linspace(0, 1, FRAMES))
    gauss = torch.randn(FRAMES, glyphs.plus.shape[1] + 1, generator=step_generator(0, 0, 901)).double()
    flux = frames[0, :-1] + frames[:, -1:] * gauss[:, 1:] / gauss[:, :1].abs()
    with style.canvas(9.0, 5.4, layout="constrained") as figure:
        parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.2))
        upper, lower = parts
        axes = upper.add_subplot()
        axes.imshow(
            np.concatenate([_strip(images.float(), glyphs.shape) for images in (frames[:, :-1], flux)])
        )
        side = glyphs.shape[-1] + 1
        heights = (frames[:, -1] / glyphs.s).tolist()
        axes.set_xticks([side * (k + 0.5) - 1 for k in range(FRAMES)], [f"z = {z:.2f} s" for z in heights])
        axes.set_yticks([side / 2, 1.5 * side], ["on the line", "flux point"])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for k, (lines, title) in enumerate(((wide, "plates s apart"), (close, "plates 0.03 s apart"))):
            ways = lower.add_subplot(1, 2, k + 1)
            _draw_ways(ways, lines, glyphs.s, title)
        ways.legend(loc="upper left")
        return style.save(figure, path)


def _strip(rows: Tensor, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Images side by side with white between them, [H + 1, W', 3]."""
    tiles = torch.nn.functional.pad(to_images(rows, shape), (0, 1, 0, 1), value=1.0)
    return np.concatenate(list(tiles.permute(0, 2, 3, 1).numpy()), axis=1)


def _draw_ways(axes: Axes, lines: list[Tensor], s: float, title: str) -> None:
    shares = torch.linspace(0, 1, 201)
    for number, line in enumerate(lines):
        points = along(line, shares) / s
        beside = (points[:, :-1] - points[0, :-1]).norm(dim=1)
        for part, colour, label in (
            (points[:, -1], style.PLUS, "height z"),
            (beside, style.MINUS, "distance of the image from the 3"),
        ):
            label = label if number == 0 else "_"
            axes.plot(shares.numpy(), part.numpy(), color=colour, linewidth=0.7, alpha=0.5, label=label)
    axes.set(title=title, xlabel="share of the line's length", ylabel="in units of s", xlim=(0, 1))


def draw_hubs(times: dict[str, Tensor], path: Path) -> Path:
    """How many pairs the most often chosen 2s take."""
    names = [next(name for name in times if name.startswith("perpendicular")), list(times)[-3]]
    with style.canvas(6.4, 3.4, layout="constrained") as figure:
        axes = figure.add_subplot()
        for name, colour in zip([*names, *list(times)[-2:]], style.CURVES, strict=False):
            taken = times[name].double().cumsum(0) / times[name].sum()
            axes.plot(torch.arange(1, len(taken) + 1) / len(taken), taken, color=colour, label=name)
        axes.set(xlabel="share of the 2s, the most often chosen first", ylabel="share of the pairs they take")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.legend()
        return style.save(figure, path)


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fonts", type=int, help="fonts, if not all of unseen families")
    options = parser.parse_args()
    glyphs = Glyphs(16, options.fonts)
    print(f"wrote {draw_line(glyphs, FOLDER / 'exact_line.png').relative_to(ROOT)}")
    rows, times = couplings(glyphs, SHARES)
    print(f"wrote {draw_hubs(times, FOLDER / 'exact_hubs.png').relative_to(ROOT)}")
    columns = list(rows[0])
    print_table(rows, columns)
    table = {"columns": columns, "rows": [[str(cell) for cell in row.values()] for row in rows]}
    title = f"Pairs of {len(glyphs.plus)} coloured 3s and 2s of unseen families by the exact field, D = 768"
    path = write_result("exact_field", {"title": title, "rows": rows, "tables": {"couplings": table}})
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
