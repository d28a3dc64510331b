"""How fast the lines of `efm-fast show` follow a slider: frames a second in a headless Chromium.

    python -m bench.lines.slider                 # 2 x 100, 2 x 1000, 2 x 2000 charges; half a minute

The slider of the plate distance is swept for 2.5 seconds, and every picture with new lines is a frame. The page asks a
slow engine for fewer lines, so the table says how many it drew, and what 60 lines cost. The engine has one thread.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.browser import missing, opened_browser, served_page
from bench.common.record import as_text, print_table, write_result
from bench.lines.cost import Row
from efm_fast.page.scenes import MOST_CHARGES

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATIENCE = 60_000  # milliseconds, for a machine that is busy
_LINES = 60  # that the page draws where the engine is fast
#: Moves the slider of the plate distance for 2.5 s and counts the answers of the engine and the pictures drawn.
SWEEP = """async () => {
  const slider = document.getElementById("distance"), picture = document.getElementById("stage").dataset;
  const first = Number(picture.traced), painted = Number(picture.drawn), begun = performance.now();
  let now = begun, lines = 0, frames = 0, seen = first;
  while (now - begun < 2500) {
    slider.value = 300 + ((now - begun) / 2500) * 400;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    now = await new Promise(requestAnimationFrame);
    if (Number(picture.traced) !== seen) (seen = Number(picture.traced)), (lines += Number(picture.lines)), frames++;
  }
  const drawn = Number(picture.drawn) - painted, seconds = (performance.now() - begun) / 1000;
  return { frames: seen - first, drawn, lines: lines / Math.max(1, frames), seconds };
}"""


def swept(page: Page, spent: Callable[[], tuple[float, float]]) -> Row:
    """One sweep: frames a second, lines of a frame, and milliseconds of the engine and of the page for 60 lines."""
    before = spent()
    sweep = page.evaluate(SWEEP)
    engine, drawing = (1000 * (b - a) for a, b in zip(before, spent(), strict=True))
    return {
        "frames a second": sweep["frames"] / sweep["seconds"],
        "lines of a frame": sweep["lines"],
        f"engine, ms for {_LINES} lines": engine / sweep["frames"] * _LINES / sweep["lines"],
        "page, ms for a picture": drawing / sweep["drawn"],
    }


def rows_of(page: Page, process: int, charges: list[int], sweeps: int) -> list[Row]:
    """The middle one of several sweeps for each number of charges per plate."""
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> tuple[float, float]:
        """Processor seconds of the engine and of the page."""
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        measured = metrics.send("Performance.getMetrics")["metrics"]
        drawn = next(row["value"] for row in measured if row["name"] == "TaskDuration")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), drawn

    rows: list[Row] = []
    for count in charges:
        # the slider's places 0 to 1000 are charges on a logarithmic scale
        page.locator("#charges").fill(str(round(1000 * math.log(count, MOST_CHARGES))))
        page.wait_for_timeout(1000)
        page.wait_for_selector("#stage[data-draft=false]", state="attached", timeout=PATIENCE)
        found = sorted(
            (swept(page, spent) for _ in range(sweeps)), key=lambda row: float(row["frames a second"])
        )
        rows.append({"charges": f"2 x {page.inner_text('#charges-said')}", **found[len(found) // 2]})
    return rows


def main() -> None:
    """Measure, print, and write ``bench/results/slider.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--charges", type=int, nargs="+", default=[100, 1000, 2000], help="per plate")
    parser.add_argument("--sweeps", type=int, default=5, help="per row, whose middle one is told")
    options = parser.parse_args()
    if any(not 1 < count <= MOST_CHARGES for count in options.charges):
        parser.error(f"--charges: expected 2 to {MOST_CHARGES} per plate, got {options.charges}")
    if (lack := missing()) is not None:
        raise SystemExit(lack)
    with (
        tempfile.TemporaryDirectory() as folder,
        served_page(Path(folder)) as (address, process),
        opened_browser() as browser,
    ):
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(address)
        page.wait_for_selector("#stage[data-draft=false]", state="attached", timeout=PATIENCE)
        rows = rows_of(page, process, options.charges, options.sweeps)
    text = as_text(rows)
    print_table([dict(zip(text["columns"], row, strict=True)) for row in text["rows"]], text["columns"])
    print(f"wrote {write_result('slider', {'rows': rows, 'tables': {'rows': text}})}")


if __name__ == "__main__":
    main()
