"""VDAE against closed forms, against a VAE of the same CPU seconds, and on pictures. Every line says whether it passes.

    spectral   circle (3000 points, two densities): rates 1, 1, 4, 4, 9, 9 times the first within 8 %; new points by Nystroem, largest
               error below .06; sphere (4000 points): rates 2, 6, 12, three, five and seven times
    shapes     a circle and the loop (cos t, sin 2t, sin 3t) in R^20, noise .02 a coordinate, 1500 points: H1 (longest lifetime, second),
               95 % quantile of the distance off the clean curve, total variation over 36 arcs of t, mean local stretch ratio of the
               decoder, of samples and of means; walks from one row: the anchored one of mixing_steps() steps, with residuals and
               without, and the paper's (decode, encode, step) as long (at most 500); Gromov-Wasserstein as a report (needs POT)
    residuals  laws of the residual of samples, compared on 400 of the 1300 training digits, which are held out for this
    digits     1300 to train, 497 to test: 10^3 unbiased squared MMD with the kernel (u.v / 64 + 1)^3 of pixels in [0, 1], the median
               distance to training digits over that of test digits, precision, recall and Frechet distance of pixels, for all ways to
               sample and beside a VAE of the same CPU seconds
    pictures   200 views of scikit-learn's sample picture of a temple, turned through 360 degrees, 32 x 32, grey: loops, and a walk around
    large      20 000 Fashion-MNIST images (--rows): seconds and memory of the spectral stage (needs PUSHFORWARD_DATA)

    python benchmarks/vdae.py [spectral shapes residuals digits pictures large] [--out FOLDER] [--rows 70000]

Seconds are those of the process (CPU). With --out the walk of the pictures is written as a strip, with the report beside it.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

import pushforward as pf
from pushforward import metrics
from pushforward.method import Method
from pushforward.methods import VAE, VDAE
from pushforward.metrics.gromov import find_solver
from pushforward.residuals import CentredResiduals, GaussianResiduals, LocalResiduals, Residuals
from pushforward.solvers.bistochastic import bistochastic, mixing_steps, second_eigenvalue
from pushforward.solvers.neighbours import nearest_neighbours
from pushforward.solvers.spectral import diffusion_map
from pushforward.walks import DiffusionLaw

FRAME = np.linalg.qr(np.random.default_rng(5).normal(size=(20, 20)))[0]
FINE = np.linspace(0, 2 * np.pi, 3600, endpoint=False)
SHORT, LONG = 30, 130  # steps of the fits that are timed
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "circle": lambda t: np.stack([np.cos(t), np.sin(t)], 1),
    "loop": lambda t: np.stack([np.cos(t), np.sin(2 * t), np.sin(3 * t)], 1),
}
LATENT = {"circle": 2, "loop": 4}


def say(what: str, passes: bool | None = None) -> None:
    print(what + ("" if passes is None else "   passes" if passes else "   FAILS"), flush=True)


def fit(method: Method, x: np.ndarray, budget: str) -> tuple[Method, float]:
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = method.fit(x, budget=budget, run=pf.Run(validation=0, device="cpu", progress=False))
    return model, time.process_time() - began


def steps_for(make: Callable[[], Method], x: np.ndarray, seconds: float) -> int:
    """Steps that take that many CPU seconds."""
    fit(make(), x, "5 steps")
    short, long = (fit(make(), x, f"{steps} steps")[1] for steps in (SHORT, LONG))
    return max(1, round(seconds / max((long - short) / (LONG - SHORT), 1e-4)))


# ------------------------------------------------------------------------------------------------------------ spectral


def spectral() -> None:
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 2 * np.pi, 3000)
    uneven = np.where(rng.random(3000) < 0.5, rng.vonmises(0, 2, 3000), t)
    for name, angle in (("uniform", t), ("uneven", uneven)):
        for alpha in (1.0, 0.0):
            began = time.process_time()
            ratios, left, error = circle_map(angle, rng, alpha)
            seconds = time.process_time() - began
            good = bool(np.abs(ratios / [1, 1, 4, 4, 9, 9] - 1).max() < 0.08 and left < 1e-3 and error < 0.06)
            told = f"rates {ratios.round(2)}, residual {left:.1e}, Nystroem error {error:.3f}, {seconds:.1f} s"
            say(f"circle, {name}, alpha {alpha:g}: {told}", good if alpha else None)
    z = rng.normal(size=(4000, 3))
    began = time.process_time()
    rates = diffusion_map(unit(z), 15, bandwidth=0.02, neighbours=600).rates.numpy()
    good = bool(np.abs(rates / ([2] * 3 + [6] * 5 + [12] * 7) - 1).max() < 0.1)
    say(f"sphere: rates {rates.round(2)}, {time.process_time() - began:.1f} s", good)


def circle_map(angle: np.ndarray, rng: np.random.Generator, alpha: float) -> tuple[np.ndarray, float, float]:
    """Rates over the first, share of the circle that the first two coordinates leave, largest error at new points."""
    found = diffusion_map(ring(angle), 6, bandwidth=0.003, neighbours=500, alpha=alpha)
    psi, new = found.coordinates[:, :2].numpy(), rng.uniform(0, 2 * np.pi, 500)
    matrix = np.linalg.lstsq(psi, ring(angle).numpy(), rcond=None)[0]
    left = np.square(ring(angle).numpy() - psi @ matrix).mean() / np.square(ring(angle).numpy()).mean()
    error = np.abs(found.extend(ring(new))[:, :2].numpy() @ matrix - ring(new).numpy()).max()
    return (found.rates / found.rates[0]).numpy(), float(left), float(error)


def ring(t: np.ndarray) -> Tensor:
    return torch.from_numpy(CURVES["circle"](t))


def unit(z: np.ndarray) -> Tensor:
    return torch.from_numpy(z / np.linalg.norm(z, axis=1, keepdims=True))


# -------------------------------------------------------------------------------------------------------------- shapes


class Curve:
    """A closed curve in R^20, noisy points on it, and the numbers of other points beside them."""

    def __init__(self, name: str, n: int = 1500) -> None:
        rng = np.random.default_rng(0)
        self.t, self.place = rng.uniform(0, 2 * np.pi, n), CURVES[name]
        clean = self.points(self.t)
        self.x = (clean + 0.02 * rng.normal(size=clean.shape)).astype(np.float32)
        self.off = self.numbers(self.x)[2]

    def points(self, t: np.ndarray) -> np.ndarray:
        """Points of the clean curve."""
        flat = self.place(t)
        return flat @ FRAME[: flat.shape[1]]

    def numbers(self, x: np.ndarray) -> tuple[float, float, float, float]:
        """H1 longest over the data's, second over longest, 95 % off the curve, total variation over arcs."""
        x = np.clip(np.nan_to_num(x, nan=1e6), -1e6, 1e6)
        shape = metrics.homology_match(torch.from_numpy(x).double(), torch.from_numpy(self.x).double())
        nearest = torch.cdist(torch.from_numpy(x).double(), torch.from_numpy(self.points(FINE))).min(1)
        shares = [np.histogram(t, 36, (0, 2 * np.pi))[0] / len(t) for t in (FINE[nearest.indices.numpy()], self.t)]
        spread = 0.5 * np.abs(shares[0] - shares[1]).sum()
        return shape.top_ratio, shape.second_ratio, float(nearest.values.quantile(0.95)), float(spread)

    def tell(
        self, name: str, x: np.ndarray, most_spread: float, stretch: float | None = None, *, fails: bool = False
    ) -> bool:
        """Print the numbers of points and whether they pass (or fail, where they must); returns whether their loops do."""
        top, second, off, spread = self.numbers(x)
        loops = top >= 0.8 and second <= 0.3
        good = loops and off <= self.off and spread <= most_spread and (stretch is None or stretch <= 2)
        told = f"H1 {top:.2f} of the data's, second {second:.2f}, off {off:.3f} (data {self.off:.3f}), TV {spread:.3f}"
        told += f", stretch {stretch:.2f}" if stretch is not None else ""
        say(
            f"  {name}: {told}" + ("   fails, as it must" if fails and not good else ""),
            None if fails and not good else bool(good and not fails),
        )
        return bool(loops)


