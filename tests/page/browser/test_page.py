"""The page in a real browser: it draws, follows sliders, charges and keys, takes files, and refuses bad ones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.lines.slider import PATIENCE, SWEEP
from efm_fast.page.report import write_report

if TYPE_CHECKING:
    from conftest import Opener
    from playwright.sync_api import Page

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture
def page(open_page: Opener) -> Page:
    opened = open_page()
    settled(opened)
    return opened


def settled(page: Page) -> None:
    """Wait for fine lines, after everything that was asked for before."""
    page.wait_for_selector("#stage[data-draft=false]", state="attached", timeout=PATIENCE)


def seen(page: Page, name: str) -> str:
    """A number that the picture says of itself."""
    return page.locator("#stage").get_attribute(f"data-{name}") or ""


def picture(page: Page) -> bytes:
    return page.locator("#stage").screenshot()


def after(page: Page, act: Any) -> None:
    """Do something that changes the lines, and wait until the fine ones are there."""
    before = int(seen(page, "traced"))
    act()
    page.wait_for_selector(f"#stage:not([data-traced='{before}'])", state="attached", timeout=PATIENCE)
    settled(page)
    page.wait_for_timeout(400)
    settled(page)


def choose(page: Page, name: str) -> None:
    after(page, lambda: page.select_option("#source", f"preset:{name}"))


def test_it_loads_and_draws_without_an_error(page: Page) -> None:
    assert seen(page, "lines") == "60"
    assert "60 lines: " in page.inner_text("#status")
    assert page.inner_text("#problem") == ""
    inked = page.evaluate(
        "(() => { const c = document.getElementById('stage');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        " for (let k = 3; k < d.length; k += 4) n += d[k] > 0; return n / (d.length / 4); })()"
    )
    assert 0.02 < inked < 0.9


@pytest.mark.parametrize("slider", ["distance", "charges", "many"])
def test_a_slider_changes_the_lines(page: Page, slider: str) -> None:
    before = picture(page), page.inner_text(f"#{slider}-said")
    after(page, lambda: page.locator(f"#{slider}").fill("90"))
    assert page.inner_text(f"#{slider}-said") != before[1]
    assert picture(page) != before[0]
    if slider == "many":
        assert seen(page, "lines") == "90"


def test_dragging_a_charge_moves_it_and_the_lines(page: Page) -> None:
    choose(page, "dipole")
    page.focus("#stage")
    page.keyboard.press("n")
    box = page.locator("#stage").bounding_box()
    assert box is not None
    ink = page.evaluate("stage.pixel({ plate: 'plus', index: 0 })")
    x, y = box["x"] + ink[0], box["y"] + ink[1]

    def drag() -> None:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 20, y + 60, steps=5)
        page.mouse.up()

    after(page, drag)
    moved = page.evaluate("stage.pixel({ plate: 'plus', index: 0 })")
    assert np.allclose(moved[:2], [ink[0] + 20, ink[1] + 60], atol=1.0)
    assert page.evaluate("Array.from(scene.plus)") != [-0.5, 0.0]
    start = page.evaluate("[scene.live.points[0], scene.live.points[1]]")
    assert np.allclose(start, page.evaluate("Array.from(scene.plus)"), atol=1e-5)


def test_dragging_beside_the_charges_turns_the_view(page: Page) -> None:
    choose(page, "dipole")
    before = picture(page)
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 320, steps=4)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert picture(page) != before
    page.click("#home")
    page.wait_for_timeout(300)
    assert np.isclose(page.evaluate("stage.camera.yaw"), 0.62)


def test_keys_reach_everything(page: Page) -> None:
    choose(page, "three_and_two")
    reached = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.tagName.toLowerCase()")
        )
    assert {
        "theme",
        "stage",
        "play",
        "time",
        "closer",
        "home",
        "source",
        "distance",
        "charges",
        "many",
    } <= reached
    assert {"file-plus", "file-minus", "summary"} <= reached

    page.focus("#stage")
    yaw = page.evaluate("stage.camera.yaw")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("stage.camera.yaw") != yaw
    page.keyboard.press("n")
    assert page.inner_text("#status") == "Charge 1 of P at -1.00, -0.60."
    page.keyboard.press("n")
    assert page.inner_text("#status").startswith("Charge 2 of P at 1.00")
    after(page, lambda: page.keyboard.press("Shift+ArrowUp"))
    assert page.evaluate("scene.plus[3]") > -0.6
    page.keyboard.press("q")
    assert page.inner_text("#status").startswith("Charge 1 of Q at")
    page.keyboard.press("Escape")
    assert page.evaluate("stage.chosen") is None


def test_every_control_has_a_name_and_changes_are_announced(page: Page) -> None:
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas')].filter(e => !(e.labels?.length || "
        "e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert page.get_attribute("#status", "aria-live") == "polite"
    assert page.get_attribute("#problem", "role") == "alert"
    assert page.get_attribute("#stage", "aria-describedby") == "keys"
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1


def npz(**arrays: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return {"name": "mine.npz", "mimeType": "application/zip", "buffer": buffer.getvalue()}


def csv(text: str, name: str = "mine.csv") -> dict[str, Any]:
    return {"name": name, "mimeType": "text/csv", "buffer": text.encode()}


DROP = """([text, name, share]) => {
  const data = new DataTransfer(), area = document.querySelector(".screen").getBoundingClientRect();
  data.items.add(new File([text], name));
  const where = { clientX: area.left + share * area.width, clientY: area.top + 100 };
  for (const name of ["dragover", "drop"]) {
    const event = new DragEvent(name, { ...where, dataTransfer: data, bubbles: true, cancelable: true });
    document.getElementById("stage").dispatchEvent(event);
  }
}"""


def test_a_dropped_file_is_drawn_on_the_plate_that_it_was_dropped_on(page: Page) -> None:
    before = picture(page)
    after(page, lambda: page.evaluate(DROP, ["x,y\n0,0\n1,1\n2,-1\n", "mine.csv", 0.2]))
    assert page.evaluate("scene.plus.length") == 6
    assert page.evaluate("scene.minus.length") == 4000
    after(page, lambda: page.evaluate(DROP, ["0 0\n1 1\n", "other.txt", 0.8]))
    assert page.evaluate("[scene.plus.length, scene.minus.length]") == [6, 4]
    assert page.inner_text("#source option:checked") == "Your own: other.txt"
    assert page.inner_text("#charges-said") == "3 and 2"
    assert picture(page) != before


def test_a_chosen_npz_file_fills_both_plates(page: Page) -> None:
    generator = np.random.default_rng(0)
    both = npz(plus=generator.normal(size=(30, 1)), minus=generator.normal(size=(20, 1)))
    after(page, lambda: page.set_input_files("#file-plus", both))
    assert page.evaluate("[scene.features, scene.plus.length, scene.minus.length]") == [1, 30, 20]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (csv("1,2\n3,four\n"), "expected rows of 2 numbers in 'mine.csv', got '3,four'"),
        (csv("1,2,3\n4,5,6\n"), "expected rows of 1 or 2 features"),
        (csv("1\n2\n"), "mine.csv has 1 feature and the other plate 2"),
        (csv("PK", "mine.npz"), "expected an .npz file of NumPy"),
        (csv("1,2", "mine.xlsx"), "expected a name ending in .csv or .npz"),
        (npz(a=np.array([{}], dtype=object)), "nothing is unpickled"),
        (csv("1,2\n" * 2_000_001), "mine.csv has 8,000,004 bytes; at most 8,000,000 are read."),
    ],
)
def test_a_bad_file_gets_a_sentence_and_the_picture_stays(
    page: Page, file: dict[str, Any], said: str
) -> None:
    before = page.evaluate("Array.from(scene.plus.slice(0, 8))")
    page.set_input_files("#file-plus", file)
    page.locator("#problem", has_text=said).wait_for(timeout=PATIENCE)
    assert page.evaluate("Array.from(scene.plus.slice(0, 8))") == before
    after(page, lambda: page.locator("#distance").fill("400"))
    assert page.inner_text("#problem") == ""


def test_samples_travel_along_the_lines(page: Page) -> None:
    still = picture(page)
    page.locator("#time").fill("500")
    page.wait_for_timeout(400)
    assert picture(page) != still
    page.click("#play")
    page.wait_for_timeout(1500)
    assert int(page.input_value("#time")) > 500
    page.locator("#play[aria-label=Pause]").wait_for(timeout=PATIENCE)


def test_less_motion_is_shown_in_still_pictures(open_page: Opener) -> None:
    page = open_page(reduced_motion="reduce")
    settled(page)
    page.evaluate(
        "(() => { window.shares = new Set(); const draw = stage.draw.bind(stage);"
        " stage.draw = () => { shares.add(stage.share); draw(); }; })()"
    )
    page.click("#play")
    page.wait_for_selector("#play:not([aria-label=Pause])", timeout=PATIENCE)
    assert len(page.evaluate("[...shares]")) <= 7


def test_a_run_shows_learned_beside_exact_lines_and_its_report(page: Page) -> None:
    page.select_option("#source", "run:tiny")
    page.wait_for_selector("#report h2", timeout=PATIENCE)
    page.locator("#status", has_text="lines from the same starts").wait_for(timeout=PATIENCE)
    assert seen(page, "lines") == "90"
    assert page.is_disabled("#distance")
    titles = page.locator("#report h2").all_inner_texts()
    assert titles == ["Run tiny", "Measures: From P to Q", "Training", "Pictures", "Settings"]
    shown = page.evaluate(
        "[...document.querySelectorAll('#report img')]"
        ".map(i => (i.loading = 'eager', i.decode().then(() => i.naturalWidth)))"
        ".reduce((all, one) => all.then(list => one.then(w => [...list, w])), Promise.resolve([]))"
    )
    assert len(shown) == 3
    assert min(shown) > 100
    both = picture(page)
    page.check("input[value=learned]")
    page.wait_for_timeout(300)
    assert picture(page) != both
    after(page, lambda: page.check("input[value=live]"))
    assert page.is_enabled("#distance")
    assert seen(page, "lines") == "60"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_system_chooses_dark_or_light_and_the_button_overrules_it(open_page: Opener, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    settled(page)
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(246, 247, 249)", "rgb(18, 21, 26)"
    assert page.evaluate(paper) == (light if scheme == "light" else dark)
    for expected in (light, dark):
        page.click("#theme")
        assert page.evaluate(paper) == expected


@pytest.mark.parametrize("what", ["preset:gaussian_to_swissroll", "run:tiny"])
def test_a_phone_scrolls_down_only(open_page: Opener, what: str) -> None:
    page = open_page(**PHONE)
    settled(page)
    if what.startswith("run"):
        page.select_option("#source", what)
        page.wait_for_selector("#report h2", timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#stage").bounding_box()
    assert box is not None
    assert box["width"] > 340
    assert box["y"] + box["height"] < 844
    small = page.evaluate(
        "[...document.querySelectorAll('button, select, .file')]"
        ".filter(e => e.getBoundingClientRect().height < 32).map(e => e.id)"
    )
    assert small == []


def test_a_report_opens_from_a_file(open_page: Opener, runs: Path, tmp_path: Path) -> None:
    path = write_report(runs / "tiny", tmp_path / "report.html")
    page = open_page(path.as_uri())
    page.wait_for_selector("#report h2", timeout=PATIENCE)
    assert page.inner_text("h1") == "Run tiny"
    assert page.locator("#stage").get_attribute("data-lines") == "90"
    assert not page.is_visible("#distance")
    assert not page.is_visible("#file-plus")
    before = picture(page)
    page.check("input[value=exact]")
    page.focus("#stage")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert picture(page) != before


def test_lines_of_two_thousand_charges_follow_a_slider(page: Page) -> None:
    """How many a second is measured by `python -m bench.lines.slider`."""
    after(page, lambda: page.locator("#charges").fill("1000"))
    assert page.inner_text("#charges-said") == "2000"
    swept = page.evaluate(SWEEP)
    assert swept["frames"] >= 2
    # what is drawn while the engine computes takes its processor
    assert swept["drawn"] <= 2 * swept["frames"] + 2
    assert swept["lines"] >= 15
