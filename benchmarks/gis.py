"""GIS on laws with known densities: gaps to the truth, each part left out, the authors' code, slices and knots.

    python benchmarks/gis.py [PART ...] [--authors CHECKOUT]

Parts: ``directions`` (the direction search alone), ``known`` (ten coordinates, 1000 rows, three seeds), ``hard`` (thirty
coordinates, 10 000 rows), ``grid`` (slices and knots), ``alarms`` (p-values of fresh rows), ``compiled`` (splines through
torch.compile) and ``authors``, which needs a checkout of github.com/biweidai/SINF; without
arguments all of them. Seconds are CPU seconds of this process, on one thread. Log-densities are means over 10 000 fresh
rows in nats a row, in units of unit variance; a gap is the truth's less the model's.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import io
import math
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import pushforward as pf
from pushforward.solvers import rational_quadratic as splines
from pushforward.solvers.slices import find_slices, random_frames, sliced_distance

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles.densities import Density, density  # noqa: E402

TEST_ROWS = 10_000
# Gates: .48 and 3.08 were asked for, on other laws of the same families; on these laws alpha = 0 and no kernel estimate pass them.
KNOWN_GAP, HARD_GAP = 0.40, 2.3
PARTS = ("directions", "known", "hard", "grid", "alarms", "compiled", "authors")
# Laws and seeds that no setting was chosen by: (law, rows, seeds).
UNSEEN = [("autot10", 1000, (11, 12)), ("ica30", 1000, (11,)), ("gmm30", 1000, (11,))] + [
    ("autot3", 5000, (11,)),
    ("ica6", 5000, (11,)),
    ("gmm4", 5000, (11,)),
]


class Case:
    """A law, training rows and fresh rows, scaled by the training rows; the truth in that scale."""

    def __init__(self, name: str, n: int, seed: int) -> None:
        law: Density = density(name)
        x, fresh = law.rows(n, seed), law.rows(TEST_ROWS, 10_000 + seed)
        mean, scale = x.mean(0), x.std(0)
        self.x, self.fresh = (x - mean) / scale, (fresh - mean) / scale
        self.truth = float(law.log_prob(fresh.astype(float)).mean() + np.log(scale).sum())


def fitted(case: Case, seed: int, budget: str | None = None, **settings: Any) -> tuple[float, float, int]:
    """Mean log-density of fresh rows, CPU seconds of the fit, layers kept."""
    began = time.process_time()
    model = pf.GIS(**settings).fit(
        case.x, budget=budget, run=pf.Run(seed=seed, validation=0, progress=False, device="cpu")
    )
    spent = time.process_time() - began
    value = model.log_prob(case.fresh).mean() - np.log(model.schema_.coder.scale).sum()
    return float(value), spent, int(model.law_.ends[-1])


@contextlib.contextmanager
def random_directions() -> Iterator[None]:
    """The direction search replaced by a random frame."""

    def draw(x: torch.Tensor, *, count: int, generator: torch.Generator, **_: object) -> torch.Tensor:
        return random_frames(len(x), x.shape[2], count, generator)

    with mock.patch("pushforward.methods.gis.find_slices", draw):
        yield


def directions() -> None:
    """F of the directions, for standardised auto30 with 8000 rows and K = 8."""
    x = torch.from_numpy(Case("auto30", 8000, 0).x)[None]
    print("\nDirections: auto30, 8000 rows, K = 8.")
    print("| | F | recomputed in float64 | CPU ms |\n|---|---|---|---|")
    for iterations in (1, 5, 15, 25, 40, 100):
        generator = torch.Generator().manual_seed(0)
        began = time.process_time()
        found = find_slices(x, count=8, iterations=iterations, generator=generator)
        spent = time.process_time() - began
        name = f"{iterations} iterations" if iterations > 1 else "random frame"
        print(f"| {name} | {sliced_distance(x, found).item():.4f} | {by_numpy(x, found):.4f} | {1000 * spent:.0f} |")


def their_directions(checkout: str) -> None:
    """F of the directions that the authors' search finds in 200 iterations, on the rows of `directions`."""
    case = Case("auto30", 8000, 0)
    module = imported(checkout)
    layer = module.SlicedTransport(ndim=30, K=8, M=50).requires_grad_(False)
    torch.manual_seed(0)
    x = torch.from_numpy(case.x)
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        layer.fit_A(data=x, ndata_A=8000, MSWD_max_iter=200, verbose=False)
    spent = time.process_time() - began
    print(
        f"\nThe authors' direction search there: F = {by_numpy(x[None], layer.A[None]):.4f} in {1000 * spent:.0f} CPU ms."
    )


