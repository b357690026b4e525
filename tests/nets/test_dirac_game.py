"""Two learning rates in the smallest adversarial game: closed form against eigenvalues and against play."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pushforward.objectives.dirac_game import dirac_game_radius


def play(a: float, b: float, eps: float, steps: int = 500) -> float:
    theta, psi = 1.0, 0.0
    for _ in range(steps):
        theta, psi = theta - a * psi, psi + b * (theta - eps * psi)
    return math.hypot(theta, psi * math.sqrt(a / b))


@pytest.mark.parametrize("a", [0.02, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("b", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("eps", [0.0, 0.1, 2.5])
def test_the_radius_is_that_of_the_matrix(a: float, b: float, eps: float) -> None:
    matrix = np.array([[1, -a], [b, 1 - b * eps]])
    assert dirac_game_radius(a, b, eps) == pytest.approx(np.abs(np.linalg.eigvals(matrix)).max(), rel=1e-7)


def test_a_slow_generator_is_stable_and_a_fast_one_is_not() -> None:
    """eps = 0.1: stable exactly for a < eps; the same rate for both is stable but ten times slower."""
    fast, even = dirac_game_radius(0.02, 0.2, 0.1), dirac_game_radius(0.02, 0.02, 0.1)
    assert fast == pytest.approx(math.sqrt(1 - 0.02 + 0.004))
    assert fast < even < 1 < dirac_game_radius(0.2, 0.2, 0.1)
    assert dirac_game_radius(0.1, 0.2, 0.1) == pytest.approx(1)
    assert play(0.02, 0.2, 0.1) < 0.05
    assert play(0.2, 0.2, 0.1) > 10
    assert 0.3 < play(0.02, 0.02, 0.1) < 1
    with pytest.raises(ValueError, match="rates must be positive"):
        dirac_game_radius(0.0, 0.1, 0.1)
