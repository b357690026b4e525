"""The two-sample metrics against closed forms, plain loops and other libraries."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pushforward import metrics
from pushforward.metrics import manifold, pairs, sliced
from pushforward.metrics.kernel import _cubic
from pushforward.metrics.rows import feature_name, feature_rows, squared_distances


def normal(n: int, d: int, seed: int, *, mean: float = 0.0, sd: float = 1.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return mean + sd * torch.randn(n, d, generator=rng, dtype=torch.float64)


def within_errors(values: list[float], truth: float, errors: float) -> bool:
    return abs(np.mean(values) - truth) < errors * np.std(values) / math.sqrt(len(values))


# ---------------------------------------------------------------- Frechet


def test_frechet_infinite_of_two_gaussians() -> None:
    """N(0, I) and N(1, 1.5^2 I) in 8-D at n = 5000: 10. One pair of samples has a standard error of .15, so thirty are averaged."""
    found = [metrics.frechet_infinite(normal(5000, 8, i), normal(5000, 8, 99 + i, mean=1.0, sd=1.5)) for i in range(30)]
    assert np.mean([m.value for m in found]) == pytest.approx(10, abs=0.1)
    assert sum(m.low <= 10 <= m.high for m in found) >= 26
    assert np.mean([(m.high - m.low) / 3.92 for m in found]) == pytest.approx(
        np.std([m.value for m in found]), rel=0.35
    )


def test_frechet_infinite_takes_the_bias_off() -> None:
    """Equal laws: the plain value is its floor on average, the extrapolated one 0 within two hundredths of it."""
    pairs_ = [(normal(800, 12, i), normal(800, 12, 500 + i)) for i in range(60)]
    plain = [metrics.frechet_distance(x, y).value for x, y in pairs_]
    found = [metrics.frechet_infinite(x, y) for x, y in pairs_]
    assert np.mean(plain) == pytest.approx(metrics.frechet_floor(torch.eye(12), 800, 800), rel=0.05)
    assert abs(np.mean([m.value for m in found])) < 0.05 * np.mean(plain)
    assert f"plain value {plain[0]:.4g}" in found[0].note


def test_frechet_infinite_does_not_mind_the_order_of_rows() -> None:
    """Rows whose labels go round in fives: blocks of every fifth row would each be one class."""
    centres = 4 * normal(5, 3, 0)
    x, y = (normal(500, 3, seed) + centres.repeat(100, 1) for seed in (1, 2))
    found = metrics.frechet_infinite(x, y)
    assert found.low < 0 < found.high
    assert found.high < 1


def test_the_floor_of_a_note_holds_for_other_laws_than_gaussians() -> None:
    """Exponential columns: their fourth moments double the floor that Gaussians would have in the variances."""
    rng = torch.Generator().manual_seed(0)
    draws = -torch.rand(80, 2, 400, 3, generator=rng, dtype=torch.float64).log()
    found = [metrics.frechet_distance(x, y) for x, y in draws]
    mean = np.mean([m.value for m in found])
    floors = [float(m.note.split("about ")[1].split()[0]) for m in found]
    assert np.mean(floors) == pytest.approx(mean, rel=0.1)
    assert mean > 1.2 * metrics.frechet_floor(torch.eye(3), 400, 400)


def test_frechet_agrees_with_the_eigenvalues_of_the_product() -> None:
    """``tr (S1 S2)^1/2`` as the sum of the roots of the eigenvalues of ``S1 S2``: the formula of torchmetrics."""
    x, y = normal(60, 20, 0) @ normal(20, 20, 1), normal(60, 20, 2) @ normal(20, 20, 3) + 1
    s, t = torch.cov(x.T), torch.cov(y.T)
    cross = torch.linalg.eigvals(s @ t).sqrt().real.sum()
    expected = (x.mean(0) - y.mean(0)).square().sum() + s.trace() + t.trace() - 2 * cross
    assert metrics.frechet_distance(x, y).value == pytest.approx(float(expected), rel=1e-8)


class Identity(nn.Module):
    """The features are the rows."""

    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_frechet_and_kid_agree_with_torchmetrics() -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    x, y = normal(300, 6, 0).float(), normal(300, 6, 1, mean=0.3, sd=1.2).float()
    fid = FrechetInceptionDistance(feature=Identity(), input_img_size=(6,))
    kid = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=300)  # one subset: all rows
    for theirs in (fid, kid):
        theirs.update(x, real=True)
        theirs.update(y, real=False)
    assert metrics.frechet_distance(x, y).value == pytest.approx(float(fid.compute()), abs=1e-4)
    assert metrics.kid(x, y).value == pytest.approx(float(kid.compute()[0]), abs=1e-4)


def test_frechet_infinite_refuses_too_few_rows() -> None:
    with pytest.raises(ValueError, match="31 rows are too few for 8 features.*give at least 32"):
        metrics.frechet_infinite(normal(31, 8, 0), normal(40, 8, 1))
    with pytest.raises(ValueError, match="3 and 2 features"):
        metrics.frechet_infinite(normal(31, 3, 0), normal(40, 2, 1))


# ---------------------------------------------------------------- averages over pairs


def test_kid_is_unbiased() -> None:
    """Mean over 200 repeats of equal laws: within two standard errors of 0."""
    assert within_errors([metrics.kid(normal(60, 3, i), normal(80, 3, 300 + i)).value for i in range(200)], 0, 2)


def test_kid_in_single_precision() -> None:
    x, y = normal(300, 40, 0), normal(200, 40, 1, mean=0.1)
    one, two = metrics.kid(x, y), metrics.kid(x.float(), y.float())
    assert two.value == pytest.approx(one.value, rel=1e-4)
    assert two.high - two.low == pytest.approx(one.high - one.low, rel=1e-3)


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(23, 4, 0), normal(31, 4, 1, mean=0.4)
    whole = pairs.squared_discrepancy(x, y, _cubic)
    monkeypatch.setattr(pairs, "_TILE", 7)
    assert pairs.squared_discrepancy(x, y, _cubic) == pytest.approx(whole, rel=1e-10)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_standard_error_is_the_spread_of_the_estimate(shift: float) -> None:
    found = [
        pairs.squared_discrepancy(normal(150, 3, i), normal(100, 3, 900 + i, mean=shift), _cubic) for i in range(200)
    ]
    values, errors = np.array(found).T
    assert math.sqrt(np.mean(errors**2)) == pytest.approx(values.std(), rel=0.25)


def test_kid_of_many_rows_takes_little_memory() -> None:
    """50 000 by 10 000 rows: all kernel values at once would take 10 GB."""
    code = (
        "import resource, torch; from pushforward import metrics; torch.set_num_threads(1);"
        "x, y = torch.ones(50_000, 8).normal_(), torch.ones(10_000, 8).normal_();"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20; before = peak();"
        "metrics.kid(x, y); print(peak(), peak() - before)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    peak, rise = map(float, run.stdout.split())
    assert rise < 0.4
    assert peak < 2


# ---------------------------------------------------------------- MMD


def test_mmd_equals_the_double_loop() -> None:
    x, y = normal(21, 3, 0), normal(26, 3, 1, mean=0.5)
    everything = torch.cat([x, y])
    h = float(torch.pdist(everything).median())

    def k(a: Tensor, b: Tensor) -> float:
        return math.exp(-float((a - b).square().sum()) / (2 * h * h))

    same = [sum(k(a, b) for a, b in itertools.permutations(v, 2)) / (len(v) * (len(v) - 1)) for v in (x, y)]
    cross = sum(k(a, b) for a in x for b in y) / (21 * 26)
    found = metrics.mmd_test(x, y, n_permutations=9)
    assert found.distance.value == pytest.approx(sum(same) - 2 * cross, rel=1e-6)
    assert f"bandwidth {h:.3g}" in found.distance.note


def test_mmd_relabellings_are_the_statistic_of_relabelled_rows() -> None:
    from pushforward.metrics.permutation import _gaussian, _relabelled

    rows, kernel = normal(40, 2, 0), _gaussian(1.3)
    values = _relabelled(rows, 15, kernel, 3, torch.Generator().manual_seed(5))
    order = torch.rand(3, 40, generator=torch.Generator().manual_seed(5)).argsort(dim=1)
    assert float(values[0]) == pytest.approx(pairs.squared_discrepancy(rows[:15], rows[15:], kernel)[0], rel=1e-8)
    for value, places in zip(values[1:], order, strict=True):
        ours, theirs = rows[places < 15], rows[places >= 15]
        assert float(value) == pytest.approx(pairs.squared_discrepancy(ours, theirs, kernel)[0], rel=1e-6)


def test_mmd_p_value_is_exact_and_sees_a_difference() -> None:
    p = [metrics.mmd_test(normal(30, 2, i), normal(40, 2, 400 + i), n_permutations=99).p_value for i in range(200)]
    assert [np.mean(np.array(p) <= level) for level in (0.1, 0.5)] == pytest.approx([0.1, 0.5], abs=0.08)
    far = metrics.mmd_test(normal(100, 2, 0), normal(100, 2, 1, mean=1.0))
    assert far.p_value == 1 / 500
    assert far.distance.low > 0
    assert far == metrics.mmd_test(normal(100, 2, 0), normal(100, 2, 1, mean=1.0))


def test_mmd_of_repeated_rows() -> None:
    """Most rows equal: the median distance is 0, so that of the pairs that differ is taken; no difference at all is refused."""
    x = torch.zeros(50, 2)
    x[:10] = 1
    assert 0 < metrics.mmd_test(x, x.flip(0), n_permutations=19).p_value <= 1
    with pytest.raises(ValueError, match="all rows are the same"):
        metrics.mmd_test(torch.zeros(20, 2), torch.zeros(20, 2))


# ---------------------------------------------------------------- density and coverage


def test_density_and_coverage_equal_a_plain_loop() -> None:
    x, y = normal(40, 2, 0, mean=0.5), normal(35, 2, 1)
    radii = [sorted(float((a - b).norm()) for b in y)[3] for a in y]
    inside = np.array([[float((p - c).norm()) <= r for c, r in zip(y, radii, strict=True)] for p in x])
    found = metrics.density_coverage(x, y, k=3)
    assert found.density.value == pytest.approx(inside.sum() / (3 * 40))
    assert found.coverage.value == pytest.approx(inside.any(axis=0).mean())


def test_density_and_coverage_of_equal_laws() -> None:
    found = [metrics.density_coverage(normal(60, 5, i), normal(90, 5, 400 + i), k=4) for i in range(150)]
    assert within_errors([m.density.value for m in found], 1, 3)
    closed = 1 - math.prod((90 - i) / (150 - i) for i in range(1, 5))
    assert within_errors([m.coverage.value for m in found], closed, 3)
    assert f"equal laws would give {closed:.3g}" in found[0].coverage.note


def test_density_and_coverage_tell_collapse_from_noise() -> None:
    data = normal(400, 4, 0)
    narrow = metrics.density_coverage(0.3 * normal(400, 4, 1), data)
    wide = metrics.density_coverage(3 * normal(400, 4, 2), data)
    assert narrow.density.value > 1.1
    assert narrow.coverage.high < 0.7
    assert wide.density.high < 0.5


def test_radii_without_a_group_are_those_of_the_other_rows() -> None:
    rows = normal(57, 3, 0)
    prepared = manifold._prepared(rows, 5)
    for left_out in range(10):
        kept = prepared.group != left_out
        expected = torch.cat([b for _, b in squared_distances(rows[kept], rows[kept])]).sort(dim=1).values[:, 5]
        torch.testing.assert_close(prepared.radii[kept, 1 + left_out], expected, rtol=1e-6, atol=1e-8)
        assert bool((prepared.radii[~kept, 1 + left_out] == -1).all())


def test_density_of_tied_rows_says_what_equal_laws_would_give() -> None:
    """Three columns of three categories: a ball reaches to a shell of many rows, and holds all of it."""
    draws = torch.randint(3, (60, 2, 150, 3), generator=torch.Generator().manual_seed(0))
    found = [metrics.density_coverage(x, y) for x, y in torch.nn.functional.one_hot(draws, 3).flatten(3).float()]
    promised = [float(m.density.note.split("would give ")[1]) for m in found]
    assert np.mean(promised) > 1.2
    assert np.mean([m.density.value for m in found]) == pytest.approx(np.mean(promised), rel=0.03)
    assert sum(m.density.low <= p <= m.density.high for m, p in zip(found, promised, strict=True)) >= 54


def test_precision_says_what_equal_laws_would_give() -> None:
    found = [metrics.precision_recall(normal(80, 8, i), normal(80, 8, 300 + i)) for i in range(60)]
    promised = [float(m.precision.note.split("about ")[1]) for m in found]
    assert np.mean(promised) == pytest.approx(np.mean([m.precision.value for m in found]), abs=0.02)


def test_balls_need_rows() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        metrics.density_coverage(normal(40, 2, 0), normal(19, 2, 1))
    with pytest.raises(ValueError, match="k=0"):
        metrics.density_coverage(normal(40, 2, 0), normal(40, 2, 1), k=0)


# ---------------------------------------------------------------- Wasserstein along lines


def test_sliced_wasserstein_of_a_shift_and_a_scale() -> None:
    """N(0, I) and N(m, s^2 I): |m|^2 / d + (s - 1)^2 on average over directions."""
    found = metrics.sliced_wasserstein(normal(3000, 5, 0), normal(2500, 5, 1, mean=0.4, sd=1.5))
    assert found.low < 0.41 < found.high
    assert found.value == pytest.approx(0.41, rel=0.1)
    assert found.n == 2500


def test_transport_along_lines_is_by_sorting() -> None:
    x, y = normal(3, 50, 0), normal(3, 50, 1)
    plain = float(np.mean([(a.sort().values - b.sort().values).square().mean() for a, b in zip(x, y, strict=True)]))
    assert sliced._transport(x, y)[0] == pytest.approx(plain, rel=1e-12)


def test_sliced_wasserstein_agrees_with_pot() -> None:
    ot = pytest.importorskip("ot", reason="POT is not installed")
    x, y = normal(300, 4, 0).numpy(), normal(300, 4, 1, mean=1.0).numpy()
    theirs = ot.sliced_wasserstein_distance(x, y, n_projections=2000, seed=0) ** 2
    found = metrics.sliced_wasserstein(torch.from_numpy(x), torch.from_numpy(y))
    assert float(found.note.split("plain value ")[1]) == pytest.approx(theirs, rel=0.05)


def test_potentials_are_the_derivative_of_the_distance() -> None:
    """Weight moved onto one row changes the one-dimensional distance by that row's potential, to first order."""
    x, y = normal(1, 400, 0), normal(1, 400, 1, mean=0.7, sd=1.4)
    (ordered, order), target = x.sort(), y.sort().values
    potential = sliced._potential(ordered, ordered - target, order)
    doubled = torch.cat([x, x[:, :1]], dim=1).sort().values[0]  # the first row twice, on 401 quantiles of both sides
    levels = (torch.arange(401 * 400) + 0.5) / (401 * 400)
    distance = (doubled[(levels * 401).long()] - target[0, (levels * 400).long()]).square().mean()
    change = float(distance - (ordered - target).square().mean()) * 401
    assert change == pytest.approx(float(potential[0] - potential.mean()), rel=0.05)


