"""Algorithms with a right answer: optimal assignment, quantiles and lattices."""

from pushforward.solvers.assignment import Assignment, assign, assign_cost
from pushforward.solvers.quantiles import empirical_quantiles, lattice

__all__ = ["Assignment", "assign", "assign_cost", "empirical_quantiles", "lattice"]
