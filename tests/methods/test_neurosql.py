"""NeuroSQL: closed forms, and what it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import pushforward as pf
from pushforward.residuals import LocalResiduals, neighbour_groups

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}


def linear_gaussian(n: int = 2000, seed: int = 0) -> np.ndarray:
    """Rows ``A z + 0.1 e`` with z in two and x in six dimensions."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(2, 6))
    return rng.normal(size=(n, 2)) @ mixing + 0.1 * rng.normal(size=(n, 6))


def covariance_error(model: pf.Method, x: np.ndarray) -> float:
    """Relative distance of B B^T from the part of the sample covariance in its two leading directions."""
    encoded = model.schema_.encode(x[model.train_rows_]).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(encoded.T))
    top = vectors[:, -2:] * values[-2:] @ vectors[:, -2:].T
    b = model.law_.generator.weight.double().numpy()  # type: ignore[union-attr, operator]
    return float(np.linalg.norm(b @ b.T - top) / np.linalg.norm(top))


def test_linear_gaussian_closed_form_from_a_random_pairing() -> None:
    """NS-1: with a linear generator the minimum of W2 is the projection on the leading principal directions."""
    x = linear_gaussian()

    def fit(reassign_every: int) -> float:
        model = pf.NeuroSQL(
            latent_dim=2,
            generator=torch.nn.Linear(2, 6),
            initial="random",
            reassign_every=reassign_every,
            learning_rate=0.02,
        )
        return covariance_error(model.fit(x, budget="60 epochs", run=pf.Run(validation=0, **QUIET)), x)

    assert fit(2) <= 0.02
    assert fit(10_000) > 0.5  # without reassignment nothing is learned


def test_lognormal_quantiles_beat_those_of_the_sample() -> None:
    """NS-4: the smooth generator is nearer to the true quantiles than the sample that it was fitted to."""
    levels = np.arange(1, 1000) / 1000
    truth = np.exp(0.75 * torch.special.ndtri(torch.tensor(levels)).numpy())
    wins = 0
    for seed in range(3):
        sample = np.exp(0.75 * np.random.default_rng(seed).normal(size=(1000, 1)))
        model = pf.NeuroSQL(latent_dim=1, noise="none", width=16)
        model.fit(sample, budget="1500 steps", run=pf.Run(validation=0, seed=seed, **QUIET))
        drawn = np.sort(model.decode(torch.special.ndtri(torch.tensor(levels))[:, None].numpy())[:, 0])
        own = np.quantile(sample[:, 0], levels)
        wins += float(np.square(drawn - truth).mean()) < float(np.square(own - truth).mean())
    assert wins >= 2


def test_fixed_lattice_never_increases_the_objective() -> None:
    """NS-5: and the last assignment costs what SciPy's optimum costs."""
    x = linear_gaussian(300)
    model = pf.NeuroSQL(latent_dim=3, lattice="fixed", reassign_every=1, width=16, noise="none")
    model.fit(x, budget="40 epochs", run=pf.Run(validation=0, **QUIET))
    steps = [record for record in model.history_ if "objective" in record]
    assert len(steps) >= 30
    assert all(record["objective"] <= record["objective_before"] * (1 + 1e-6) for record in steps)
    law: Any = model.law_
    target, images = model.schema_.encode(x).double(), law.decode(law.codes).double()
    cost = torch.cdist(target, images).square().numpy()
    best = cost[linear_sum_assignment(cost)].mean()
    assert abs(np.trace(cost) / len(cost) - best) <= 1e-6 * best
    assert abs(steps[-1]["objective"] - best / 6) <= 1e-5 * best


def painter() -> torch.nn.Module:
    layers = [torch.nn.Linear(32, 256), torch.nn.SiLU(), torch.nn.Linear(256, 64), torch.nn.Unflatten(1, (1, 8, 8))]
    return torch.nn.Sequential(*layers)


def test_memorisation_is_noticed() -> None:
    """A fixed lattice, many latent dimensions and few rows: lattice points look better than fresh latents."""
    digits: Any = pf.load_data("digits").values[:500]
    model = pf.NeuroSQL(latent_dim=32, lattice="fixed", noise="none", generator=painter())
    with pytest.warns(UserWarning, match="memorises"):
        model.fit(digits, budget="600 steps", run=pf.Run(validation=0.3, **QUIET))


