"""Speed and quality of ``pushforward.solvers.assign`` against SciPy, lapx and POT, in one run.

    python benchmarks/assignment.py [--quick] [--million] [--max-scipy 4000] [--only dense ties quality large] [--large a 65536]

Structures: (a) two independent Gaussian samples in 10-D; (b3) late training with a 10-D latent, x = g(z) + noise of one
standard deviation, y = g(z) shuffled, 64-D; (c2) the same with a 2-D latent and noise 0.35; (i2) a 2-D latent with a fresh
lattice, so that x and y have independent latents.

Times are CPU seconds of the process on one thread, the least of some repeats in which the solvers take turns. All solvers start from
points: the peers make a float32 cost matrix (POT a float64 one) and solve on it. Gate: never more than 1.2 times slower than the
better of SciPy and lapx at n = 500 ... 6000. Every large problem runs in a process of its own, so that the peak memory is its own;
its gap is proved ("sparse") or estimated on sampled rows ("co-split", with the standard error).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch
from torch import Tensor

from pushforward.solvers import assign
from pushforward.solvers.assignment_split import co_split, polish

EVERYTHING = 10**9
PEERS = ("scipy", "lapjvh", "POT emd")


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
            found["POT emd"] = lambda cost: ot.emd(weights, weights, cost.astype(np.float64), numItermax=10**8).argmax(
                1
            )
    except ImportError:
        pass
    return found


def dense_table(sizes: list[int], max_scipy: int) -> None:
    print("\nExact solvers, CPU seconds (in brackets: peer / assign); last: assign / the better of SciPy and lapx")
    print(
        f"{'':4}{'n':>6} {'assign':>9} {'scipy':>18} {'lapjvh':>18} {'POT emd':>18}   cost: assign/best peer - 1   ratio"
    )
    worst = 0.0
    for name in ("a", "b3", "c2", "i2"):
        for n in sizes:
            ratio = _dense_row(name, n, max_scipy)
            worst = max(worst, ratio if name != "i2" and n <= 6000 else 0.0)
    print(
        f"largest ratio of the notes' structures up to n = 6000: {worst:.2f}, {'passes' if worst <= 1.2 else 'FAILS'} (1.2)"
    )


def _dense_row(name: str, n: int, max_scipy: int) -> float:
    x, y = structure(name, n)
    solvers: dict[str, Callable[[], Any]] = {"assign": lambda: assign(x, y, exact_limit=EVERYTHING)}
    solvers |= {peer: partial(_on_matrix, solve, x, y) for peer, solve in peers(n, max_scipy).items()}
    taken, answers = in_turns(solvers, repeats=max(1, min(100, (2500 // n) ** 2 * 4)))
    own, found = taken.pop("assign"), answers.pop("assign")
    cells = [f"{taken[peer]:9.4f} ({taken[peer] / own:5.1f})" if peer in taken else f"{'-':>18}" for peer in PEERS]
    costs = [
        (x - y[torch.from_numpy(np.asarray(c)).long()]).double().square().sum(1).mean().item() for c in answers.values()
    ]
    ratio = own / min((spent for peer, spent in taken.items() if peer != "POT emd"), default=float("nan"))
    excess = found.cost / min(costs) - 1 if costs else float("nan")
    print(f"{name:4}{n:>6} {own:9.4f} {' '.join(cells)}   {excess:25.1e}   {ratio:5.2f}", flush=True)
    return ratio


def _on_matrix(solve: Callable[[np.ndarray], Any], x: Tensor, y: Tensor) -> Any:
    return solve(matrix(x, y))


def in_turns(solvers: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Least CPU seconds of each solver over rounds in which all of them run once, and their last answers; POT runs twice at most."""
    best, answers = dict.fromkeys(solvers, float("inf")), {}
    for turn in range(repeats):
        for name, solve in solvers.items():
            if name != "POT emd" or turn < 2:
                taken, answers[name] = seconds(solve, 1)
                best[name] = min(best[name], taken)
    return best, answers


