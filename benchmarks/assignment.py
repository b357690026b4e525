"""Speed and quality of ``pushforward.solvers.assign`` against SciPy, lapx and POT, in one run.

    python benchmarks/assignment.py [--quick] [--million] [--max-scipy 4000]

Structures: (a) two independent Gaussian samples in 10-D; (b3) late training with a 10-D latent, x = g(z) + noise of one
standard deviation, y = g(z) shuffled, 64-D; (c2) the same with a 2-D latent and noise 0.35; (i2) a 2-D latent with a fresh
lattice, so that x and y have independent latents.

Times are CPU seconds of the process on one thread, the least of a few repeats at small n. All solvers start from points: the
peers make a float32 cost matrix (POT a float64 one) and solve on it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch
from torch import Tensor

from pushforward.solvers import assign
from pushforward.solvers.assignment_split import co_split, polish

EVERYTHING = 10**9


def structure(name: str, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points x, y ``[n, d]`` of one of the structures above."""
    generator = torch.Generator().manual_seed(seed)
    if name.startswith("a"):
        d = int(name[1:] or 10)
        return torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator)
    latent, noise, same = {"b3": (10, 1.0, True), "c2": (2, 0.35, True), "i2": (2, 0.35, False)}[name]
    layers = [torch.randn(i, o, generator=generator) / i**0.5 for i, o in ((latent, 128), (128, 128), (128, 64))]
    z = torch.randn(n, latent, generator=generator)
    y = _through(layers, z)
    x = y if same else _through(layers, torch.randn(n, latent, generator=generator))
    x = x + noise * y.std() * torch.randn(n, 64, generator=generator)
    return x, y[torch.randperm(n, generator=generator)]


def _through(layers: list[Tensor], z: Tensor) -> Tensor:
    for layer in layers[:-1]:
        z = torch.tanh(z @ layer)
    return z @ layers[-1]