def shapes() -> None:
    for name in CURVES:
        curve = Curve(name)
        model, seconds = fit(VDAE(latent_dim=LATENT[name], width=32), curve.x, "2000 steps")
        law = cast(DiffusionLaw, model.law_)
        steps = steps_for(lambda: VAE(latent_dim=2, prior="gaussian", noise=False, width=32), curve.x, seconds)
        plain, plain_seconds = fit(
            VAE(latent_dim=2, prior="gaussian", noise=False, width=32), curve.x, f"{steps} steps"
        )
        say(f"{name}: VDAE {seconds:.1f} s, VAE(2) {plain_seconds:.1f} s ({steps} steps)")
        n, g = len(curve.x), torch.Generator().manual_seed(0)
        curve.tell("VDAE, samples", model.sample(n, seed=0), 0.12, stretch(model, law.codes))
        curve.tell("VDAE, means of one step", single(model, n), 0.12)
        z, codes, left = steps_of(model, curve.x, n)
        other = LocalResiduals(4)
        other.fit(codes, left, torch.Generator().manual_seed(0))
        say(f"  with NeuroSQL's residuals: off {curve.numbers(with_residuals(model, z, other))[2]:.3f}")
        z = torch.randn(n, 2, generator=g)
        loops = curve.tell("VAE(2)", plain.sample(n, seed=0), 0.12, stretch(plain, z), fails=True)
        say("  the VAE is told from the data by its loops", not loops)
        if find_solver() is not None:
            for who, x in (("VDAE", model.sample(n, seed=0)), ("VAE(2)", plain.sample(n, seed=0))):
                say(f"  Gromov-Wasserstein, {who}: {told_gromov(x, curve.x)}")
        walks(curve, model, g)


