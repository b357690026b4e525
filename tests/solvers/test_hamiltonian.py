"""Least sums of squares: Held-Karp against all permutations, the search against Held-Karp, walks against their definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pushforward.solvers.hamiltonian import held_karp, least_path, search_matrix, search_points
from pushforward.solvers.path_search import PathSearch, near_lists, squared_costs, squared_distances
from pushforward.solvers.square_walk import closure, expand, improve_walk, square_sum

STAR = np.array([[0.0, 0.0], *([math.cos(a), math.sin(a)] for a in 2 * np.pi * np.arange(3) / 3)])


def uniform(n: int, d: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d))


def by_brute_force(cost: np.ndarray) -> tuple[float, tuple[int, ...]]:
    orders = list(itertools.permutations(range(len(cost))))
    paths = np.array(orders)
    totals = cost[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    return float(totals.min()), orders[int(totals.argmin())]


@pytest.mark.parametrize("seed", range(20))
def test_held_karp_is_brute_force(seed: int) -> None:
    x = uniform(3 + seed % 6, 2 + seed % 3, seed)
    found = held_karp(squared_distances(x, x))
    assert found.exact
    assert sorted(found.order) == list(range(len(x)))
    assert found.total == pytest.approx(by_brute_force(squared_distances(x, x))[0], rel=1e-12)
    assert square_sum(x, found.order) == pytest.approx(found.total, rel=1e-12)


def test_the_shortest_path_is_another_one() -> None:
    """Seed 56: ordering six points by length instead of squares costs 25 % more."""
    x = uniform(6, seed=56)
    squares = squared_distances(x, x)
    shortest = np.array(by_brute_force(np.sqrt(squares))[1])
    assert square_sum(x, shortest) > 1.2 * least_path(x).total
    assert least_path(x).total == pytest.approx(by_brute_force(squares)[0], rel=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_the_search_finds_the_exact_path_of_twelve_points(seed: int) -> None:
    x = uniform(12, 2 + seed % 3, seed)
    search, rng = search_points(x), np.random.default_rng(0)
    for _ in range(300):
        search.kick(rng)
    exact = held_karp(squared_distances(x, x)).total
    assert exact * (1 - 1e-12) <= search.total <= 1.01 * exact


@pytest.mark.parametrize("limit", [3000, 0], ids=["matrix", "computed"])
def test_the_cost_is_that_of_the_path(limit: int) -> None:
    x = uniform(300, 3)
    search = PathSearch(np.arange(300), squared_costs(x, matrix_limit=limit), near_lists(x, 8))
    start, rng = search.total, np.random.default_rng(1)
    assert start == pytest.approx(square_sum(x, np.arange(300)))
    search.descend()
    descended = search.total
    for _ in range(100):
        before = search.total
        assert search.kick(rng) == (search.total < before)
    assert sorted(search.order) == list(range(300))
    assert search.total < descended < start / 10
    assert search.total == pytest.approx(square_sum(x, search.order), rel=1e-9)


def test_a_saved_search_goes_on_bitwise() -> None:
    x = uniform(60)
    one, two = search_points(x), search_points(x)
    for seed in range(20):
        one.kick(np.random.default_rng(seed))
    two.load_state_dict(one.state_dict())
    for search in (one, two):
        for seed in range(20, 40):
            search.kick(np.random.default_rng(seed))
    assert one.total == two.total
    assert np.array_equal(one.order, two.order)


def test_equal_points_and_very_few() -> None:
    assert least_path(np.zeros((1, 2))).total == 0
    assert least_path(np.array([[0.0], [3.0]])).total == 9
    x = np.repeat(uniform(5), 8, axis=0)
    assert least_path(x, kicks=20).total <= least_path(uniform(5)).total * (1 + 1e-9)


def test_points_on_a_line_are_sorted() -> None:
    x = uniform(500, 1)
    assert least_path(x, kicks=0).total <= 1.02 * np.square(np.diff(np.sort(x[:, 0]))).sum()


def test_held_karp_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="at most 20"):
        held_karp(np.zeros((21, 21)))


# ---------------------------------------------------------------------- walks that pass a point again


def test_passing_a_point_again_can_be_cheaper() -> None:
    """Three points around a fourth: a path needs a leg of squared length 3, a walk goes through the middle twice."""
    squares = squared_distances(STAR, STAR)
    costs, before = closure(squares)
    found = held_karp(costs)
    walk = expand(found.order, before)
    assert held_karp(squares).total == pytest.approx(5)
    assert found.total == pytest.approx(4)
    assert square_sum(STAR, walk) == pytest.approx(4)
    assert set(walk) == {0, 1, 2, 3}
    assert square_sum(STAR, improve_walk(STAR, np.array([1, 0, 2, 3]))) == pytest.approx(4)


@pytest.mark.parametrize("seed", range(5))
def test_improved_walks_have_empty_balls(seed: int) -> None:
    x = uniform(150, 2, seed)
    path = least_path(x, kicks=20)
    walk = improve_walk(x, path.order)
    assert set(walk) == set(range(150))
    assert square_sum(x, walk) <= path.total
    middle, radius = (x[walk[1:]] + x[walk[:-1]]) / 2, np.square(np.diff(x[walk], axis=0)).sum(1) / 4
    assert (squared_distances(middle, x).min(1) >= radius * (1 - 1e-6)).all()
    costs, before = closure(squared_distances(x, x))
    searched = search_matrix(costs)
    assert square_sum(x, expand(searched.order, before)) == pytest.approx(searched.total, rel=1e-9)