def seconds(solve: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least CPU seconds of a few calls, and the last answer."""
    best, answer = float("inf"), None
    for _ in range(repeats):
        started = time.process_time()
        answer = solve()
        best = min(best, time.process_time() - started)
    return best, answer


def matrix(x: Tensor, y: Tensor) -> np.ndarray:
    """All squared distances ``[n, n]``, float32, as a user would make them."""
    x, y = x - x.mean(0), y - y.mean(0)
    return torch.addmm(x.square().sum(1, keepdim=True) + y.square().sum(1), x, y.T, alpha=-2).numpy()


def peers(n: int, max_scipy: int) -> dict[str, Callable[[np.ndarray], Any]]:
    """The other solvers that are installed and stand n rows, on a float32 matrix."""
    from scipy.optimize import linear_sum_assignment

    found: dict[str, Callable[[np.ndarray], Any]] = {}
    if n <= max_scipy:
        found["scipy"] = lambda cost: linear_sum_assignment(cost)[1]
    try:
        import lap

        found["lapjvh"] = lambda cost: lap.lapjvh(cost, return_cost=False)[1]
    except ImportError:
        pass
    try:
        import ot

        weights = np.full(n, 1 / n)
        if n <= 2000:
            found["POT emd"] = lambda cost: ot.emd(weights, weights, cost.astype(np.float64), numItermax=10**8).argmax(1)
    except ImportError:
        pass
    return found


def dense_table(sizes: list[int], max_scipy: int) -> None:
    print("\nExact solvers, CPU seconds (in brackets: peer / assign)")
    print(f"{'':4}{'n':>6} {'assign':>9} {'scipy':>18} {'lapjvh':>18} {'POT emd':>18}   cost: assign/best peer - 1")
    for name in ("a", "b3", "c2", "i2"):
        for n in sizes:
            x, y = structure(name, n)
            repeats = 5 if n <= 1000 else 2 if n <= 2000 else 1
            own, found = seconds(lambda x=x, y=y: assign(x, y, exact_limit=EVERYTHING), repeats)
            cells, costs = [], []
            solvers = peers(n, max_scipy)
            for peer in ("scipy", "lapjvh", "POT emd"):
                if peer not in solvers:
                    cells.append(f"{'-':>18}")
                    continue
                taken, columns = seconds(lambda x=x, y=y, solve=solvers[peer]: solve(matrix(x, y)), repeats)
                costs.append((x - y[torch.from_numpy(np.asarray(columns)).long()]).double().square().sum(1).mean().item())
                cells.append(f"{taken:9.4f} ({taken / own:5.1f})")
            excess = found.cost / min(costs) - 1 if costs else float("nan")
            print(f"{name:4}{n:>6} {own:9.4f} {' '.join(cells)}   {excess:.1e}", flush=True)


def ties_table(n: int) -> None:
    print(f"\nRepeated rows, n={n}: CPU seconds of assign, dense / sparse tier")
    for name in ("a", "c2"):
        for label, copies_x, copies_y in (("none", 1, 1), ("x 3", 3, 1), ("y 3", 1, 3), ("both 3", 3, 3), ("x 50", 50, 1),
                                          ("y 50", 1, 50), ("both 50", 50, 50)):  # fmt: skip
            x, y = structure(name, n)
            order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
            x, y = x[torch.arange(n) // copies_x][order], y[torch.arange(n) // copies_y][order.flip(0)]
            dense, _ = seconds(lambda x=x, y=y: assign(x, y, exact_limit=EVERYTHING), 1)
            sparse, _ = seconds(lambda x=x, y=y: assign(x, y, exact_limit=0, sparse_limit=EVERYTHING), 1)
            print(f"{name:4}{label:>8} {dense:8.3f} / {sparse:.3f}", flush=True)


def quality_table(n: int) -> None:
    print(f"\nLarge tiers, n={n}: cost / optimum (the sparse tier's own bound proves it), CPU seconds in brackets")
    for name in ("a", "b3", "c2", "i2"):
        x, y = structure(name, n)
        taken, exact = seconds(lambda x=x, y=y: assign(x, y, exact_limit=0, sparse_limit=EVERYTHING), 1)
        line = f"{name:4} sparse {exact.cost / exact.lower_bound:.8f} of its lower bound ({taken:.2f})"
        generator = torch.Generator().manual_seed(0)
        taken, split = seconds(lambda x=x, y=y, g=generator: co_split(x, y, generator=g), 1)
        line += f" | co-split {_ratio(x, y, split, exact.cost):.4f} ({taken:.2f})"
        taken, fine = seconds(lambda x=x, y=y, p=split, g=generator: polish(x, y, p, generator=g), 1)
        print(line + f" | + polish {_ratio(x, y, fine, exact.cost):.4f} ({taken:.2f})", flush=True)


def _ratio(x: Tensor, y: Tensor, permutation: Tensor, best: float) -> float:
    return (x - y[permutation]).double().square().sum(1).mean().item() / best


def large(name: str, n: int) -> None:
    """One large problem; run in a process of its own so that the peak memory is its own."""
    x, y = structure(name, n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken, found = seconds(lambda: assign(x, y), 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    valid = torch.equal(found.permutation.sort().values, torch.arange(n))
    gap = f"{found.cost / found.lower_bound - 1:.1e}" if found.lower_bound else "unknown"
    print(
        f"{name:4}n={n}: {found.method} {taken:.1f} s CPU, cost {found.cost:.5f}, gap {gap}, permutation {valid}, "
        f"peak RSS {peak / 2**20:.2f} GiB ({before / 2**20:.2f} before)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="n up to 2000 and no large tiers")
    parser.add_argument("--million", action="store_true", help="also n = 1 000 000 in 8-D")
    parser.add_argument("--max-scipy", type=int, default=8000, help="largest n that SciPy is given (default 8000)")
    parser.add_argument("--large", nargs=2, metavar=("STRUCTURE", "N"), help="one large problem alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.large:
        large(options.large[0], int(options.large[1]))
        return
    dense_table([500, 1000, 2000] if options.quick else [500, 1000, 2000, 4000, 6000, 8000], options.max_scipy)
    ties_table(1000 if options.quick else 4000)
    quality_table(2048 if options.quick else 8192)
    problems = [] if options.quick else [("a", 32_768), ("c2", 32_768), ("a", 65_536), ("c2", 65_536)]
    print("\nLarge problems, each in its own process")
    for name, n in problems + [("a8", 1_000_000)] * options.million:
        subprocess.run([sys.executable, __file__, "--large", name, str(n)], check=True)


if __name__ == "__main__":
    main()
