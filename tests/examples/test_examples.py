"""The recipes against direct float64 formulas; each under 40 lines, with nothing but torch and the public API."""

import ast
import importlib.util
from pathlib import Path

import pytest
import torch

HOME = Path(__file__).parents[2] / "examples"
RECIPES = (
    *("pfgm_target", "pfgmpp_posterior_mean", "diffusion_stable_target"),
    *("stein_descent", "drifting_generator", "kernel_density_score"),
)


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
    assert modules - {"math"} == {"torch", "efm_fast"}


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


def _kernel(x, y, bandwidth):
    return torch.exp(-(x.double()[:, None] - y.double()[None]).square().sum(2) / (2 * bandwidth**2))


def test_stein_direction():
    x, y, _ = _draw(n=20)
    score = -y[:20]
    got = _load("stein_descent").direction(x, score, bandwidth=1.3)
    k = _kernel(x, x, 1.3)
    away = x.double()[:, None] - x.double()[None]
    want = (k @ score.double() + (k[:, :, None] * away).sum(1) / 1.3**2) / len(x)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)


def test_stein_descent_finds_a_gaussian():
    torch.manual_seed(0)
    direction = _load("stein_descent").direction
    centre, x = torch.tensor([1.0, -2.0]), 0.5 * torch.randn(200, 2)
    for _ in range(300):
        x = x + 0.3 * direction(x, centre - x, bandwidth=0.7)
    assert (x.mean(0) - centre).norm() < 0.1
    assert ((x.std(0) - 1).abs() < 0.2).all()


def test_drift_of_a_generator():
    x, y, _ = _draw(n=20)
    got = _load("drifting_generator").drift(x, y, bandwidth=1.5)
    of_data, of_samples = _kernel(x, y, 1.5), _kernel(x, x, 1.5).fill_diagonal_(0)
    want = [w / w.sum(1, keepdim=True) for w in (of_data, of_samples)]
    want = want[0] @ y.double() - want[1] @ x.double()
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def test_score_of_a_kernel_density():
    x, y, _ = _draw()
    density, score = _load("kernel_density_score").log_density_and_score(x, y, bandwidth=0.8)
    points = x.double().requires_grad_()
    normal = torch.distributions.MultivariateNormal(y.double(), 0.64 * torch.eye(6, dtype=torch.float64))
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(50)), normal)
    want = mixture.log_prob(points)
    torch.testing.assert_close(density, want.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        score.double(), torch.autograd.grad(want.sum(), points)[0], rtol=1e-4, atol=1e-4
    )
