"""The optimal univariate WGAN: time and sum of squares for many rows, its value against a linear programme, and trained WGANs.

A WGAN with one uniform latent is trained by gradient descent in two ways: a perceptron against a WGAN-GP critic, and a curve of 200
corners, kept K-Lipschitz by projection, on the exact distance (an assignment at every step). No curve with Lipschitz
constant K can be nearer to the rows than S / (4K); gates: value within 1 % of the assignment, both trained curves at
least S / (4K), 10 000 rows in under 60 CPU seconds of one thread.

    python benchmarks/univariate.py [--rows 10000] [--steps 2000]
"""

from __future__ import annotations

import argparse
import math
import time
import warnings

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

import pushforward as pf
from pushforward.nets import mlp
from pushforward.nets.critics import mlp_critic
from pushforward.objectives.critics import dual_gap, dual_terms
from pushforward.objectives.penalties import interpolates, slopes, two_sided_penalty
from pushforward.solvers.hamiltonian import search_points
from pushforward.solvers.square_walk import improve_walk, square_sum

PARTS = 120  # of every row, for the distance by assignment
CORNERS = 200
SPREAD = 20.0  # the perceptron sees u from -10 to 10


def sums(n: int, d: int, kicks: int) -> None:
    """Time and sum of squares for n uniform rows of the unit cube."""
    x, rng = np.random.default_rng(0).random((n, d)), np.random.default_rng(1)
    began = time.process_time()
    search = search_points(x)
    first, descent = search.total, time.process_time() - began
    for _ in range(kicks):
        search.kick(rng)
    kicked = time.process_time() - began
    walk = improve_walk(x, search.order)
    seconds = time.process_time() - began
    shuffled = square_sum(x, np.random.default_rng(2).permutation(n))
    print(
        f"| {n} | {d} | {shuffled:.4g} | {first:.4f} ({descent:.1f} s) | {search.total:.4f} ({kicked:.1f} s) | "
        f"{square_sum(x, walk):.4f} | {len(walk)} | {seconds:.1f} |",
        flush=True,
    )


def distance(made: torch.Tensor, rows: torch.Tensor) -> tuple[float, np.ndarray]:
    """W1 of points [m k, d] and rows [m, d] with equal weights, and the row that each point goes to."""
    targets = torch.arange(len(rows)).repeat_interleave(len(made) // len(rows))
    cost = torch.cdist(made, rows[targets], compute_mode="donot_use_mm_for_euclid_dist").detach().numpy()
    pairs = linear_sum_assignment(cost)[1]
    return float(cost[np.arange(len(cost)), pairs].mean()), targets[pairs].numpy()


def descend_curve(rows: torch.Tensor, k: float, steps: int, seed: int) -> float:
    """Gradient descent of the exact distance over K-Lipschitz curves with equally spaced corners, from a random order of the rows."""
    generator = torch.Generator().manual_seed(seed)
    n, longest = len(rows), k / (CORNERS - 1)
    start = rows[torch.randperm(n, generator=generator)]
    u = torch.linspace(0, n - 1, CORNERS, dtype=torch.float64)
    low = u.long().clamp(max=n - 2)
    corners = torch.lerp(start[low], start[low + 1], (u - low)[:, None]).requires_grad_()
    optimizer = torch.optim.Adam([corners], lr=0.02)
    best = math.inf
    t = (torch.arange(n * 20, dtype=torch.float64) + 0.5) / (n * 20) * (CORNERS - 1)
    at = t.long().clamp(max=CORNERS - 2)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        leg = corners.diff(dim=0)
        leg = leg * (longest / leg.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp(
            max=1
        )  # K-Lipschitz by construction
        curve = torch.cat([corners[:1], corners[:1] + leg.cumsum(0)])
        made = torch.lerp(curve[at], curve[at + 1], (t - at)[:, None])
        value, to = distance(made, rows)
        best = min(best, value)
        loss = (made - rows[to]).norm(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best


def latents(n: int) -> torch.Tensor:
    return SPREAD * (torch.rand(n, 1) - 0.5)


def train_gan(rows: torch.Tensor, steps: int, seed: int) -> tuple[float, float]:
    """WGAN-GP with one latent: the distance of its law to the rows, and the largest slope of its generator."""
    torch.manual_seed(seed)
    generator, critic = mlp(1, (64, 64, 64), rows.shape[1]), mlp_critic(rows.shape[1:], (64, 64, 64))
    players = [torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.0, 0.9)) for net in (generator, critic)]
    rows = rows.float()
    for _ in range(steps):
        for _ in range(3):
            x, made = rows[torch.randint(len(rows), (64,))], generator(latents(64)).detach()
            gap, gradient = dual_terms(critic, made, x, interpolates(made, x))
            loss = -gap + 10 * two_sided_penalty(slopes(gradient))
            players[1].zero_grad()
            loss.backward()
            players[1].step()
        loss = dual_gap(critic(generator(latents(64))), torch.zeros(1))
        players[0].zero_grad()
        loss.backward()
        players[0].step()
    with torch.no_grad():
        u = (torch.arange(len(rows) * PARTS)[:, None] + 0.5) / (len(rows) * PARTS)
        made = generator(SPREAD * (u - 0.5))
        slope = float((made.diff(dim=0).norm(dim=1) * len(made)).max())
    return distance(made, rows)[0], slope


def against_training(steps: int) -> bool:
    """The value, the distance by assignment, and trained curves, for 10 rows in the plane."""
    good = True
    print(
        "\n| rows | K | path S*/4K | walk S/4K | its W1 by assignment | curve by gradient descent, best of 3 | WGAN-GP: W1 | its largest "
        "slope |\n|---|---|---|---|---|---|---|---|"
    )
    for seed in range(3):
        x = np.random.default_rng(seed).random((10, 2))
        run = {"progress": False, "validation": 0, "device": "cpu"}
        path = pf.UnivariateWGAN(revisit=False).fit(x, run=pf.Run(**run))
        k = 2 * max(path.lipschitz_, pf.UnivariateWGAN().fit(x, run=pf.Run(**run)).lipschitz_)
        path, walk = (
            pf.UnivariateWGAN(lipschitz=k, revisit=again).fit(x, run=pf.Run(**run)) for again in (False, True)
        )
        rows = walk.law_.rows.double()
        u = (torch.arange(10 * PARTS, dtype=torch.float64)[:, None] + 0.5) / (10 * PARTS)
        exact = distance(walk.law_.decode(u), rows)[0]
        descended = min(descend_curve(rows, k, steps // 10, s) for s in range(3))
        trained, slope = train_gan(rows, steps, seed)
        bound = walk.value_ * k / max(k, slope)
        good &= abs(exact / walk.value_ - 1) < 0.01 and descended >= walk.value_ and trained >= bound
        print(
            f"| seed {seed} | {k:.1f} | {path.value_:.5f} | {walk.value_:.5f} | {exact:.5f} | {descended:.5f} | {trained:.4f} | "
            f"{slope:.1f} |",
            flush=True,
        )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=2000)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(
        "| rows | d | random order | descent | + kicks | + detours: S of the walk | stops | CPU s |\n|---|---|---|---|---|---|---|---|"
    )
    for n, d, kicks in ((50, 2, 500), (200, 2, 1000), (1000, 2, 4000), (1000, 5, 4000), (given.rows, 2, 20_000)):
        sums(n, d, kicks)
    print("\nall gates passed" if against_training(given.steps) else "\na gate failed")


if __name__ == "__main__":
    main()
