"""Generators of a problem together with its closed-form answer."""

from oracles.gaussians import gaussian_w2_squared, random_covariance
from oracles.lines import LINES, Line
from oracles.pairings import PAIRINGS, Pairing, by_convex_gradient, noisy_images, shuffled, translated

__all__ = [
    "LINES",
    "PAIRINGS",
    "Line",
    "Pairing",
    "by_convex_gradient",
    "gaussian_w2_squared",
    "noisy_images",
    "random_covariance",
    "shuffled",
    "translated",
]