def test_max_sliced_wasserstein_finds_the_direction() -> None:
    x, y = normal(600, 10, 0), normal(600, 10, 1)
    y[:, 3] = 3 * y[:, 3].sign() * y[:, 3].abs().sqrt()  # two humps along one axis, means equal
    axis = (x[:, 3].sort().values - y[:, 3].sort().values).square().mean()
    found = metrics.max_sliced_wasserstein(x, y)
    assert found.value == pytest.approx(float(axis), rel=0.25)
    assert found.low > 3 * metrics.sliced_wasserstein(x, y).value


def test_max_sliced_wasserstein_is_not_inflated_by_its_search() -> None:
    """Equal laws in 30-D: on the rows of the search the best direction shows a distance, on other rows none."""
    draws = [(normal(100, 30, i), normal(100, 30, 500 + i)) for i in range(30)]
    found = [metrics.max_sliced_wasserstein(x, y).value for x, y in draws]
    rng = torch.Generator().manual_seed(0)
    directions = [sliced._ascend(x, y, rng) for x, y in draws[:5]]
    searched = [sliced._transport(v @ x.T, v @ y.T)[0] for (x, y), v in zip(draws, directions, strict=False)]
    assert within_errors(found, 0, 3)
    assert min(searched) > 5 * abs(np.mean(found))