def test_codes_invert_the_generator() -> None:
    x = linear_gaussian(400)
    model = pf.NeuroSQL(latent_dim=2, width=16, noise="none").fit(x, budget="600 steps", run=pf.Run(**QUIET))
    z = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    made = model.decode(z)
    assert np.abs(model.decode(model.encode(made)) - made).max() < 0.15 * made.std()
    assert model.codes_.shape == (len(model.train_rows_), 2)


def test_outliers_score_higher() -> None:
    x = linear_gaussian(600)
    model = pf.NeuroSQL(latent_dim=2, width=16).fit(x[:500], budget="600 steps", run=pf.Run(**QUIET))
    usual, odd = (
        model.outlier_score(x[500:]),
        model.outlier_score(np.random.default_rng(5).normal(size=(100, 6)) * x.std(0)),
    )
    assert np.median(odd) > 5 * np.quantile(usual, 0.9)


def test_interpolation_starts_and_ends_at_the_reconstructions() -> None:
    x = linear_gaussian(300)
    model = pf.NeuroSQL(latent_dim=2, width=16).fit(x, budget="200 steps", run=pf.Run(**QUIET))
    path = model.interpolate(x[:3], x[3:6], steps=5).reshape(3, 5, 6)
    assert np.allclose(path[:, 0], model.reconstruct(x[:3]), atol=1e-4)
    assert np.allclose(path[:, -1], model.reconstruct(x[3:6]), atol=1e-4)


@pytest.mark.parametrize("features", ["pca", "random"])
def test_features_enter_the_cost(features: Any) -> None:
    images = np.random.default_rng(0).random((80, 9, 9)).astype(np.float32)
    model = pf.NeuroSQL(latent_dim=2, width=8, features=features).fit(images, budget="10 steps", run=pf.Run(**QUIET))
    assert model.sample(3, seed=0).shape == (3, 9, 9)


def test_a_feature_module_of_the_user(tmp_path: Any) -> None:
    module = torch.nn.Linear(6, 2)
    model = pf.NeuroSQL(latent_dim=2, width=8, features=module).fit(
        linear_gaussian(80), budget="5 steps", run=pf.Run(**QUIET)
    )
    model.save(tmp_path / "m")
    with pytest.raises(pf.ModelError, match="give it again: features="):
        pf.load(tmp_path / "m")
    assert np.array_equal(pf.load(tmp_path / "m", features=module).sample(4, seed=0), model.sample(4, seed=0))


def test_the_faithful_mode_runs() -> None:
    model = pf.NeuroSQL(
        latent_dim=2, width=8, lattice="fixed", latent="ball", momentum=0.5, initial="random", noise="none"
    )
    assert np.isfinite(model.fit(linear_gaussian(100), budget="60 steps", run=pf.Run(**QUIET)).sample(10)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 500}, "latent_dim: must be between 1 and the number of training rows"),
        ({"latent_dim": 0}, "latent_dim: must be between"),
        ({"momentum": 0.5}, "momentum"),
        ({"lattice": "hexagonal"}, "lattice: must be one of 'refresh', 'fixed', got 'hexagonal'"),
        ({"noise": "loud"}, "noise: must be one of"),
        ({"features": "random"}, "needs images"),
        ({"batch_size": 0}, "batch_size: must be positive"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pf.NeuroSQL(**arguments).fit(linear_gaussian(100), budget="2 steps", run=pf.Run(**QUIET))


# ---------------------------------------------------------------------- residuals


@pytest.mark.parametrize("n", [4, 17, 64, 101])
def test_groups_cover_all_points(n: int) -> None:
    groups = neighbour_groups(torch.randn(n, 3, generator=torch.Generator().manual_seed(n)), 4)
    assert set(groups.flatten().tolist()) == set(range(n))
    assert all(len(set(group)) == len(group) for group in groups.tolist())


def test_local_residuals_keep_the_local_covariance_and_no_residual() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(64, 2, generator=generator)
    residuals = torch.randn(64, 5, generator=generator) * (1 + codes[:, :1].abs())
    law = LocalResiduals(4)
    law.fit(codes, residuals, generator)
    groups = neighbour_groups(codes, 4)
    wanted = residuals[groups].transpose(1, 2) @ residuals[groups]
    assert torch.allclose(law.factors.transpose(1, 2) @ law.factors, wanted, atol=1e-4)
    assert torch.cdist(law.factors.reshape(-1, 5), residuals).min() > 1e-3