def ties_table(n: int) -> None:
    print(
        f"\nRepeated rows, n={n}: CPU seconds of assign, dense / sparse tier (in brackets: over distinct rows; gate 3)"
    )
    plain = (float("nan"), float("nan"))
    for name in ("a", "c2"):
        for label, copies_x, copies_y in (("none", 1, 1), ("x 3", 3, 1), ("y 3", 1, 3), ("both 3", 3, 3), ("x 50", 50, 1),
                                          ("y 50", 1, 50), ("both 50", 50, 50)):  # fmt: skip
            x, y = structure(name, n)
            order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
            x, y = x[torch.arange(n) // copies_x][order], y[torch.arange(n) // copies_y][order.flip(0)]
            dense, _ = seconds(lambda x=x, y=y: assign(x, y, exact_limit=EVERYTHING), 2)
            sparse, _ = seconds(lambda x=x, y=y: assign(x, y, exact_limit=0, sparse_limit=EVERYTHING), 1)
            plain = (dense, sparse) if label == "none" else plain
            print(
                f"{name:4}{label:>8} {dense:8.3f} ({dense / plain[0]:.1f}) / {sparse:.3f} ({sparse / plain[1]:.1f})",
                flush=True,
            )


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
    before = peak()
    taken, found = seconds(lambda: assign(x, y), 1)
    after = peak()
    valid = torch.equal(found.permutation.sort().values, torch.arange(n))
    if found.lower_bound is not None:
        gap = f"at most {found.cost / found.lower_bound - 1:.1e}"
    else:
        gap = f"estimated at most {100 * found.estimated_gap / found.cost:.1f} +- {100 * found.gap_error / found.cost:.1f} % of the cost"
    print(
        f"{name:4}n={n}: {found.method} {taken:.1f} s CPU, cost {found.cost:.5f}, gap {gap}, permutation {valid}, "
        f"peak memory {after:.2f} GiB ({before:.2f} before)",
        flush=True,
    )
    if found.method == "co-split" and n < 100_000:
        _polish_is_monotone(x, y)


def _polish_is_monotone(x: Tensor, y: Tensor, sweeps: int = 4) -> None:
    generator = torch.Generator().manual_seed(0)
    permutation = co_split(x, y, generator=generator)
    costs = [_ratio(x, y, permutation, 1.0)]
    for _ in range(sweeps):
        permutation = polish(x, y, permutation, generator=generator, sweeps=1)
        costs.append(_ratio(x, y, permutation, 1.0))
    falls = all(after <= before for before, after in zip(costs, costs[1:], strict=False))
    print(
        f"      co-split and {sweeps} sweeps: {' '.join(f'{cost:.5f}' for cost in costs)}; monotone {falls}", flush=True
    )


def peak() -> float:
    """Largest resident memory of this process so far, in GiB; that of the process that started it is not counted."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="n up to 2000 and no large tiers")
    parser.add_argument("--million", action="store_true", help="also n = 1 000 000 in 8-D")
    parser.add_argument("--max-scipy", type=int, default=6000, help="largest n that SciPy is given (default 6000)")
    parser.add_argument("--large", nargs=2, metavar=("STRUCTURE", "N"), help="one large problem alone")
    tables = ("dense", "ties", "quality", "large")
    parser.add_argument("--only", nargs="+", choices=tables, default=tables, help="some of the tables")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.large:
        large(options.large[0], int(options.large[1]))
        return
    if "dense" in options.only:
        dense_table([500, 1000, 2000] if options.quick else [500, 1000, 2000, 4000, 6000], options.max_scipy)
    if "ties" in options.only:
        ties_table(1000 if options.quick else 4000)
    if "quality" in options.only:
        quality_table(2048 if options.quick else 8192)
    if "large" in options.only and not options.quick:
        large_table([("a8", 1_000_000)] * options.million)


def large_table(more: list[tuple[str, int]]) -> None:
    print("\nLarge problems, each in its own process")
    for name, n in [("a", 32_768), ("c2", 32_768), ("a", 65_536), ("c2", 65_536), *more]:
        subprocess.run([sys.executable, __file__, "--large", name, str(n)], check=True)


if __name__ == "__main__":
    main()