def walks(curve: Curve, model: Method, g: torch.Generator) -> None:
    """From one row: the anchored walk, and the paper's."""
    law, n, steps = cast(DiffusionLaw, model.law_), len(curve.x), model.mixing_steps()
    start = torch.zeros(n, dtype=torch.int64)
    with torch.no_grad():
        moved = law.walk.move(start, steps, g)
        z = law.draw(law.codes[moved], g)
        curve.tell(f"anchored walk from one row, {steps} steps", with_residuals(model, z, law.residuals), 0.15)
        curve.tell(f"anchored walk from one row, {steps} steps, means", rows(model, z), 0.15)
        z = law.draw(law.codes[start], g)
        for _ in range(min(steps, 500)):
            z = law.draw(law.encode(law.decode(z)), g)
        curve.tell(f"the paper's walk from one row, {min(steps, 500)} steps", rows(model, z), 0.15, fails=True)


def single(model: Method, n: int) -> np.ndarray:
    """Means, one step from training rows drawn at random."""
    law, g = cast(DiffusionLaw, model.law_), torch.Generator().manual_seed(1)
    with torch.no_grad():
        return rows(model, law.draw(law.codes[torch.randint(len(law.codes), (n,), generator=g)], g))


def with_residuals(model: Method, z: Tensor, residuals: Residuals) -> np.ndarray:
    """Samples at codes."""
    with torch.no_grad():
        mean = model.law_.decode(z)
        drawn = residuals(z, None, torch.Generator().manual_seed(2), mean)
        return np.asarray(model.schema_.decode(mean + drawn))


def told_gromov(x: np.ndarray, y: np.ndarray) -> str:
    found = metrics.gromov_wasserstein(flat(x), flat(y))
    return f"{found.value:.5f} ({found.low:.5f} to {found.high:.5f}), {found.note}"


def rows(model: Method, z: Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model.schema_.decode(model.law_.decode(z)))


def stretch(model: Method, z: Tensor) -> float:
    return float(metrics.stretch_ratio(z, torch.from_numpy(rows(model, z))).mean())


# -------------------------------------------------------------------------------------------------------------- digits


def digit_rows() -> tuple[np.ndarray, np.ndarray]:
    """1300 digits to train and 497 to test."""
    from sklearn.model_selection import train_test_split

    data = pf.load_data("digits")
    train, test = train_test_split(np.asarray(data.values), test_size=497, stratify=data.labels, random_state=0)
    return train, test


class Digits:
    """Training digits and digits that were not trained on, and the numbers of samples beside them."""

    def __init__(self, train: np.ndarray, unseen: np.ndarray) -> None:
        self.train, self.unseen = train, unseen

    def tell(self, name: str, x: np.ndarray) -> tuple[float, float, float]:
        """Print the numbers of samples; returns MMD, nearest and recall."""
        mmd, near = pixel_mmd(x, self.unseen), nearness(x, self.train, self.unseen)
        found = metrics.precision_recall(flat(x), flat(self.unseen))
        frechet = metrics.frechet_distance(flat(x) / 16, flat(self.unseen) / 16).value
        told = f"MMD2 {mmd:.2f}, nearest {near:.2f}, precision {found.precision.value:.2f}, recall {found.recall.value:.2f}"
        say(f"  {name}: {told}, Frechet {frechet:.3f}")
        return mmd, near, found.recall.value