# ---------------------------------------------------------------- the classifier test


def test_classifier_test_sees_what_there_is_to_see() -> None:
    """N(0, I) and N(m, I): the best area under the curve is Phi(|m| / sqrt 2)."""
    from sklearn.linear_model import LogisticRegression

    x, y = normal(600, 3, 0), normal(500, 3, 1, mean=0.6)
    found = metrics.classifier_test(x, y, classifier=LogisticRegression())
    best = 0.5 + 0.5 * math.erf(0.6 * math.sqrt(3) / 2)
    assert found.auc.low < best < found.auc.high
    assert found.accuracy.low < 0.5 + 0.5 * math.erf(0.6 * math.sqrt(3) / math.sqrt(8)) < found.accuracy.high
    assert found.p_value < 1e-6
    assert found.auc.n == 500
    assert "LogisticRegression" in found.auc.note


def test_classifier_test_of_equal_and_of_disjoint_laws() -> None:
    x = normal(120, 4, 0)
    equal, apart = (metrics.classifier_test(x, normal(120, 4, 1, mean=shift)) for shift in (0.0, 9.0))
    assert equal.auc.low < 0.5 < equal.auc.high
    assert equal.p_value > 0.01
    assert apart.auc.value == apart.accuracy.value == 1
    assert apart.auc.low < 1
    assert apart.p_value < 1e-10
    assert equal == metrics.classifier_test(x, normal(120, 4, 1))


