"""The doubly stochastic walk: exact row sums, its spectrum on a cycle, its steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, diags, identity

from pushforward.solvers.bistochastic import bistochastic, mixing_steps, second_eigenvalue, walk_table
from pushforward.solvers.spectral import diffusion_map


def uneven_kernel(n: int = 400) -> csr_matrix:
    rng = np.random.default_rng(0)
    return diffusion_map(
        torch.from_numpy(rng.gamma(1.0, 1.0, size=(n, 2))), 1, neighbours=30, disconnected="join"
    ).kernel


def cycle(n: int) -> csr_matrix:
    """The lazy walk on a cycle: stay with probability 1/2, go to either side with 1/4."""
    step = np.roll(np.eye(n), 1, axis=1)
    return csr_matrix(0.5 * np.eye(n) + 0.25 * (step + step.T))


def test_rows_and_columns_sum_to_one() -> None:
    walk = bistochastic(uneven_kernel())
    assert abs(walk - walk.T).max() < 1e-14
    assert walk.min() >= 0
    assert np.allclose(np.asarray(walk.sum(0)), 1, atol=1e-14)


def test_a_scaled_walk_is_found_again() -> None:
    scale = diags(np.random.default_rng(0).uniform(0.1, 10, 50))
    assert abs(bistochastic(scale @ cycle(50) @ scale) - cycle(50)).max() < 1e-9


def test_the_second_eigenvalue_of_a_cycle() -> None:
    for n in (12, 300):
        assert second_eigenvalue(cycle(n)) == pytest.approx(0.5 + 0.5 * math.cos(2 * math.pi / n), abs=1e-10)


def test_mixing_steps() -> None:
    assert mixing_steps(0.5) == math.ceil(math.log(20) / 0.5)
    assert mixing_steps(-1.0) == 2
    assert mixing_steps(0.99, excess=2) == 70
    walk = cycle(12).toarray()
    after = np.linalg.matrix_power(walk, mixing_steps(second_eigenvalue(cycle(12))))
    assert np.abs(after - 1 / 12).max() < 2 / 20 / 12 * 1.3
    with pytest.raises(ValueError, match="stays in one part"):
        mixing_steps(1.0)
    with pytest.raises(ValueError, match="larger than 1"):
        mixing_steps(0.5, excess=1.0)


def test_the_table_of_a_walk_gives_its_probabilities() -> None:
    walk = bistochastic(uneven_kernel(60))
    columns, running = walk_table(walk)
    before = np.concatenate([[0.0], running[:-1]])
    rows = np.ceil(running - 1e-9).astype(int) - 1
    again = csr_matrix((running - before, (rows, columns)), shape=walk.shape)
    assert abs(again - walk).max() < 1e-10
    assert (running[walk.indptr[1:] - 1] == np.arange(1, 61)).all()


@pytest.mark.parametrize("bad", ["negative", "diagonal", "asymmetric", "nan"])
def test_a_kernel_that_cannot_be_scaled_is_refused(bad: str) -> None:
    k = np.ones((3, 3))
    if bad == "diagonal":
        k[0, 0] = 0
    else:
        k[0, 1] = {"negative": -1.0, "asymmetric": 2.0, "nan": np.nan}[bad]
    with pytest.raises(ValueError, match="kernel"):
        bistochastic(csr_matrix(k))


def test_the_identity_does_not_move() -> None:
    assert second_eigenvalue(identity(5, format="csr")) == pytest.approx(1)
