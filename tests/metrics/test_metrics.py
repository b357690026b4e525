"""Each metric against a closed form or a plain loop."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pushforward import metrics
from pushforward.metrics.copying import rank_test
from pushforward.metrics.rows import nearest, neighbour_radius
from pushforward.nets import random_features


def normal(n: int, d: int, seed: int, *, mean: float = 0.0, sd: float = 1.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return mean + sd * torch.randn(n, d, generator=rng, dtype=torch.float64)


# ---------------------------------------------------------------- Measurement and bootstrap


def test_measurement_reads_well() -> None:
    assert str(metrics.Measurement(0.5, 0.4, 0.6, 100)) == "0.5 (0.4 to 0.6; n=100, raw features)"


def test_bootstrap_interval_covers_the_mean() -> None:
    """Over 200 samples of a skewed law the 95 % interval covers the true mean about 95 % of the time."""
    rng = torch.Generator().manual_seed(0)
    samples = -torch.rand(200, 60, generator=rng, dtype=torch.float64).log()
    intervals = [metrics.bootstrap_interval(values, n_resamples=300) for values in samples]
    covered = sum(low <= 1 <= high for low, high in intervals)
    assert 175 <= covered <= 199


def test_bootstrap_takes_any_statistic_and_a_generator() -> None:
    values = torch.arange(101.0)
    low, high = metrics.bootstrap_interval(
        values, lambda v: v.median(dim=-1).values, generator=torch.Generator().manual_seed(1)
    )
    assert 25 < low < 50 < high < 75
    assert metrics.bootstrap_interval(values) == metrics.bootstrap_interval(values)


def test_bootstrap_refuses_one_value() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        metrics.bootstrap_interval(torch.ones(1))


# ---------------------------------------------------------------- neighbours


def test_nearest_is_exact_even_far_from_the_origin() -> None:
    y = normal(300, 5, 0, mean=1000.0).float()
    x = torch.cat([y[:7], normal(50, 5, 1, mean=1000.0).float()])
    brute = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
    torch.testing.assert_close(nearest(x, y).double(), brute, atol=1e-6, rtol=1e-5)
    assert float(nearest(x, y)[:7].max()) == 0


def test_neighbour_radius_skips_the_row_itself() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0]])
    assert neighbour_radius(x, 1).tolist() == pytest.approx([1, 1, 4])
    assert neighbour_radius(x, 2).tolist() == pytest.approx([9, 4, 9])


# ---------------------------------------------------------------- Frechet


def test_frechet_of_two_gaussians() -> None:
    """N(0, I) and N(1, 1.5^2 I) in eight dimensions: 8 (1 + .5^2) = 10."""
    found = metrics.frechet_distance(normal(5000, 8, 0), normal(5000, 8, 1, mean=1.0, sd=1.5))
    assert found.value == pytest.approx(10, abs=0.3)
    assert found.low < 10 < found.high
    assert found.high - found.low < 1


def test_frechet_interval_covers_the_truth() -> None:
    """N(0, I) and N(.5, I) in three dimensions, 100 repetitions: .75 plus the bias of the estimate."""
    truth = 0.75 + metrics.frechet_floor(torch.eye(3), 400, 400)
    found = [metrics.frechet_distance(normal(400, 3, i), normal(400, 3, 1000 + i, mean=0.5)) for i in range(100)]
    assert 88 <= sum(m.low <= truth <= m.high for m in found) <= 100
    assert np.std([m.value for m in found]) == pytest.approx(np.mean([m.high - m.low for m in found]) / 3.92, rel=0.3)


def test_frechet_floor_is_the_bias_between_equal_laws() -> None:
    scales = torch.linspace(0.3, 2, 6, dtype=torch.float64)
    values = [
        metrics.frechet_distance(normal(200, 6, i) * scales, normal(200, 6, 500 + i) * scales).value for i in range(60)
    ]
    assert metrics.frechet_floor(torch.diag(scales**2), 200, 200) == pytest.approx(np.mean(values), rel=0.1)
    d, n = 64, 2000
    closed = 2 * d / n + d * (d + 1) / (2 * n)
    assert metrics.frechet_floor(torch.eye(d), n, n) == pytest.approx(closed)


def test_frechet_of_singular_covariances() -> None:
    """Diagonal covariances commute: the distance is that of the standard deviations, zeros included."""
    a, b = torch.tensor([4.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 9.0, 0.0])
    found = metrics.frechet_from_moments(torch.zeros(4), torch.diag(a), torch.ones(4), torch.diag(b))
    assert found == pytest.approx(4 + 1 + 1 + 9, abs=1e-6)


def test_frechet_agrees_with_a_matrix_square_root() -> None:
    from scipy.linalg import sqrtm

    a, b = (normal(50, 5, seed) @ normal(5, 5, seed + 9) for seed in (0, 1))
    s, t = a.T @ a / 50, b.T @ b / 50
    reference = np.trace((s + t).numpy() - 2 * sqrtm((s @ t).numpy()).real)
    assert metrics.frechet_from_moments(torch.zeros(5), s, torch.zeros(5), t) == pytest.approx(reference, rel=1e-8)


def test_frechet_refuses_too_few_rows_unless_told() -> None:
    few = normal(15, 8, 0)
    with pytest.raises(ValueError, match="15 rows are too few for 8 features"):
        metrics.frechet_distance(few, few)
    assert metrics.frechet_distance(few, few, min_rows=10).value == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------- kernels


def test_kid_equals_the_double_loop() -> None:
    x, y = normal(23, 4, 0), normal(31, 4, 1, mean=0.4)

    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 4 + 1) ** 3)

    same = [sum(k(a, b) for a, b in itertools.permutations(v, 2)) / (len(v) * (len(v) - 1)) for v in (x, y)]
    cross = sum(k(a, b) for a in x for b in y) / (23 * 31)
    assert metrics.kid(x, y).value == pytest.approx(sum(same) - 2 * cross, rel=1e-10)


def test_kid_is_unbiased_and_its_interval_covers() -> None:
    found = [metrics.kid(normal(100, 3, i), normal(100, 3, 300 + i)) for i in range(150)]
    values = np.array([m.value for m in found])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(150)
    assert np.mean([m.low <= 0 <= m.high for m in found]) > 0.88


def test_energy_distance_equals_the_double_loop() -> None:
    x, y = normal(22, 3, 0), normal(27, 3, 1, mean=0.7)
    same = [sum((a - b).norm() for a, b in itertools.permutations(v, 2)) / (len(v) * (len(v) - 1)) for v in (x, y)]
    cross = sum((a - b).norm() for a in x for b in y) / (22 * 27)
    assert metrics.energy_distance(x, y).value == pytest.approx(float(2 * cross - sum(same)), rel=1e-6)


def test_energy_distance_of_shifted_gaussians() -> None:
    """One dimension, N(0, 1) and N(1, 1): 2 E|N(1, 2)| - 2 E|N(0, 2)|, folded normal means."""
    folded = 2 * math.exp(-0.25) / math.sqrt(math.pi) + math.erf(0.5)
    truth = 2 * folded - 4 / math.sqrt(math.pi)
    found = metrics.energy_distance(normal(3000, 1, 0), normal(3000, 1, 1, mean=1.0))
    assert found.low < truth < found.high
    assert found.value == pytest.approx(truth, rel=0.15)


@pytest.mark.parametrize("metric", [metrics.kid, metrics.energy_distance])
def test_kernel_metrics_refuse_few_rows(metric: object) -> None:
    with pytest.raises(ValueError, match="at least 20"):
        metric(normal(19, 2, 0), normal(40, 2, 1))  # type: ignore[operator]


# ---------------------------------------------------------------- precision and recall


def test_precision_recall_equal_a_plain_loop() -> None:
    x, y = normal(40, 2, 0, mean=0.8), normal(35, 2, 1)

    def inside(points: Tensor, centres: Tensor) -> float:
        radii = [sorted(float((a - b).norm()) for b in centres)[3] for a in centres]  # index 0 is the row itself
        return float(np.mean([any((p - c).norm() <= r for c, r in zip(centres, radii, strict=True)) for p in points]))

    found = metrics.precision_recall(x, y, k=3)
    assert found.precision.value == pytest.approx(inside(x, y))
    assert found.recall.value == pytest.approx(inside(y, x))
    assert found.recall.low < found.recall.value < found.recall.high


def test_precision_and_recall_tell_blur_from_noise() -> None:
    data = normal(500, 4, 0)
    narrow = metrics.precision_recall(0.3 * normal(500, 4, 1), data)
    wide = metrics.precision_recall(3 * normal(500, 4, 2), data)
    assert narrow.precision.value > 0.99
    assert narrow.recall.value < 0.5
    assert wide.precision.value < 0.5
    assert wide.recall.value > 0.9


# ---------------------------------------------------------------- Wasserstein


def test_wasserstein_of_a_shift_is_its_square() -> None:
    x = normal(200, 3, 0)
    shift = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    shuffled = (x + shift)[torch.randperm(200, generator=torch.Generator().manual_seed(1))]
    assert metrics.wasserstein2(x, shuffled) == pytest.approx(0.14, rel=1e-4)


def test_wasserstein_in_one_dimension_sorts() -> None:
    x, y = normal(300, 1, 0), normal(300, 1, 1, mean=2.0)
    expected = (x[:, 0].sort().values - y[:, 0].sort().values).square().mean()
    assert metrics.wasserstein2(x, y) == pytest.approx(float(expected), rel=1e-6)


def test_wasserstein_ratio_is_one_for_real_rows_and_large_for_far_ones() -> None:
    train, held = normal(600, 4, 0), normal(250, 4, 1)
    real = metrics.wasserstein_ratio(normal(250, 4, 2), train, held)
    assert real.value == pytest.approx(1, abs=0.15)
    assert real.low < 1 < real.high
    assert real.n == 250
    assert metrics.wasserstein_ratio(normal(250, 4, 2, mean=1.0), train, held).low > 2


def test_wasserstein_ratio_refuses_held_rows_that_were_trained_on() -> None:
    with pytest.raises(ValueError, match="same rows"):
        metrics.wasserstein_ratio(normal(30, 2, 0), normal(30, 2, 1), normal(30, 2, 1))


# ---------------------------------------------------------------- copying


def test_nearest_ratio_flags_copies() -> None:
    train, held = normal(800, 6, 0), normal(200, 6, 1)
    fresh, copies = normal(200, 6, 2), train[:200] + 0.01 * normal(200, 6, 3)
    half = torch.cat([fresh[:170], copies[:30]])
    assert metrics.nearest_ratio(fresh, train, held).value == pytest.approx(1, abs=0.1)
    assert metrics.nearest_ratio(copies, train, held).high < 0.1
    assert metrics.nearest_ratio(half, train, held).value > 0.8
    assert metrics.nearest_ratio(half, train, held, quantile=0.05).high < 0.2
    assert metrics.memorisation(copies, train, held).p_value < 1e-10
    assert metrics.memorisation(fresh, train, held).p_value > 0.01


def test_rank_test_agrees_with_scipy() -> None:
    from scipy.stats import mannwhitneyu

    ours, theirs = normal(40, 1, 0)[:, 0].mul(4).round(), normal(55, 1, 1, mean=0.3)[:, 0].mul(4).round()  # many ties
    reference = mannwhitneyu(ours.numpy(), theirs.numpy(), alternative="less", method="asymptotic")
    found = rank_test(ours, theirs)
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-6)
    assert found.share == pytest.approx(1 - reference.statistic / (40 * 55))


def test_memorisation_p_value_is_uniform_where_nothing_is_copied() -> None:
    train = normal(300, 3, 0)
    p = [metrics.memorisation(normal(40, 3, 2 * i + 1), train, normal(40, 3, 2 * i + 2)).p_value for i in range(200)]
    below = [np.mean(np.array(p) < level) for level in (0.1, 0.5, 0.9)]
    assert below == pytest.approx([0.1, 0.5, 0.9], abs=0.09)


def test_rank_test_of_equal_values_finds_nothing() -> None:
    found = rank_test(torch.zeros(10), torch.zeros(10))
    assert found.share == 0.5
    assert found.p_value == 0.5


# ---------------------------------------------------------------- features


def test_features_are_applied_and_named() -> None:
    x, y = normal(300, 10, 0).float(), normal(300, 10, 1, mean=0.5).float()
    pca = metrics.PCAFeatures.fit(x, 3)
    found = metrics.frechet_distance(x, y, features=pca)
    assert found.features == "pca-3"
    assert found.value == pytest.approx(metrics.frechet_distance(pca(x), pca(y)).value, rel=1e-5)
    assert metrics.kid(x, y, features=random_features((10,), dim=8)).features == "RandomFeatures"


def test_pca_features_find_the_plane() -> None:
    plane = normal(400, 2, 0) @ normal(2, 7, 1) + 5
    pca = metrics.PCAFeatures.fit(plane, 2)
    assert pca.explained == pytest.approx(1)
    assert float(pca(plane).var(dim=0).mean()) == pytest.approx(1)
    with pytest.raises(ValueError, match="dim=8"):
        metrics.PCAFeatures.fit(plane, 8)


def digits() -> tuple[Tensor, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.tensor(bunch.images / 8 - 1, dtype=torch.float32)[:, None], bunch.target


def test_classifier_reads_digits() -> None:
    x, labels = digits()
    state = torch.get_rng_state()
    classifier = metrics.train_classifier(x[:1300], labels[:1300], seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert classifier.accuracy >= 0.975
    assert classifier(x[:5]).shape == (5, 32)
    assert float(classifier(x[:1300]).var(dim=0).mean()) == pytest.approx(1, rel=0.1)
    assert not any(p.requires_grad for p in classifier.parameters())


def test_classifier_takes_vectors_and_words() -> None:
    x = torch.cat([normal(150, 5, 0), normal(150, 5, 1, mean=2.0)]).float()
    words = ["cat"] * 150 + ["dog"] * 150
    one, same = (metrics.train_classifier(x, words, seed=4, dim=6, n_steps=60) for _ in range(2))
    assert one.classes == ("cat", "dog")
    assert one.accuracy > 0.9
    assert torch.equal(one(x), same(x))


def test_classifier_refuses_labels_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="one label a row"):
        metrics.train_classifier(torch.zeros(5, 2), [0, 1])


# ---------------------------------------------------------------- the report of a fit


def test_held_out_report_of_real_rows_and_of_copies() -> None:
    train, held = normal(500, 5, 0).float(), normal(120, 5, 7).float()
    state = torch.get_rng_state()
    real = metrics.held_out_report(normal(150, 5, 3).float(), train, held)
    copied = metrics.held_out_report(train[:150], train, held)
    assert torch.equal(torch.get_rng_state(), state)
    assert set(real) == {
        "w2_ratio", "precision", "recall", "nearest_ratio", "nearest_ratio_5", "memorisation_p", "n"
    }  # fmt: skip
    assert all(isinstance(value, float) for value in real.values())
    assert real["n"] == 120
    assert real["w2_ratio"] == pytest.approx(1, abs=0.25)
    assert real["memorisation_p"] > 0.01
    assert copied["nearest_ratio"] == 0
    assert copied["memorisation_p"] < 1e-10


def test_held_out_report_of_few_rows_is_empty() -> None:
    assert metrics.held_out_report(normal(100, 2, 0), normal(100, 2, 1), normal(19, 2, 2)) == {}
    assert metrics.held_out_report(normal(100, 2, 0), normal(100, 2, 1), normal(20, 2, 2))["n"] == 20


def test_held_out_report_leaves_out_what_does_not_exist() -> None:
    """Held-out rows that repeat training rows, as in coarse tables: no ratio of distances."""
    rows = torch.arange(40.0)[:, None]
    report = metrics.held_out_report(rows + 0.25, rows, rows)
    assert {"w2_ratio", "nearest_ratio", "nearest_ratio_5"}.isdisjoint(report)
    assert report["precision"] == 1


@pytest.mark.parametrize(
    "metric", [metrics.kid, metrics.energy_distance, metrics.frechet_distance, metrics.wasserstein2]
)
def test_bad_values_are_refused_by_name(metric: object) -> None:
    good, bad = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)), torch.full((40, 2), math.nan)
    with pytest.raises(ValueError, match="y: some values are NaN"):
        metric(good, bad)  # type: ignore[operator]
    with pytest.raises(ValueError, match="x: values are torch.int64"):
        metric(torch.ones(40, 2, dtype=torch.int64), good)  # type: ignore[operator]


def test_every_metric_is_found_by_its_name_and_no_file_hides_one() -> None:
    assert set(metrics.__all__) == set(metrics.FILES)
    assert not set(metrics.FILES) & set(metrics.FILES.values())
    assert all(getattr(metrics, name).__name__ == name for name in metrics.__all__)
    assert metrics.features.PCAFeatures is metrics.PCAFeatures
    assert not hasattr(metrics, "no_such_metric")