def by_numpy(x: torch.Tensor, slices: torch.Tensor) -> float:
    """F by numpy and scipy alone."""
    from scipy.special import ndtri

    u = np.sort(x[0].double().numpy() @ slices[0].double().numpy(), axis=0)
    return float(((u - ndtri((np.arange(len(u)) + 0.5) / len(u))[:, None]) ** 2).mean())


def known() -> None:
    """ica10 with 1000 rows: three seeds, and each part left out."""
    cases = [(seed, Case("ica10", 1000, seed)) for seed in (0, 1, 2)]
    print(f"\nica10, 1000 rows, mean of 3 seeds. Gate: a gap of at most {KNOWN_GAP} in less than 5 CPU s.")
    print("| | gap | gaps | layers | CPU s | |\n|---|---|---|---|---|---|")
    variants: dict[str, dict[str, Any]] = {
        "**GIS**": {},
        "5 bags": {"bags": 5},
        "whitened": {"whiten": True},
        "alpha of the paper": {"alpha": 1 - 0.02 * math.log10(800), "alpha_tails": 1 - 0.001 * math.log10(800)},
        "alpha = 0": {"alpha": 0.0, "alpha_tails": 0.0},
        "tails as fitted": {"alpha_tails": 0.0},
        "no kernel estimate": {"bandwidth": 0.0},
    }
    for name, settings in variants.items():
        line(name, [(case.truth, *fitted(case, seed, **settings)) for seed, case in cases], limit=KNOWN_GAP)
    with random_directions():
        line("random directions", [(case.truth, *fitted(case, seed)) for seed, case in cases], limit=KNOWN_GAP)
    line("a Gaussian", [(case.truth, *gaussian(case)) for _, case in cases], limit=KNOWN_GAP)


def hard() -> None:
    """auto30 with 10 000 rows, and each part left out."""
    case = Case("auto30", 10_000, 0)
    print(f"\nauto30, 10 000 rows. Gate: a gap of at most {HARD_GAP} within 250 layers in less than 30 CPU s.")
    print("| | gap | gaps | layers | CPU s | |\n|---|---|---|---|---|---|")
    line("**GIS**", [(case.truth, *fitted(case, 0))], limit=HARD_GAP)
    line("alpha = 0", [(case.truth, *fitted(case, 0, alpha=0.0, alpha_tails=0.0))], limit=HARD_GAP)
    line("no kernel estimate", [(case.truth, *fitted(case, 0, bandwidth=0.0))], limit=HARD_GAP)
    with random_directions():
        line("random directions, 250 layers", [(case.truth, *fitted(case, 0, budget="250 steps"))], limit=HARD_GAP)
    line("a Gaussian", [(case.truth, *gaussian(case))], limit=HARD_GAP)


def line(name: str, results: list[tuple[float, float, float, int]], limit: float) -> None:
    """One row of a table; results are (truth, value, seconds, layers)."""
    gaps = [truth - value for truth, value, _, _ in results]
    layers = ", ".join(str(result[3]) for result in results)
    verdict = "passes" if np.mean(gaps) <= limit else "fails"
    each = ", ".join(f"{gap:.3f}" for gap in gaps)
    print(
        f"| {name} | {np.mean(gaps):.3f} | {each} | {layers} | {np.mean([r[2] for r in results]):.2f} | {verdict} |",
        flush=True,
    )


def gaussian(case: Case) -> tuple[float, float, int]:
    """The Gaussian with the training rows' moments."""
    began = time.process_time()
    covariance = np.cov(case.x.T.astype(float))
    spent = time.process_time() - began
    gap = case.fresh - case.x.mean(0)
    squares = (gap * np.linalg.solve(covariance, gap.T).T).sum(1)
    value = -0.5 * (squares.mean() + np.linalg.slogdet(covariance)[1] + case.x.shape[1] * math.log(2 * math.pi))
    return float(value), spent, 0


def grid() -> None:
    """Slices and knots on two laws."""
    print("\nSlices and knots: gaps to the truth.")
    for name, n, counts in (("auto10", 1000, (4, 8, 10)), ("ica10", 3000, (4, 8, 10))):
        case = Case(name, n, 0)
        print(f"\n| {name}, {n} rows | 30 knots | 50 knots | 90 knots |\n|---|---|---|---|")
        for slices in counts:
            gaps = [case.truth - fitted(case, 0, slices=slices, knots=knots)[0] for knots in (30, 50, 90)]
            print(f"| {slices} slices | " + " | ".join(f"{gap:.3f}" for gap in gaps) + " |", flush=True)


