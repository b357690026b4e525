"""VAE: the linear-Gaussian closed form, the mixture on its codes, and what the encoder is good for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import pushforward as pf
from pushforward import nets
from pushforward.methods import VAE
from pushforward.methods.vae import AutoencoderLaw, Posterior

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
SMALL: dict[str, Any] = {"latent_dim": 2, "width": 16, "learning_rate": 5e-3}


def fit(data: Any, steps: int = 600, condition: Any = None, **settings: Any) -> VAE:
    run = pf.Run(validation=0, **QUIET)
    return VAE(**{**SMALL, **settings}).fit(data, condition=condition, budget=f"{steps} steps", run=run)


def law_of(model: VAE) -> AutoencoderLaw:
    assert isinstance(model.law_, AutoencoderLaw)
    return model.law_


ANGLES = np.arange(6) * np.pi / 6
MIXING = np.stack([np.cos(ANGLES), np.sin(ANGLES)])  # equal variances, so that standardised noise is isotropic still


def linear_gaussian(n: int = 2000, seed: int = 0) -> np.ndarray:
    """Rows ``A z + 0.5 e`` with z in two and x in six dimensions."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ MIXING + 0.5 * rng.normal(size=(n, 6))


def three_clusters(n: int = 900) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[n, 4]`` around three far centres, and the number of the centre."""
    rng = np.random.default_rng(0)
    k = np.arange(n) % 3
    return (8 * rng.normal(size=(3, 4)))[k] + rng.normal(size=(n, 4)), k


@pytest.fixture(scope="module")
def linear() -> tuple[VAE, torch.Tensor]:
    """A fit to a linear-Gaussian model, and its encoded rows in float64."""
    model = fit(linear_gaussian(), 800, prior="gaussian")
    return model, model.schema_.encode(linear_gaussian()).double()


def test_the_evidence_bound_is_below_the_log_likelihood_and_near_it(linear: tuple[VAE, torch.Tensor]) -> None:
    """On fresh rows, where no bound can exceed the density that they come from."""
    model, _ = linear
    fresh = linear_gaussian(4000, seed=1)
    truth = multivariate_normal(np.zeros(6), MIXING.T @ MIXING + 0.25 * np.eye(6)).logpdf(fresh)
    scales = np.log(np.asarray(model.schema_.coder.scale)).sum()  # type: ignore[union-attr]
    bound = law_of(model).evidence_bound(model.schema_.encode(fresh)).numpy() - scales
    assert -0.3 < (bound - truth).mean() < 0.0


def test_the_decoder_spans_the_leading_principal_directions(linear: tuple[VAE, torch.Tensor]) -> None:
    model, x = linear
    z = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = law_of(model).decode(z).double()
    spans = [torch.linalg.svd(rows - rows.mean(0))[2][:2] for rows in (made, x)]
    assert float(torch.linalg.svdvals(spans[0] @ spans[1].T).min()) > 0.98


def test_the_learned_variance_is_that_of_the_rest(linear: tuple[VAE, torch.Tensor]) -> None:
    model, x = linear
    rest = torch.linalg.eigvalsh(torch.cov(x.T))[:4].mean()
    assert float(law_of(model).noise_variance) == pytest.approx(float(rest), rel=0.15)


def test_samples_with_noise_have_the_covariance_of_the_data(linear: tuple[VAE, torch.Tensor]) -> None:
    model, x = linear
    new = model.schema_.encode(model.sample(5000, seed=0)).double()
    target = torch.cov(x.T)
    assert float((torch.cov(new.T) - target).norm() / target.norm()) < 0.15


def test_the_divergence_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    q = Posterior(torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator))
    mine = torch.distributions.Normal(q.mean, q.log_scale.exp())
    expected = torch.distributions.kl_divergence(mine, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(q.divergence(), expected, atol=1e-5)


def test_the_mixture_fills_the_codes_better_than_the_prior_of_the_model() -> None:
    """Between far clusters the Gaussian prior makes rows that the data do not have."""
    x, _ = three_clusters()
    stray = {}
    for prior in ("mixture", "gaussian"):
        new = torch.from_numpy(fit(x, 250, prior=prior).sample(500, seed=0))
        distance = torch.cdist(new, torch.from_numpy(x)).amin(1)
        stray[prior] = float((distance > 3.0).float().mean())
    assert stray["mixture"] < 0.02
    assert stray["gaussian"] > 2 * stray["mixture"] + 0.02


def test_labels_choose_the_cluster() -> None:
    x, k = three_clusters()
    for prior in ("mixture", "gaussian"):
        model = fit(x, 250, condition=k, prior=prior)
        for label in range(3):
            new = model.sample(300, seed=0, condition=label)
            assert np.allclose(new.mean(0), x[k == label].mean(0), atol=0.8)
        owners, weights = law_of(model).latent.owners, law_of(model).latent.weights
        assert torch.allclose(torch.zeros(3).index_add_(0, owners, weights), torch.full((3,), 1 / 3))


def test_codes_reconstruct_and_far_rows_score_high() -> None:
    x, _ = three_clusters()
    model = fit(x, 250)
    again = model.reconstruct(x)
    assert np.square(again - x).mean() < 0.1 * x.var(0).mean()
    scores = model.outlier_score(np.concatenate([x[:50], x[:50] + 40.0]))
    assert scores[:50].max() < scores[50:].min()
    assert np.array_equal(scores, model.outlier_score(np.concatenate([x[:50], x[:50] + 40.0])))
    path = model.interpolate(x[:1], x[1:2], steps=9)
    assert np.allclose(path[[0, -1]], again[:2], atol=1e-3)


def test_noise_is_left_out_of_images_alone() -> None:
    images = np.random.default_rng(0).random((60, 6, 6))
    assert not law_of(fit(images, 3)).noise
    assert law_of(fit(images, 3, noise=True)).noise
    assert law_of(fit(images.reshape(60, 36), 3)).noise


def test_a_wall_budget_leaves_time_for_the_mixture() -> None:
    x, _ = three_clusters()
    model = VAE(**SMALL).fit(x, budget="1s", run=pf.Run(validation=0, **QUIET))
    assert model.seconds_["mixture"] > 0
    assert len(law_of(model).latent.weights) > 1


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"annealing": 1.5}, "annealing"), ({"latent_dim": 0}, "latent_dim"), ({"ema_decay": 1.0}, "ema_decay")],
)
def test_arguments_out_of_range_are_named(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        fit(linear_gaussian(50), 3, **settings)


@pytest.mark.parametrize("shape", [(1, 9, 7), (3, 64, 64), (1, 1, 1), (3, 5, 1), (1, 28, 28), (4,)])
def test_encoders_take_any_size(shape: tuple[int, ...]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nets.encoder(shape, 5, width=8)
        x = torch.randn(3, *shape, requires_grad=True)
    out = net(x)
    assert out.shape == (3, 5)
    assert torch.allclose(out[:1], net(x[:1]), atol=1e-4)  # no statistics of the batch
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert (gradient != 0).any(dim=0).all()  # every pixel counts


@pytest.mark.parametrize("shape", [(2, 2), (1, 0, 3)])
def test_encoders_refuse_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="event_shape"):
        nets.encoder(shape, 5)
