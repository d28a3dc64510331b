"""The recipes against direct float64 formulas; each under 40 lines, with nothing but torch and the public API."""

import ast
import importlib.util
from pathlib import Path

import pytest
import torch

HOME = Path(__file__).parents[2] / "examples"
RECIPES = ("pfgm_target", "pfgmpp_posterior_mean", "diffusion_stable_target")


def _load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", HOME / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _draw(n=8, m=50, d=6):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(m, d, generator=generator)
    x = y[:n] + 0.3 * torch.randn(n, d, generator=generator)
    return x, y, torch.rand(n, generator=generator) + 0.1


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short_and_needs_the_public_api_only(name):
    text = (HOME / f"{name}.py").read_text()
    assert len(text.splitlines()) < 40
    modules = set()
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.ImportFrom)
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    assert modules == {"torch", "efm_fast"}


def test_pfgm_target():
    x, y, z = _draw()
    got = _load("pfgm_target").target(x, z, y)
    points = torch.cat([x, z[:, None]], 1).double()
    difference = points[:, None] - torch.nn.functional.pad(y.double(), (0, 1))[None]
    field = (difference / difference.norm(dim=-1, keepdim=True) ** 7).sum(1)
    want = -(6**0.5) * field / field.norm(dim=1, keepdim=True)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def test_pfgm_points_surround_the_data_above_the_plane():
    torch.manual_seed(0)
    y = torch.zeros(2000, 4)
    x, z = _load("pfgm_target").perturb(y)
    assert (z > 0).all()
    spread = x.norm(dim=1).log10()
    assert spread.max() - spread.min() > 2


@pytest.mark.parametrize("d", [1, 128])
def test_pfgmpp_posterior_mean(d):
    x, y, sigma = _draw()
    got = _load("pfgmpp_posterior_mean").denoise(x, sigma, y, d)
    r2 = torch.cdist(x.double(), y.double()) ** 2 + d * sigma.double()[:, None] ** 2
    weight = torch.softmax(-(6 + d) / 2 * torch.log(r2), 1)
    torch.testing.assert_close(got.double(), weight @ y.double(), rtol=1e-5, atol=1e-5)


def test_pfgmpp_sampling_ends_on_data():
    torch.manual_seed(0)
    y = torch.randn(50, 6)
    end = _load("pfgmpp_posterior_mean").sample(20 * torch.randn(8, 6), torch.logspace(1.3, -2, 60), y)
    assert torch.cdist(end, y).amin(1).max() < 0.05


@pytest.mark.parametrize("sigma", [0.2, 3.0])
def test_diffusion_stable_target(sigma):
    x, y, _ = _draw()
    got = _load("diffusion_stable_target").stable_target(x, sigma, y)
    weight = torch.softmax(-(torch.cdist(x.double(), y.double()) ** 2) / (2 * sigma**2), 1)
    want = (weight @ y.double() - x.double()) / sigma**2
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4)