def alarms(fits: int = 30) -> None:
    """How often the p-values of fresh rows are at most 5 % and 1 %."""
    print(f"\nFalse alarms: mean of {fits} fits (standard error), 2000 fresh rows each.")
    print("| law | rows | bags | at 5 % | at 1 % |\n|---|---|---|---|---|")
    for name, n, bags in (("ica3", 500, 1), ("auto10", 1000, 1), ("ica3", 200, 5), ("ica3", 100, 5)):
        law, rates = density(name), []
        for seed in range(fits):
            run = pf.Run(seed=seed, validation=0, progress=False, device="cpu")
            p = pf.GIS(bags=bags).fit(law.rows(n, seed), run=run).p_value(law.rows(2000, 1000 + seed))
            rates.append([100 * (p <= level).mean() for level in (0.05, 0.01)])
        mean, error = np.mean(rates, axis=0), np.std(rates, axis=0) / math.sqrt(fits)
        cells = " | ".join(f"{m:.2f} % ({e:.2f})" for m, e in zip(mean, error, strict=True))
        print(f"| {name} | {n} | {bags} | {cells} |", flush=True)


def compiled() -> None:
    """Splines as they are and through torch.compile, best of five times twenty calls."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # nothing compiled before is taken
    print("\n| function | slices x rows | knots | ms | compiled, ms | compiling, CPU s |\n|---|---|---|---|---|---|")
    for slices, rows, knots in ((8, 800, 50), (8, 8000, 89)):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(slices, knots, generator=generator).sort(-1).values
        y = x + 0.3 * torch.tanh(x)
        spline = splines.Spline(x, y, splines.slopes_of_knots(x, y))
        u = torch.randn(slices, rows, generator=generator)
        for name in ("transform", "inverse"):
            plain = getattr(splines, name)
            fast = torch.compile(plain, dynamic=False)
            began = sum(os.times()[:4])
            fast(spline, u)
            spent = sum(os.times()[:4]) - began
            each = [milliseconds(functools.partial(call, spline, u)) for call in (plain, fast)]
            print(f"| {name} | {slices} x {rows} | {knots} | {each[0]:.2f} | {each[1]:.2f} | {spent:.1f} |", flush=True)


def milliseconds(call: Callable[[], object]) -> float:
    """CPU milliseconds of a call, the best of five times twenty."""
    best = math.inf
    for _ in range(5):
        began = time.process_time()
        for _ in range(20):
            call()
        best = min(best, (time.process_time() - began) / 20)
    return 1000 * best


def authors(checkout: str | None) -> None:
    """GIS against the authors' code on the same rows."""
    if checkout is None:
        print(
            "\nAuthors' code: give the path of a checkout of github.com/biweidai/SINF with --authors to compare with it."
        )
        return
    their_directions(checkout)
    fit = authors_fit(checkout)
    print(
        "\nAgainst the authors' code at its defaults (validation: a fifth of the rows for both); laws and seeds not used before."
    )
    print("| law | rows | seed | truth | authors | GIS | difference | authors' CPU s | GIS CPU s | ratio | layers |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, n, seeds in UNSEEN:
        for seed in seeds:
            case = Case(name, n, seed)
            value, spent, layers = fitted(case, seed)
            theirs, their_spent, their_layers = fit(case, seed)
            print(
                f"| {name} | {n} | {seed} | {case.truth:.3f} | {theirs:.3f} | {value:.3f} | {value - theirs:+.3f} | {their_spent:.1f} "
                f"| {spent:.2f} | {their_spent / spent:.0f} | {their_layers}, {layers} |",
                flush=True,
            )


def authors_fit(checkout: str) -> Any:
    """A function that fits the authors' model."""
    module = imported(checkout)

    def fit(case: Case, seed: int) -> tuple[float, float, int]:
        torch.manual_seed(seed)
        x, held = torch.from_numpy(case.x), len(case.x) // 5
        began = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            model = module.GIS(x[:-held], x[-held:], nocuda=True, verbose=False)
        spent = time.process_time() - began
        value = model.evaluate_density(torch.from_numpy(case.fresh)).double().mean()
        return float(value), spent, len(model.layer)

    return fit


def imported(checkout: str) -> Any:
    """The authors' module; their loader of image sets, which needs other packages, is left out."""
    sys.path.insert(0, checkout)
    sys.modules.setdefault("sinf.load_data", types.ModuleType("sinf.load_data"))
    return importlib.import_module("sinf.GIS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--authors", help="path of a checkout of the authors' code")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {sorted(unknown)[0]!r}; parts: {', '.join(PARTS)}")
    torch.set_num_threads(1)
    fitted(Case("ica10", 200, 0), 0)  # what only a first call does is not timed
    wanted = arguments.parts or PARTS
    for part in (directions, known, hard, grid, alarms, compiled):
        if part.__name__ in wanted:
            part()
    if "authors" in wanted:
        authors(arguments.authors)


if __name__ == "__main__":
    main()
