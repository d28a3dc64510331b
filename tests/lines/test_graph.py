from __future__ import annotations

import pytest
import torch

from efm_fast.config import Config
from efm_fast.data import make_source
from efm_fast.errors import InputError
from efm_fast.lines import GraphedForwardMap, forward_map
from efm_fast.methods import Problem, make_method
from efm_fast.runs.run import untrained
from efm_fast.types import Geometry

from .conftest import gaussian

GEOMETRY = Geometry(
    L=3.0, s=2.0, nearest=0.01, shape=(2,), centre=(0.0, 0.0), radius=3.0, scale=1.0, low=-3.0, high=3.0
)


def test_a_graph_needs_a_cuda_device(uniform_field):
    with pytest.raises(InputError, match="device: expected a CUDA device, got 'cpu'"):
        GraphedForwardMap(uniform_field, 4, 2, "cpu", steps=3)


@pytest.mark.gpu
def test_a_replay_is_the_map():
    config = Config.load(
        {"name": "graph", "plus": {"name": "gaussian"}, "minus": {"name": "swiss_roll"}, "L": 3.0}
    )
    source = make_source("moons")
    field = untrained(config, make_method(config.method, Problem(GEOMETRY, source, source, 0))).cuda()
    settings = {"steps": 6, "method": "midpoint", "spacing": "log"}
    graph = GraphedForwardMap(field, 32, 2, "cuda", **settings)
    for seed in range(3):
        x0 = gaussian(32, seed).cuda()
        assert torch.allclose(graph(x0), forward_map(field, x0, **settings).end, rtol=1e-4, atol=1e-4)