def steps_of(model: Method, train: np.ndarray, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes one step from random training rows ``[n, d]``, and codes and residuals of the training rows."""
    law, g = cast(DiffusionLaw, model.law_), torch.Generator().manual_seed(1)
    with torch.no_grad():
        z = law.draw(law.codes[torch.randint(len(law.codes), (n,), generator=g)], g)
        return z, law.codes, model.schema_.encode(train)[law.rows] - law.decode(law.codes)


def residuals() -> None:
    train, _ = digit_rows()
    board = Digits(train[:900], train[900:])
    model, seconds = fit(VDAE(latent_dim=10, width=32), board.train, "1500 steps")
    say(f"residuals: 900 digits to train, 400 of the training digits to choose by, {seconds:.1f} s")
    z, codes, left = steps_of(model, board.train, 800)
    laws: dict[str, Residuals] = {"none": Residuals(), "gaussian, a spread for every pixel": GaussianResiduals()}
    laws |= {f"centred, {k}": CentredResiduals(k) for k in (4, 6, 8, 12, 16)} | {"local, 4": LocalResiduals(4)}
    for name, law in laws.items():
        law.fit(codes, left, torch.Generator().manual_seed(0))
        board.tell(name, with_residuals(model, z, law))


def digits() -> None:
    train, test = digit_rows()
    board, n = Digits(train, test), 1300
    model, seconds = fit(VDAE(latent_dim=10, width=32), train, "1500 steps")
    law = cast(DiffusionLaw, model.law_)
    steps = steps_for(lambda: VAE(latent_dim=10, prior="gaussian", width=32), train, seconds)
    plain, plain_seconds = fit(VAE(latent_dim=10, prior="gaussian", width=32), train, f"{steps} steps")
    mixed, _ = fit(VAE(latent_dim=10, width=32), train, f"{steps} steps")
    say(f"digits: VDAE {seconds:.1f} s, VAE(10) {plain_seconds:.1f} s ({steps} steps)")
    own, near, recall = board.tell("VDAE, samples (anchored walk of 20 steps, residuals)", model.sample(n, seed=0))
    other, _, other_recall = board.tell("VAE(10)", plain.sample(n, seed=0))
    _, _, mixed_recall = board.tell("VAE(10) with its mixture", mixed.sample(n, seed=0))
    say("  MMD2 below 1 and below the VAE's, nearest in [.5, 1.2]", own < min(1, other) and 0.5 <= near <= 1.2)
    say("  recall at least that of the VAE with its mixture", recall >= mixed_recall)
    say("  recall at least that of the VAE with its Gaussian prior", recall >= other_recall)
    z, codes, left = steps_of(model, train, n)
    board.tell("one step, residuals", with_residuals(model, z, law.residuals))
    board.tell("one step, means", rows(model, z))
    noise = GaussianResiduals()
    noise.fit(codes, left, torch.Generator())
    board.tell("one step, noise='gaussian'", with_residuals(model, z, noise))
    noise.scale = law.noise_variance.sqrt()
    board.tell("one step, the decoder's s^2 as noise", with_residuals(model, z, noise))
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        moved = law.draw(law.codes[law.walk.move(torch.zeros(n, dtype=torch.int64), model.mixing_steps(), g)], g)
        board.tell(
            f"anchored walk from one digit, {model.mixing_steps()} steps", with_residuals(model, moved, law.residuals)
        )
        board.tell(f"anchored walk from one digit, {model.mixing_steps()} steps, means", rows(model, moved))
        for _ in range(20):
            z = law.draw(law.encode(law.decode(z)), g)
        board.tell("the paper's walk, 20 steps from random digits, means", rows(model, z))
        board.tell("the paper's walk, 20 steps, residuals", with_residuals(model, z, law.residuals))


def pixel_mmd(x: np.ndarray, y: np.ndarray) -> float:
    a, b = (torch.from_numpy(np.asarray(v).reshape(len(v), -1) / 16.0) for v in (x, y))
    k, m, c = (((u @ v.T) / 64 + 1) ** 3 for u, v in ((a, a), (b, b), (a, b)))
    within = [(g.sum() - g.trace()) / (len(g) * (len(g) - 1)) for g in (k, m)]
    return 1e3 * float(within[0] + within[1] - 2 * c.mean())


def nearness(x: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    a, b, c = (torch.from_numpy(np.asarray(v).reshape(len(v), -1)).double() for v in (x, train, test))
    return float(torch.cdist(a, b).amin(1).median() / torch.cdist(c, b).amin(1).median())


# ------------------------------------------------------------------------------------------------------------ pictures


def turned(views: int = 200, side: int = 32) -> np.ndarray:
    """A disc of scikit-learn's china.jpg, turned through 360 degrees: ``[views, side, side]`` uint8."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    grey = Image.fromarray(load_sample_image("china.jpg")).convert("L")
    square = grey.crop((110, 20, 510, 420)).resize((4 * side, 4 * side))
    across = np.linspace(-1, 1, side)
    inside = across[:, None] ** 2 + across**2 <= 1
    turns = [square.rotate(360 * k / views, Image.Resampling.BICUBIC).resize((side, side)) for k in range(views)]
    return np.stack([np.where(inside, np.asarray(turn), 128) for turn in turns]).astype(np.uint8)


def pictures(out: Path | None = None) -> None:
    x = turned()
    model, seconds = fit(VDAE(latent_dim=4, neighbours=32, local=2, width=32), x, "800 steps")
    new = model.sample(2000, seed=0)
    shape = metrics.homology_match(flat(new), flat(x))
    good = shape.betti == (1, 1) and shape.top_ratio >= 0.8 and shape.second_ratio <= 0.3
    told = f"loops of data and samples {shape.betti}, H1 {shape.top_ratio:.2f} of the data's, second {shape.second_ratio:.2f}"
    say(f"pictures: {told}, {seconds:.1f} s", good)
    steps = 8 * model.mixing_steps()
    path = model.walk_from(0, steps=steps, seed=0)
    nearest = torch.cdist(flat(path), flat(x)).min(1)
    view, apart = nearest.indices.numpy(), torch.cdist(flat(x), flat(x)).fill_diagonal_(torch.inf).amin(1).median()
    sectors = len(np.unique(view * 36 // len(x)))
    moves = (np.diff(view) + len(x) // 2) % len(x) - len(x) // 2  # the short way round
    turns = np.ptp(np.concatenate([[0], moves.cumsum()])) / len(x)
    told = f"goes {turns:.2f} times round, longest step {np.abs(moves).max()} of {len(x)} views, sees {sectors} of 36 sectors"
    say(f"  a walk of {steps} steps {told}", bool(turns >= 1 and np.abs(moves).max() < len(x) // 4))
    say(
        f"  its pictures lie {float(nearest.values.median() / apart):.2f} times the distance of two views from the nearest view"
    )
    if out is not None:
        from pushforward.report import write_report
        from pushforward.report.grids import image_grid

        out.mkdir(parents=True, exist_ok=True)
        shown = np.linspace(0, steps, 32).round().astype(int)
        image_grid(path[shown][..., None], columns=16).save(out / "vdae_walk.png")
        write_report(out / "report.html", method=model, data=pf.load_data(x))


def flat(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(x).reshape(len(x), -1)).double()


# --------------------------------------------------------------------------------------------------------------- large


def large(n: int = 20_000) -> None:
    folder = os.environ.get("PUSHFORWARD_DATA")
    if folder is None:
        say("large: PUSHFORWARD_DATA is not set; skipped")
        return
    files = [f"{folder}/fashion-mnist/{part}-images-idx3-ubyte.gz" for part in ("train", "t10k")]
    x = np.concatenate([np.asarray(pf.load_data(file).values) for file in files])[:n]
    points = torch.from_numpy(x.reshape(len(x), -1).astype(np.float32) / 127.5 - 1)
    marks = [time.process_time()]
    found = diffusion_map(points, 10, disconnected="join")
    marks.append(time.process_time())
    w = second_eigenvalue(bistochastic(found.kernel))
    marks.append(time.process_time())
    nearest_neighbours(found.coordinates.float(), 64)
    marks.append(time.process_time())
    parts, seconds = np.diff(marks), marks[-1] - marks[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told = f"{seconds:.0f} s, peak memory of the process {peak:.2f} GB, {found.kernel.nnz:,} weights, {found.parts} part(s)"
    say(f"large: {len(x)} images, {told}", peak < 4 and (seconds < 300 or n > 20_000))
    say(f"  diffusion map {parts[0]:.0f} s, walk {parts[1]:.0f} s, neighbours in its coordinates {parts[2]:.0f} s")
    say(f"  eigenvalues {found.eigenvalues.numpy().round(3)}, mixing steps {mixing_steps(w)}")


PARTS = ("spectral", "shapes", "residuals", "digits", "pictures", "large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, help="folder for the strip of the pictures")
    parser.add_argument("--rows", type=int, default=20_000, help="images of the part large")
    given = parser.parse_args()
    run: dict[str, Callable[[], None]] = {
        "spectral": spectral,
        "shapes": shapes,
        "residuals": residuals,
        "digits": digits,
        "pictures": lambda: pictures(given.out),
        "large": lambda: large(given.rows),
    }
    for name in given.parts or PARTS:
        run[name]()


if __name__ == "__main__":
    main()
