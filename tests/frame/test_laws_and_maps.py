"""Laws and maps against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from pushforward.laws import Ball, Empirical, Gaussian, Lattice, Law, Mixture, Pushforward, Tilted, Uniform, UnitLaw
from pushforward.maps import Affine, Compose, Flow, GradientMap, GradientStep, Network


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MATRIX = torch.tensor([[2.0, 0.3], [-0.5, 0.7]])
SHIFT = torch.tensor([1.0, -2.0])


def shifted(mean: float, scale: float = 1.0) -> Law:
    return Pushforward(Affine(scale * torch.eye(1), torch.tensor([mean])), Gaussian((1,)))


def test_gaussian_density() -> None:
    x = torch.randn(50, 2, 3, generator=rng())
    assert torch.allclose(Gaussian((2, 3)).log_prob(x), Normal(0.0, 1.0).log_prob(x).sum((1, 2)), atol=1e-5)


def test_uniform_density_is_one_inside_and_none_outside() -> None:
    found = Uniform((2,)).log_prob(torch.tensor([[0.2, 0.9], [0.2, 1.1]]))
    assert found.tolist() == [0.0, -math.inf]


@pytest.mark.parametrize("law", [Gaussian((3,)), Uniform((3,)), Ball(3)], ids=["gaussian", "uniform", "ball"])
def test_unit_laws_have_the_right_moments(law: UnitLaw) -> None:
    x = law.sample(40_000, generator=rng())
    variance = {Gaussian: 1.0, Uniform: 1 / 12, Ball: 1 / 9}[type(law)]  # ball: E r^2 / d with r uniform
    assert torch.allclose(x.var(0), torch.full((3,), variance), rtol=0.05)
    again = law.from_uniform(torch.rand(40_000, law.uniform_dim, generator=rng(1), dtype=torch.float64))
    assert torch.allclose(again.var(0), torch.full((3,), variance, dtype=torch.float64), rtol=0.05)
    assert (law.energy(x) >= 0).all()


def test_energies_rise_outside_the_support() -> None:
    outside = torch.tensor([[1.5, 0.5]])
    assert Uniform((2,)).energy(outside) > 1e4
    assert Ball(2).energy(outside) > 1e4
    assert Gaussian((2,)).energy(outside).item() == pytest.approx(2.5)


def test_gaussian_paths_keep_their_radius_and_others_are_straight() -> None:
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    path = Gaussian((2,)).between(a, b, 5)
    assert torch.allclose(path.norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(path[[0, -1]], torch.cat([a, b]), atol=1e-5)
    assert torch.allclose(Ball(2).between(a, b, 3)[1], torch.tensor([0.5, 0.5]))


def test_pushforward_density_is_the_change_of_variables() -> None:
    law = Pushforward(Affine(MATRIX, SHIFT), Gaussian((2,)))
    x = law.sample(100, generator=rng())
    truth = MultivariateNormal(SHIFT, MATRIX @ MATRIX.T).log_prob(x)
    assert law.can("log_prob")
    assert torch.allclose(law.log_prob(x), truth, atol=1e-4)


def test_pushforward_density_integrates_to_one() -> None:
    law = Pushforward(Flow([Affine(MATRIX, SHIFT), Affine(0.5 * torch.eye(2), SHIFT)]), Gaussian((2,)))
    side = torch.linspace(-10, 10, 401)
    grid = torch.cartesian_prod(side, side)
    assert law.log_prob(grid).exp().sum().item() * 0.05**2 == pytest.approx(1.0, abs=1e-3)


def test_pushforward_without_an_inverse_has_no_density() -> None:
    law = Pushforward(Network(torch.nn.Linear(2, 3)), Gaussian((2,)))
    assert law.event_shape == (3,)
    assert not law.can("log_prob")
    with pytest.raises(AttributeError, match="no inverse"):
        law.log_prob(torch.zeros(1, 3))


def test_mixture_density_and_frequencies() -> None:
    law = Mixture([shifted(-5.0), shifted(5.0, 2.0)], torch.tensor([1.0, 3.0]))
    x = law.sample(8000, generator=rng())
    assert (x > 0).float().mean().item() == pytest.approx(0.75, abs=0.02)
    truth = 0.25 * Normal(-5.0, 1.0).log_prob(x).exp() + 0.75 * Normal(5.0, 2.0).log_prob(x).exp()
    assert torch.allclose(law.log_prob(x), truth.log()[:, 0], atol=1e-4)
    assert abs(float((x[1:] > 0).float().mean() - (x[:-1] > 0).float().mean())) < 0.01
    assert (x[:4000] > 0).float().mean().item() == pytest.approx(0.75, abs=0.03)  # the order is shuffled


def test_mixture_refuses_what_does_not_match() -> None:
    with pytest.raises(ValueError, match="weights"):
        Mixture([Gaussian((1,))], torch.ones(2))
    with pytest.raises(ValueError, match="shapes differ"):
        Mixture([Gaussian((1,)), Gaussian((2,))], torch.ones(2))


def test_lattice_returns_every_point_once_a_pass() -> None:
    points = torch.arange(6.0)[:, None]
    drawn = Lattice(points).sample(12, generator=rng())[:, 0]
    assert sorted(drawn[:6].tolist()) == sorted(drawn[6:].tolist()) == points[:, 0].tolist()
    assert Lattice(points).sample(0).shape == (0, 1)


def test_empirical_draws_its_own_rows() -> None:
    points = torch.randn(5, 2, generator=rng())
    drawn = Empirical(points).sample(40, generator=rng())
    assert (drawn[:, None] == points).all(2).any(1).all()
    with pytest.raises(ValueError, match="at least one row"):
        Empirical(torch.empty(0, 2))


class Quadratic(torch.nn.Module):
    """``u(z) = |z|^2 / 2``: its gradient is the identity."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square().sum(1) / 2


