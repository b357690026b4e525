"""The sub-command ``benchmark``: problems with a known answer, solved by several solvers."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro
from tyro.conf import Positional


def benchmark_command(arguments: list[str]) -> int:
    """Solve problems with a known answer: pushforward benchmark w1 --dim 8"""
    from pushforward.metrics.monotone_pairs import ray_pairs
    from pushforward.metrics.w1_solvers import SOLVERS, Training, named, w1_table

    problem, dim, funnels, seeds, steps, batch, solvers = tyro.cli(_form, args=arguments, prog="pushforward benchmark")
    if problem != "w1":
        raise ValueError(f"problem: there is one benchmark, w1, got {problem!r}.")
    if seeds < 1:
        raise ValueError(f"seeds: at least 1 is needed, got {seeds}.")
    chosen = named(solvers.split(",")) if solvers is not None else SOLVERS
    pairs = [ray_pairs(dim, funnels=funnels, seed=seed) for seed in range(seeds)]
    board = w1_table(chosen, pairs, Training(steps=steps, batch=batch), progress=_progress)
    sys.stderr.write("\r\033[K" if sys.stderr.isatty() else "")
    sys.stdout.write(f"{dim} dimensions, {funnels} funnels, {seeds} seeds, {steps} steps of {batch}\n{board}\n")
    return 0


def _progress(name: str, seed: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{name}, seed {seed}")
        sys.stderr.flush()


def _form(
    problem: Annotated[Positional[str], tyro.conf.arg(metavar="PROBLEM")],
    dim: int = 8,
    funnels: int = 4,
    seeds: int = 3,
    steps: int = 1500,
    batch: int = 256,
    solvers: str | None = None,
) -> tuple[str, int, int, int, int, int, str | None]:
    """Learn a Wasserstein-1 distance that is known, with every solver, and print cosines of gradients and estimates.

    Args:
        problem: w1.
        dim: number of coordinates.
        funnels: how many centres mass is drawn to.
        seeds: repetitions, each with its own laws, weights and batches.
        steps: steps of the critic.
        batch: rows a step.
        solvers: names with commas between them; by default all.
    """
    return problem, dim, funnels, seeds, steps, batch, solvers