def test_classifier_p_values_hold_their_level() -> None:
    from sklearn.linear_model import LogisticRegression

    p = [
        metrics.classifier_test(normal(60, 6, i), normal(60, 6, 300 + i), classifier=LogisticRegression()).p_value
        for i in range(120)
    ]
    assert np.mean(np.array(p) < 0.05) < 0.1
    with pytest.raises(ValueError, match="at least 50"):
        metrics.classifier_test(normal(49, 2, 0), normal(60, 2, 1))


# ---------------------------------------------------------------- mean images


def test_mean_pixel_distance_is_between_mean_images() -> None:
    x = 0.2 * normal(300, 48, 0).float().reshape(300, 3, 4, 4)
    y = 0.2 * normal(200, 48, 1).float().reshape(200, 3, 4, 4)
    y[:, 0] += 0.3  # one channel of three: .3 / sqrt 3
    found = metrics.mean_pixel_distance(x, y)
    assert found.low < 0.3 / math.sqrt(3) < found.high
    assert found.value == pytest.approx(0.3 / math.sqrt(3), rel=0.1)


def test_squared_mean_pixel_distance_has_no_bias() -> None:
    from pushforward.metrics.pixels import _mean_product

    values = [pairs.squared_discrepancy(normal(30, 5, i), normal(40, 5, 300 + i), _mean_product)[0] for i in range(200)]
    assert within_errors(values, 0, 3)


# ---------------------------------------------------------------- features


def shifted(x: Tensor) -> Tensor:
    return x + 1


def test_every_feature_map_has_a_name() -> None:
    named = nn.Identity()
    named.name = "inception"  # type: ignore[assignment]
    assert [feature_name(f) for f in (None, shifted, nn.Identity(), named)] == [
        "raw",
        "shifted",
        "Identity",
        "inception",
    ]
    assert metrics.kid(normal(20, 2, 0), normal(20, 2, 1), features=shifted).features == "shifted"


def test_modules_are_evaluated_and_given_back_as_they_were() -> None:
    """Dropout and batch statistics would make a row's features depend on chance and on its neighbours."""
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    network[2].eval()
    before = network[1].running_mean.clone()
    x = normal(30, 3, 0).float()
    one, two = (feature_rows(x[:n], network, name="x") for n in (30, 10))
    torch.testing.assert_close(one[:10], two)
    assert torch.equal(network[1].running_mean, before)
    assert [m.training for m in network.modules()] == [True, True, True, False]
