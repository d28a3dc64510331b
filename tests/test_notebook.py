"""Runs and lines show themselves: in a few words, and in a notebook with a picture and numbers."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from efm_fast import Lines, sample, train
from efm_fast.lines import LineStatus
from efm_fast.training import Run


def lines(end: torch.Tensor) -> Lines:
    n = len(end)
    status = torch.full((n,), int(LineStatus.FRONT))
    status[: n // 4] = int(LineStatus.STEP_LIMIT)
    return Lines(end, torch.ones(n), status, None, torch.full((n,), 30), torch.ones(n))


def picture(html: str) -> Image.Image | None:
    found = re.search(r"data:image/png;base64,([^']+)", html)
    return Image.open(io.BytesIO(base64.b64decode(found[1]))) if found else None


def test_lines_in_a_few_words() -> None:
    text = repr(lines(torch.randn(1000, 3072)))
    assert text == "Lines([1000, 3072]: 750 front, 250 step limit; 30.0 evaluations each)"
    assert len(repr(lines(torch.zeros(0, 2)))) < 80


@pytest.mark.parametrize("shape", [(2,), (3, 8, 8), (1, 28, 28)])
def test_lines_with_a_picture(shape: tuple[int, ...]) -> None:
    end = torch.randn(200, *shape)
    end[0] = torch.nan
    html = lines(end)._repr_html_()
    assert "step limit" in html
    shown = picture(html)
    assert shown is not None
    assert max(shown.size) <= 420
    assert shown.convert("L").getextrema()[0] < 200, "the picture is blank"
    assert len(html) < 300_000


def test_lines_without_a_picture() -> None:
    for end in (torch.randn(20, 5), torch.full((20, 2), torch.nan), torch.zeros(0, 2)):
        html = lines(end)._repr_html_()
        assert "evaluations each" in html
        assert picture(html) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    more = {
        "train.steps": 4,
        "train.batch": 8,
        "method.points.charges": 16,
        "net.width": 16,
        "net.depth": 1,
        "train.log_every": 1,
        "train.picture_every": 4,
        "runs": str(tmp_path_factory.mktemp("runs")),
        "name": "a.b",
    }
    return train("gaussian_to_mixture", more, progress=False)


def test_a_run(run: Run) -> None:
    assert len(repr(run)) < 200
    assert "step 4" in repr(run)
    html = run._repr_html_()
    assert "4 of 4" in html
    assert "gaussian to mixture" in html
    assert picture(html) is not None
    for path in run.folder.rglob("*.png"):
        path.write_bytes(b"damaged")
    assert picture(run._repr_html_()) is None
    for path in run.folder.rglob("*.png"):
        path.unlink()
    assert picture(run._repr_html_()) is None
    assert Path(run.folder).is_dir()
    assert "front" in repr(sample(run, n=20, map="forward", steps=2))