class TwoQuadratics(torch.nn.Module):
    """A potential for each of two classes, the second twice as steep."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square().sum(1)[:, None] * torch.tensor([0.5, 1.0])


def test_tilting_a_gaussian_by_its_own_energy_halves_the_variance() -> None:
    law = Tilted(Gaussian((1,)), Quadratic(), pool=128)
    assert law.sample(4000, generator=rng()).var().item() == pytest.approx(0.5, rel=0.07)
    # E w = 2^-1/2 and E w^2 = 3^-1/2 for w = exp(-z^2 / 2)
    assert law.effective_size(20_000, generator=rng()) == pytest.approx(20_000 * math.sqrt(3) / 2, rel=0.03)


def test_gradient_maps() -> None:
    z = torch.randn(7, 3, generator=rng())
    assert torch.allclose(GradientMap(Quadratic())(z), z)
    assert torch.allclose(GradientStep(Quadratic(), 0.25)(z), 0.75 * z)
    assert torch.allclose(Compose([GradientStep(Quadratic(), 0.5), GradientStep(Quadratic(), 0.5)])(z), 0.25 * z)
    assert torch.allclose(GradientStep(Quadratic(), torch.tensor([0.5, 0.25, 0.0]))(z), 0.375 * z)
    own = GradientStep(TwoQuadratics(), torch.tensor([[0.5, 0.0], [0.5, 0.25]]))
    assert torch.allclose(own(z[:2], torch.tensor([0, 1])), torch.tensor([[0.25], [0.5]]) * z[:2])
    with torch.no_grad():
        assert not GradientMap(Quadratic())(z).requires_grad
    with pytest.raises(ValueError, match="shape"):
        GradientMap(torch.nn.Linear(3, 1))(z)


def test_gradients_reach_the_potentials_parameters() -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, z: Tensor) -> Tensor:
            return self.a * z.square().sum(1) / 2

    potential, z = Scaled(), torch.randn(5, 2, generator=rng())
    GradientMap(potential)(z).square().sum().backward()
    assert potential.a.grad is not None
    assert potential.a.grad.item() == pytest.approx(2 * 2.0 * z.square().sum().item(), rel=1e-5)


def test_flow_inverse_and_log_det_against_autograd() -> None:
    flow = Flow([Affine(MATRIX, SHIFT), Affine(MATRIX.T.contiguous(), -SHIFT)])
    z = torch.randn(4, 2, generator=rng())
    back, log_det = flow.inverse_and_log_det(flow(z))
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0], z[0])
    assert torch.allclose(back, z, atol=1e-5)
    assert torch.allclose(log_det, -torch.linalg.slogdet(jacobian).logabsdet.expand(4), atol=1e-5)
    with pytest.raises(ValueError, match="without inverse: Network"):
        Flow([Network(torch.nn.Identity())])
