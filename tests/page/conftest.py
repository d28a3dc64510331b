"""A run to look at, and a server of the page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import efm_fast
from efm_fast.page.server import PageServer

TINY = {
    "train.steps": 30,
    "train.batch": 32,
    "method.points.charges": 64,
    "net.width": 16,
    "net.depth": 1,
    "train.log_every": 5,
    "train.picture_every": 20,
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run, which was measured."""
    folder = tmp_path_factory.mktemp("page") / "runs"
    run = efm_fast.train("gaussian_to_mixture", {**TINY, "runs": str(folder), "name": "tiny"}, progress=False)
    efm_fast.evaluation.write_evaluation(run, efm_fast.evaluate(run, n=64))
    return folder


@pytest.fixture
def server(runs: Path) -> Iterator[PageServer]:
    with PageServer(runs) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield served
        served.shutdown()
        thread.join()
