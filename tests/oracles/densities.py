"""Laws on R^d with a density in closed form, for density estimators: samplers and exact log-densities, scaled to unit variances.

`eight`: eight Gaussians on a circle. `moons`: two half circles with Gaussian noise, by quadrature. `autoregressive`: each coordinate given
those before is Gaussian (or Student t with 3 degrees of freedom) with a nonlinear mean and a standard deviation that depends on
the one before. `components`: independent bimodal, Laplace, shifted gamma and scale-mixture sources, rotated. `mixture`: five
Gaussians with random full covariances.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_LOG_2PI = math.log(2 * math.pi)
_SCALE_ROWS, _SCALE_SEED = 200_000, 987_654
Draw = Callable[[int, np.random.Generator], np.ndarray]
LogProb = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Density:
    """A law with known log-density: ``draw(n, rng)`` gives rows ``[n, d]`` and ``log_prob(x)`` their log-densities ``[n]``."""

    name: str
    dim: int
    draw: Draw
    log_prob: LogProb

    def rows(self, n: int, seed: int) -> np.ndarray:
        """``n`` rows as float32, ``[n, d]``."""
        return self.draw(n, np.random.default_rng(seed)).astype(np.float32)


def density(name: str) -> Density:
    """A law by its name: ``8g``, ``moons``, ``auto10``, ``autot10``, ``ica10``, ``gmm10``, and so on for any number of coordinates."""
    family = name.rstrip("0123456789")
    d = int(name[len(family) :]) if name != "8g" and name != family else 2
    makers: dict[str, Callable[[int], tuple[Draw, LogProb]]] = {
        "moons": lambda d: _moons(),
        "auto": lambda d: _autoregressive(d, heavy=False),
        "autot": lambda d: _autoregressive(d, heavy=True),
        "ica": _components,
        "gmm": _mixture,
    }
    draw, log_prob = _eight() if name == "8g" else makers[family](d)
    return _standardised(name, d, draw, log_prob)


def _standardised(name: str, d: int, draw: Draw, log_prob: LogProb) -> Density:
    """The law shifted and scaled, coordinate by coordinate, to mean 0 and variance 1 (of a large fixed sample)."""
    x = draw(_SCALE_ROWS, np.random.default_rng(_SCALE_SEED))
    mean, scale = x.mean(0), x.std(0)
    return Density(
        name,
        d,
        lambda n, rng: (draw(n, rng) - mean) / scale,
        lambda z: log_prob(z * scale + mean) + np.log(scale).sum(),
    )


def _eight() -> tuple[Draw, LogProb]:
    angles = np.arange(8) * np.pi / 4
    means = 2 * np.stack([np.cos(angles), np.sin(angles)], 1)
    covariances = np.repeat(0.04 * np.eye(2)[None], 8, 0)
    return _gaussians(np.full(8, 1 / 8), means, covariances)


def _mixture(d: int) -> tuple[Draw, LogProb]:
    rng = np.random.default_rng(d)
    roots = rng.normal(size=(5, d, d)) / math.sqrt(d)
    return _gaussians(
        rng.dirichlet(np.full(5, 5.0)),
        1.5 * rng.normal(size=(5, d)),
        roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(d),
    )


def _gaussians(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> tuple[Draw, LogProb]:
    factors = np.linalg.cholesky(covariances)
    inverses = np.linalg.inv(factors)
    constants = np.log(weights) - np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1) - means.shape[1] * _LOG_2PI / 2

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        k = rng.choice(len(weights), n, p=weights)
        return means[k] + np.einsum("nij,nj->ni", factors[k], rng.normal(size=(n, means.shape[1])))

    def log_prob(x: np.ndarray) -> np.ndarray:
        z = np.einsum("kij,nkj->nki", inverses, x[:, None] - means)
        return _log_sum(constants - 0.5 * (z**2).sum(2))

    return draw, log_prob


def _moons() -> tuple[Draw, LogProb]:
    """Noise of standard deviation 0.1 around two half circles of radius 1; the density by the trapezoid rule on 2000 angles."""
    sd = 0.1
    centre = np.array([[0.0, 0.0], [1.0, 0.5]])

    def curve(t: np.ndarray, moon: np.ndarray) -> np.ndarray:
        sign = np.where(moon == 0, 1.0, -1.0)
        return np.stack([sign * np.cos(t), sign * np.sin(t)], -1) + centre[moon]

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return curve(rng.uniform(0, np.pi, n), rng.integers(0, 2, n)) + sd * rng.normal(size=(n, 2))

    t = np.linspace(0, np.pi, 401)
    points = np.concatenate([curve(t, np.full(401, moon)) for moon in (0, 1)])
    trapezoid = np.tile(np.r_[0.5, np.ones(399), 0.5] / 400, 2) / 2

    def log_prob(x: np.ndarray) -> np.ndarray:
        def some(part: np.ndarray) -> np.ndarray:
            squares = ((part[:, None] - points) ** 2).sum(2) / sd**2
            return _log_sum(np.log(trapezoid) - 0.5 * squares) - _LOG_2PI - 2 * math.log(sd)

        return np.concatenate([some(part) for part in np.array_split(x, max(1, len(x) // 1000))])

    return draw, log_prob


def _autoregressive(d: int, *, heavy: bool) -> tuple[Draw, LogProb]:
    def moments(x: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
        one = x[:, j - 1] if j else np.zeros(len(x))
        two = x[:, j - 2] if j > 1 else np.zeros(len(x))
        mean = np.sin(1.5 * one) + 0.4 * two if j % 2 else 0.5 * one**2 / (1 + 0.5 * np.abs(one)) - 0.5 * two
        return mean, 0.13 + 0.87 / (1 + np.exp(-1.7 * one)) if j else np.ones(len(x))

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        x = np.zeros((n, d))
        noise = rng.standard_t(3, size=(n, d)) / math.sqrt(3) if heavy else rng.normal(size=(n, d))
        for j in range(d):
            mean, sd = moments(x, j)
            x[:, j] = mean + sd * noise[:, j]
        return x

    def log_prob(x: np.ndarray) -> np.ndarray:
        total = np.zeros(len(x))
        for j in range(d):
            mean, sd = moments(x, j)
            z = (x[:, j] - mean) / sd
            total += (_log_t3(z * math.sqrt(3)) + math.log(3) / 2 if heavy else -0.5 * z**2 - _LOG_2PI / 2) - np.log(sd)
        return total

    return draw, log_prob


def _components(d: int) -> tuple[Draw, LogProb]:
    rotation = np.linalg.qr(np.random.default_rng(100 + d).normal(size=(d, d)))[0]

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        bimodal = rng.choice([-1.0, 1.0], (n, d)) * 0.925 + math.sqrt(1 - 0.925**2) * rng.normal(size=(n, d))
        laplace = rng.laplace(scale=math.sqrt(0.5), size=(n, d))
        gamma = (rng.gamma(2.0, size=(n, d)) - 2) / math.sqrt(2)
        scales = rng.normal(size=(n, d)) * np.where(rng.random((n, d)) < 0.8, 0.5, 2.0)
        kinds = np.arange(d) % 4
        return np.choose(kinds, [bimodal, laplace, gamma, scales]) @ rotation.T

    def log_prob(x: np.ndarray) -> np.ndarray:
        s = x @ rotation
        sd = math.sqrt(1 - 0.925**2)
        parts = [
            np.logaddexp(_log_normal(s, 0.925, sd), _log_normal(s, -0.925, sd)) - math.log(2),
            -np.abs(s) * math.sqrt(2) - math.log(2 * math.sqrt(0.5)),
            _log_gamma2(s * math.sqrt(2) + 2) + math.log(2) / 2,
            np.logaddexp(math.log(0.8) + _log_normal(s, 0, 0.5), math.log(0.2) + _log_normal(s, 0, 2.0)),
        ]
        return np.choose(np.arange(d) % 4, parts).sum(1)

    return draw, log_prob


def _log_normal(x: np.ndarray, mean: float, sd: float) -> np.ndarray:
    return -0.5 * ((x - mean) / sd) ** 2 - _LOG_2PI / 2 - math.log(sd)


def _log_gamma2(x: np.ndarray) -> np.ndarray:
    """Log-density of the gamma law of shape 2; minus infinity outside."""
    inside = x > 0
    return np.where(inside, np.log(np.where(inside, x, 1)) - x, -np.inf)


def _log_t3(x: np.ndarray) -> np.ndarray:
    """Log-density of Student's t with 3 degrees of freedom, ``2 / (pi sqrt(3)) (1 + x^2 / 3)^-2``."""
    return math.log(2 / (math.pi * math.sqrt(3))) - 2 * np.log1p(x**2 / 3)


def _log_sum(terms: np.ndarray) -> np.ndarray:
    top = terms.max(1, keepdims=True)
    return (top + np.log(np.exp(terms - top).sum(1, keepdims=True)))[:, 0]
