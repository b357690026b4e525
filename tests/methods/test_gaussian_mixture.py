"""GaussianMixture: a density that is one, EM that finds a known mixture, and data that are hard for covariances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor

import pushforward as pf
from pushforward.methods import GaussianMixture
from pushforward.mixtures import FullMixture, fitted_mixture
from pushforward.solvers.expectation import Choice, fit_components

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
MEANS = np.array([[-3.0, 0.0], [0.0, 2.0], [3.0, -1.0]])
ROOTS = np.array([[[1.0, 0.0], [0.5, 0.4]], [[0.5, 0.0], [-0.6, 0.8]], [[0.3, 0.0], [0.0, 1.2]]])
WEIGHTS = np.array([0.5, 0.3, 0.2])


def known(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a known mixture of three Gaussians in the plane ``[n, 2]``, and their components ``[n]``."""
    rng = np.random.default_rng(seed)
    k = rng.choice(3, n, p=WEIGHTS)
    return MEANS[k] + np.einsum("nij,nj->ni", ROOTS[k], rng.normal(size=(n, 2))), k


def known_log_density(x: np.ndarray) -> np.ndarray:
    whitened = np.stack([np.linalg.solve(root, (x - mean).T).T for mean, root in zip(MEANS, ROOTS, strict=True)], 1)
    log_det = np.log(np.abs(np.linalg.det(ROOTS)))
    parts = np.log(WEIGHTS) - 0.5 * np.square(whitened).sum(2) - log_det - np.log(2 * np.pi)
    return np.asarray(np.logaddexp.reduce(parts, axis=1))


def fit(data: Any, seed: int = 0, condition: Any = None, **settings: Any) -> GaussianMixture:
    return GaussianMixture(**settings).fit(data, condition=condition, run=pf.Run(validation=0, seed=seed, **QUIET))


def grid(side: int = 400, reach: float = 8.0) -> tuple[Tensor, float]:
    """Points of the plane and the area that each stands for."""
    line = torch.linspace(-reach, reach, side)
    return torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2


@pytest.mark.parametrize("latent_dim", [None, 1], ids=["all axes", "one axis and noise"])
def test_the_density_integrates_to_one(latent_dim: int | None) -> None:
    model = fit(known(500, 0)[0], latent_dim=latent_dim)
    points, area = grid()
    assert float(model.law_.log_prob(points).exp().sum()) * area == pytest.approx(1.0, abs=1e-3)  # type: ignore[operator]


def test_the_density_given_each_class_integrates_to_one() -> None:
    x, k = known(500, 0)
    model = fit(x, condition=k)
    points, area = grid()
    for label in range(3):
        labels = torch.full((len(points),), label)
        density = model.law_.log_prob(points, labels).exp()  # type: ignore[operator]
        assert float(density.sum()) * area == pytest.approx(1.0, abs=1e-3)


def test_the_density_is_that_of_scikit_learn() -> None:
    from sklearn.mixture import GaussianMixture as Oracle

    model = fit(known(500, 0)[0], components=3)
    law = model.law_
    basis, latent = law.basis.double(), law.latent  # type: ignore[union-attr]
    oracle = Oracle(3)
    oracle.weights_ = latent.weights.double().numpy()  # type: ignore[union-attr, operator]
    oracle.means_ = (law.mean + latent.means.double() @ basis.T).numpy()  # type: ignore[union-attr, operator]
    factors = basis @ latent.factors.double()  # type: ignore[union-attr, operator]
    precisions = torch.linalg.inv(factors @ factors.transpose(1, 2))
    oracle.precisions_cholesky_ = torch.linalg.cholesky(precisions).numpy()
    x = model.schema_.encode(known(200, 1)[0])
    assert np.allclose(law.log_prob(x).numpy(), oracle.score_samples(x.double().numpy()), atol=1e-3)  # type: ignore[operator]


def test_a_known_mixture_is_found() -> None:
    """Held-out log-likelihood within .05 nat of the truth's."""
    x, held = known(5000, 0)[0], known(5000, 1)[0]
    model = fit(x)
    per_unit = np.log(np.asarray(model.schema_.coder.scale)).sum()  # type: ignore[union-attr]
    assert abs((model.log_prob(held) - per_unit).mean() - known_log_density(held).mean()) < 0.05


def test_samples_have_the_moments_of_the_data() -> None:
    x = known(3000, 0)[0]
    new = fit(x, latent_dim=1).sample(20_000, seed=0)
    assert np.allclose(new.mean(0), x.mean(0), atol=0.1)
    assert np.allclose(new.var(0), x.var(0), rtol=0.1)


def test_more_rows_carry_more_components() -> None:
    """Four far clusters are told apart, and thirty rows do not carry four components."""
    centres = 10 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    x = centres[np.arange(1000) % 4] + np.random.default_rng(0).normal(size=(1000, 2))
    assert fit(x).history_[-1]["components"] >= 4
    assert fit(x[:30]).history_[-1]["components"] <= 2


def test_classes_keep_apart_and_have_their_frequencies() -> None:
    x, k = known(1000, 0)
    model = fit(x, condition=k)
    for label in range(3):
        assert np.allclose(model.sample(2000, seed=0, condition=label).mean(0), x[k == label].mean(0), atol=0.15)
    owners, weights = model.law_.latent.owners, model.law_.latent.weights  # type: ignore[union-attr]
    shares = torch.zeros(3).index_add_(0, owners, weights)  # type: ignore[arg-type]
    assert np.allclose(shares.numpy(), np.bincount(k) / len(k), atol=1e-6)


def test_a_class_of_one_row_is_drawn_with_the_pooled_spread() -> None:
    x, k = known(200, 0)
    k[0], k[1:] = 1, 0
    new = fit(x, condition=k).sample(500, seed=0, condition=1)
    assert np.isfinite(new).all()
    assert (new.std(0) > 0.1).all()


def test_categories_and_atoms_do_not_break_the_covariances() -> None:
    """One-hot columns are linearly dependent, and a column that is mostly zero has no variance in some components."""
    rng = np.random.default_rng(0)
    job = rng.choice(["a", "b", "c"], 600, p=[0.7, 0.25, 0.05])
    gain = np.where(job == "a", 0.0, rng.gamma(2.0, 3.0, 600))
    frame = pd.DataFrame({"job": job, "gain": gain, "twice": 2 * gain, "flag": rng.random(600) < 0.5})
    model = fit(frame)
    assert np.isfinite(model.log_prob(frame)).all()
    new = model.sample(4000, seed=0)
    assert abs((new["job"] == "a").mean() - (job == "a").mean()) < 0.05
    assert (new["gain"][new["job"] == "a"] == 0).mean() > 0.9
    assert (new["gain"][new["job"] != "a"] == 0).mean() < 0.1


def test_images_larger_than_the_number_of_rows() -> None:
    rng = np.random.default_rng(0)
    ramp = rng.random((80, 1, 1, 1)) * np.linspace(0, 1, 64)[:, None, None]
    images = (255 * np.clip(ramp + 0.02 * rng.random((80, 64, 64, 3)), 0, 1)).astype(np.uint8)
    model = fit(images)
    new = model.sample(40, seed=0)
    assert new.shape == (40, 64, 64, 3)
    assert new.dtype == np.uint8
    scores = model.outlier_score(np.stack([images[0], 255 - images[0]]))
    assert scores[0] < scores[1]


def test_noise_is_left_out_of_images_alone() -> None:
    images = np.random.default_rng(0).random((60, 6, 6))
    assert not fit(images).law_.noise
    assert fit(images, noise=True).law_.noise
    assert fit(images.reshape(60, 36)).law_.noise


def test_breast_cancer_by_class_reaches_the_bar_of_small_tables() -> None:
    """370 rows to train: column shapes 1 - KS >= .92 against the other 199, and pair trends >= .93."""
    data = pf.load_data("breast_cancer")
    x, labels = data.values.to_numpy(), np.asarray(data.labels)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:370], order[370:]
    model = fit(data.values.iloc[train], condition=labels[train])
    new = model.sample(1000, seed=0).to_numpy()
    shapes = np.mean([1 - ks_2samp(a, b).statistic for a, b in zip(new.T, x[test].T, strict=True)])
    gaps = np.abs(np.corrcoef(new.T) - np.corrcoef(x[test].T))[np.triu_indices(x.shape[1], 1)]
    assert shapes >= 0.92
    assert 1 - gaps.mean() / 2 >= 0.93


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"components": 0}, "components"), ({"latent_dim": 3}, "latent_dim"), ({"starts": 0}, "starts")],
)
def test_arguments_out_of_range_are_named(settings: dict[str, int], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        fit(known(50, 0)[0], **settings)


def test_more_starts_do_not_lower_the_likelihood() -> None:
    x = known(300, 0)[0]
    one, many = (fit(x, components=8, starts=starts).history_[-1]["loss"] for starts in (1, 10))
    assert many <= one


# ---------------------------------------------------------------------- the mixture by itself


def test_an_unfitted_mixture_is_standard_gaussian() -> None:
    law, x = FullMixture(3, classes=2), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
    assert torch.allclose(law.log_prob(x), expected)
    assert torch.allclose(law.log_prob(x, torch.tensor([0, 1, 0, 1, 0])), expected)


def test_shrinkage_keeps_the_mean_covariance() -> None:
    x = torch.from_numpy(known(400, 0)[0])
    parts = fit_components(x, None, 4, floor=1e-4, seed=0)
    pooled = (parts.weights[:, None, None] * parts.covariances).sum(0)
    limit = parts.factors(1e9)
    assert torch.allclose(limit @ limit.transpose(1, 2), pooled.expand_as(limit), atol=1e-5)
    none = parts.factors(0.0)
    assert torch.allclose(none @ none.transpose(1, 2), parts.covariances)


def test_a_choice_survives_being_saved() -> None:
    x = torch.from_numpy(known(400, 0)[0])
    whole, second = (Choice(x, None, floor=1e-3, seed=0) for _ in range(2))
    for k in whole.candidates:
        whole.look(k)
    second.look(whole.candidates[0])
    third = Choice(x, None, floor=1e-3, seed=0)
    third.load_state_dict(second.state_dict())
    for k in whole.candidates[1:]:
        third.look(k)
    assert third.best == whole.best


def test_too_few_rows_for_a_choice_give_one_component() -> None:
    law = fitted_mixture(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), None, floor=1e-3, seed=0)
    assert len(law.weights) == 1
