"""Trust the Critics: eight Gaussians, density, denoising of a circle and of pictures, and what a penalised critic computes.

    python benchmarks/ttc.py modes          W1 after 1 .. 12 critics; constant steps; two-sided penalty; the sampling floor
    python benchmarks/ttc.py density        is the log-density that of the samples? area ratios of smooth critics
    python benchmarks/ttc.py circle         PSNR on the unit circle in R^16, against regularisation by the first critic
    python benchmarks/ttc.py pictures       PSNR on grey patches of two photographs, against total variation and the same
    python benchmarks/ttc.py fashion        Fashion-MNIST against WGAN-GP at equal epochs: FID, KID, seconds, size; needs PUSHFORWARD_DATA
    python benchmarks/ttc.py congestion     the radial case in full: 1000 iterations of a 3 x 128 critic

Everything is fitted on the raw scale of its task, without the standardisation that ``fit`` does. Seconds are processor seconds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import pushforward as pf
from pushforward import metrics, nets
from pushforward.critic_law import CriticLaw, push
from pushforward.data import fit_schema
from pushforward.maps import GradientMap
from pushforward.method import TrainingSet
from pushforward.methods import ttc
from pushforward.objectives import critics, penalties
from pushforward.report.grids import save_grid

MODES, RADIUS, SPREAD = 8, 4.0, 0.2
NOISE = 0.1  # of the pictures, in [0, 1]
SCALES = 3  # that a critic of pictures looks at, each half as large as the one before
Figures = dict[str, float]


def fit_raw(model: pf.TTC, data: TrainingSet, steps: int, seed: int = 0) -> CriticLaw:
    """The method's own algorithm, on rows as they are."""
    run = pf.Run(progress=False, device="cpu", seed=seed, budget=f"{steps} steps")
    with run.session("raw"):
        law = model._fit(data, run)
    model.history_ = run.history
    assert isinstance(law, CriticLaw)
    return law


def exact_w1(x: Tensor, y: Tensor) -> float:
    """W1 of two samples of equal size, by optimal assignment."""
    cost = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def psnr(x: Tensor, truth: Tensor, peak: float) -> float:
    """Mean over the rows of each row's own ratio in decibels, as the papers have it."""
    return float((10 * torch.log10(peak**2 / (x - truth).square().flatten(1).mean(1))).mean())


# ---------------------------------------------------------------------- eight Gaussians


def eight_gaussians(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    angle = torch.randint(MODES, (n,), generator=generator) * (2 * math.pi / MODES)
    centres = RADIUS * torch.stack([angle.cos(), angle.sin()], 1)
    return centres + SPREAD * torch.randn(n, 2, generator=generator)


def balanced(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    angle = torch.arange(n) % MODES * (2 * math.pi / MODES)
    centres = RADIUS * torch.stack([angle.cos(), angle.sin()], 1)
    return centres + SPREAD * torch.randn(n, 2, generator=generator)


def source_draws(n: int) -> list[Tensor]:
    """Five times ``n`` rows of the source: how many fall to each mode varies from draw to draw, and so does the least W1."""
    return [torch.randn(n, 2, generator=torch.Generator().manual_seed(20 + k)) for k in range(5)]


def nearest_mode(z: Tensor) -> Tensor:
    angle = torch.round(torch.atan2(z[:, 1], z[:, 0]) / (2 * math.pi / MODES)) * (2 * math.pi / MODES)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(30))
    return RADIUS * torch.stack([angle.cos(), angle.sin()], 1) + SPREAD * noise


def modes(seed: int) -> Figures:
    data = TrainingSet(eight_gaussians(20_000, seed=1))
    target = balanced(1000, seed=3)
    floor = [exact_w1(eight_gaussians(1000, seed=k), target) for k in range(10, 20)]
    print(f"sampling floor: {np.mean(floor):.3f} +- {np.std(floor):.3f} (1000 samples of the target, ten times)")
    ideal = [exact_w1(nearest_mode(z), target) for z in source_draws(len(target))]
    print(f"a map that sends every source row of the draws to its nearest mode: {np.mean(ideal):.3f}", flush=True)
    usual, found = penalties.one_sided_penalty, {}
    for name, penalty, more in (
        ("theta 0.9, penalty 100, 12 critics", usual, {"critics": 12}),
        ("constant 0.25, 4 critics", usual, {"critics": 4, "step": 0.25}),
        ("two-sided penalty, 6 critics", penalties.two_sided_penalty, {"critics": 6}),
    ):
        began = time.process_time()
        ttc.one_sided_penalty = penalty  # the loss alone; estimates stay as they are
        model = pf.TTC(theta=0.9, penalty=100.0, **more)
        law = fit_raw(model, data, steps=600 * (4 + model.critics), seed=seed)
        ttc.one_sided_penalty = usual
        print(f"\n{name}: {time.process_time() - began:.0f} s", flush=True)
        after = show_modes(law, target, model)
        found |= {f"{name}: W1 after 4": after[min(4, len(after) - 1)], f"{name}: W1 at the end": after[-1]}
    return found


def show_modes(law: CriticLaw, target: Tensor, model: pf.TTC) -> list[float]:
    """Exact distances after 0, 1, ... critics."""
    draws = source_draws(len(target))
    with torch.no_grad():
        parts = [law.steps[:k] for k in range(len(law.steps) + 1)]
        after = [np.mean([exact_w1(push(part, z), target) for z in draws]) for part in parts]
    print("  W1 after 0, 1, ... critics (five draws of 1000):", " ".join(f"{value:.3f}" for value in after))
    records = [record for record in model.history_ if "w1" in record]
    print("  estimates of the critics:  ", " ".join(f"{r['w1']:.3f}+-{r['error']:.3f}" for r in records))
    print(f"  distance() {float(law.distance()):.3f}", flush=True)
    return [float(value) for value in after]


# ---------------------------------------------------------------------- density


def density(seed: int) -> Figures:
    began = time.process_time()
    model = pf.TTC(critics=4, theta=0.5, penalty=10.0, activation="silu")
    law = fit_raw(model, TrainingSet(eight_gaussians(20_000, seed=1)), steps=1400, seed=seed)
    print(f"four smooth critics, theta 0.5, penalty 10: {time.process_time() - began:.0f} s")
    found = {}
    for k in range(1, len(law.steps) + 1):
        part = CriticLaw(law.steps[:k], law.source, law.event_shape, smooth=True)
        x, log_prob, folded = part.sample_with_log_prob(100_000, generator=torch.Generator().manual_seed(4))
        back = part.log_prob(x[:2000])
        gap, ratio = (back - log_prob[:2000]).abs(), area_ratio(x, log_prob)
        found[f"area ratio after {k}"] = ratio
        print(
            f"  after {k}: median area ratio {ratio:.3f}, negative determinants {folded.float().mean():.1%}, "
            f"log_prob by Newton equal within 1e-3 on {(gap < 1e-3).float().mean():.1%}",
            flush=True,
        )
    return found


def area_ratio(x: Tensor, log_prob: Tensor, side: float = 0.2, least: int = 50) -> float:
    """Median over occupied cells of ``E[1_cell / p] / |cell|``: 1 exactly where ``p`` is the density of the samples."""
    cells, place, count = torch.unique((x / side).floor().long(), dim=0, return_inverse=True, return_counts=True)
    weight = torch.zeros(len(cells)).index_add(0, place, (-log_prob).exp()) / len(x)
    return float((weight[count >= least] / side**2).median())


# ---------------------------------------------------------------------- denoising


def regularised(critic: torch.nn.Module, noisy: Tensor, weight: float, steps: int = 200, size: float = 0.05) -> Tensor:
    """Adversarial regularisation with one critic (1805.11572): gradient descent on ``|x - noisy|^2 + weight u(x)``."""
    x, slope = noisy, GradientMap(critic)
    with torch.no_grad():
        for _ in range(steps):
            x = x - size * (2 * (x - noisy) + weight * slope(x))
    return x


def circle_points(n: int, seed: int, dim: int = 16, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    clean = torch.zeros(n, dim)
    clean[:, 0], clean[:, 1] = angle.cos(), angle.sin()
    return clean, clean + noise * torch.randn(n, dim, generator=generator)


def circle(seed: int) -> Figures:
    began = time.process_time()
    clean, _ = circle_points(200_000, seed=1)
    _, noisy = circle_points(200_000, seed=2)
    model = pf.TTC(critics=6, theta=1.0, penalty=10.0, learning_rate=5e-4)
    law = fit_raw(model, TrainingSet(clean, source=noisy), steps=5000, seed=seed)
    truth, given = circle_points(1000, seed=3)
    print(f"six critics, theta 1, penalty 10: {time.process_time() - began:.0f} s")
    with torch.no_grad():
        found = [psnr(push(law.steps[:k], given), truth, 2.0) for k in range(len(law.steps) + 1)]
    print("  PSNR after 0, 1, ... critics:", " ".join(f"{value:.1f}" for value in found))
    nearest = torch.zeros_like(given)
    nearest[:, :2] = given[:, :2] / given[:, :2].norm(dim=1, keepdim=True)
    print(f"  the nearest point of the circle: {psnr(nearest, truth, 2.0):.1f} dB")
    weight = 2 * float((truth - given).norm(dim=1).mean())
    one = psnr(regularised(law.steps[0].critic, given, weight), truth, 2.0)
    print(f"  regularisation with the first critic: {one:.1f} dB; TTC is {found[-1] - one:+.1f} dB above", flush=True)
    return {"PSNR": found[-1], "PSNR above regularisation": found[-1] - one}


class LocalCritic(torch.nn.Module):
    """A sum over windows of pictures of any size, at full, half and quarter resolution; blind to the windows' brightness.

    Every pixel adds its own terms, so a step moves the pixels of a large picture as far as those of a training patch. Values are in
    units of the noise, which the smaller pictures have too: what a mean of four pixels loses of it is put back.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.filters = torch.nn.ParameterList(torch.randn(width, 1, 5, 5) / 8 for _ in range(SCALES))
        self.windows = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.LeakyReLU(0.1),
                torch.nn.Conv2d(width, width, 3),
                torch.nn.LeakyReLU(0.1),
                torch.nn.Conv2d(width, 1, 1),
            )
            for _ in range(SCALES)
        )
        for part in self.windows:
            part[-1].weight.data.mul_(0.02)  # slopes below 1 at first
        self.shift = torch.nn.ParameterList(torch.zeros(width).uniform_(-0.2, 0.2) for _ in range(SCALES))

    def forward(self, x: Tensor) -> Tensor:
        """Values ``[n]`` of pictures ``[n, 1, h, w]``."""
        x, total = (x - 0.5) / NOISE, x.new_zeros(len(x))
        for scale, (kernel, shift, window) in enumerate(zip(self.filters, self.shift, self.windows, strict=True)):
            x = 2 * torch.nn.functional.avg_pool2d(x, 2) if scale else x
            wide = torch.nn.functional.pad(x, (3, 3, 3, 3), mode="reflect")
            seen = torch.nn.functional.conv2d(wide, kernel - kernel.mean((2, 3), keepdim=True), shift)
            total = total + window(seen).sum((1, 2, 3))
        return total


def seeded_critic(seed: int) -> LocalCritic:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LocalCritic()


def photographs() -> list[Tensor]:
    """The two sample pictures of scikit-learn in grey, ``[h, w]`` in [0, 1]."""
    from sklearn.datasets import load_sample_images

    return [torch.from_numpy(picture.copy()).float().mean(2) / 255 for picture in load_sample_images().images]


def patches(pictures: list[Tensor], n: int, side: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for k in range(n):
        picture = pictures[k % len(pictures)]
        top, left = (int(torch.randint(size - side + 1, (), generator=generator)) for size in picture.shape)
        found.append(picture[top : top + side, left : left + side])
    return torch.stack(found)[:, None]


def total_variation(noisy: Tensor, weight: float, steps: int = 100) -> Tensor:
    """``argmin |x - noisy|^2 / 2 + weight TV(x)`` by Chambolle's projection, for all pictures ``[n, 1, h, w]`` at once."""
    dual = noisy.new_zeros(2, *noisy.shape)
    for _ in range(steps):
        slope = _forward(_divergence(dual) - noisy / weight)
        dual = (dual + 0.249 * slope) / (1 + 0.249 * slope.square().sum(0).sqrt())
    return noisy - weight * _divergence(dual)


def _forward(x: Tensor) -> Tensor:
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    down[..., :-1, :], right[..., :-1] = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
    return torch.stack([down, right])


def _divergence(dual: Tensor) -> Tensor:
    down, right = dual[0].clone(), dual[1].clone()
    down[..., 1:, :] -= dual[0][..., :-1, :]
    right[..., 1:] -= dual[1][..., :-1]
    return down + right


def pictures(seed: int) -> Figures:
    began = time.process_time()
    photos = photographs()
    left, right = ([p[:, : int(0.7 * p.shape[1])] for p in photos], [p[:, int(0.7 * p.shape[1]) :] for p in photos])
    draw = torch.Generator().manual_seed(7)
    clean, other = (turned(patches(left, 20_000, 24, seed=k), draw) for k in (1, 2))
    noisy = other + NOISE * torch.randn(other.shape, generator=draw)
    model = pf.TTC(critics=8, theta=1.0, penalty=10.0, steps_per_critic=4, batch_size=16, learning_rate=2e-3)
    model.critic = seeded_critic(seed)
    law = fit_raw(model, TrainingSet(clean, source=noisy), steps=2400, seed=seed)
    print(f"eight critics on 24 x 24 patches of the left 70 %: {time.process_time() - began:.0f} s", flush=True)
    return show_pictures(law, model, patches(left, 12, 48, seed=3), patches(right, 40, 48, seed=4), draw)


def turned(x: Tensor, draw: torch.Generator) -> Tensor:
    """Every patch turned and mirrored at random: the noise and the law of photographs do not change."""
    which = torch.randint(8, (len(x),), generator=draw)
    for k in range(1, 8):
        mine = which == k
        x[mine] = torch.rot90(x[mine], k % 4, (2, 3)).flip(3) if k >= 4 else torch.rot90(x[mine], k, (2, 3))
    return x


def show_pictures(law: CriticLaw, model: pf.TTC, tuning: Tensor, truth: Tensor, draw: torch.Generator) -> Figures:
    """PSNR on patches of the right 30 %; the rivals' weights are the best ones on patches of the left."""
    seen, given = (x + NOISE * torch.randn(x.shape, generator=draw) for x in (tuning, truth))
    estimates = " ".join(f"{r['w1']:.3f}+-{r['error']:.3f}" for r in model.history_ if "w1" in r)
    print(f"  estimates of the critics: {estimates}")
    with torch.no_grad():
        stages = [push(law.steps[:k], given) for k in range(len(law.steps) + 1)]
    print("  steps down each critic:", " ".join(str(len(step.size)) for step in law.steps))
    print("  TTC after 0, 1, ... critics:", " ".join(f"{psnr(x, truth, 1.0):.2f}" for x in stages), "dB")
    first = law.steps[0].critic
    rivals = {
        "total variation": (total_variation, (0.05, 0.075, 0.1, 0.125, 0.15, 0.2)),
        "first critic": (lambda x, weight: regularised(first, x, weight), (2.0, 4.0, 6.0, 8.0, 12.0)),
    }
    shown, found = [truth, given], {"TTC": psnr(stages[-1], truth, 1.0)}
    for name, (restore, weights) in rivals.items():
        best = max(weights, key=lambda weight: psnr(restore(seen, weight), tuning, 1.0))
        shown.append(restore(given, best))
        found[name] = psnr(shown[-1], truth, 1.0)
        print(f"  {name}, weight {best:g} (best of {weights} on the left): {found[name]:.2f} dB", flush=True)
    rough = given.new_tensor([float(picture.std()) for picture in truth]).argsort().flip(0)
    for name, rows in (("the rougher half", rough[:20]), ("the smoother half", rough[20:])):
        told = (f"{psnr(part[rows], truth[rows], 1.0):.2f}" for part in (*shown[1:], stages[-1]))
        print(f"  {name}: noisy, total variation, first critic, TTC: {' '.join(told)} dB", flush=True)
    save_picture([*shown, stages[-1]])
    return found


def save_picture(rows: list[Tensor], path: str = "docs/pictures/ttc-denoising.png") -> None:
    """Truth, noisy, total variation, first critic, TTC, one below the other."""
    from PIL import Image

    grid = torch.cat([torch.cat(list(x[:10, 0]), 1) for x in rows], 0)
    Image.fromarray((255 * grid.clamp(0, 1)).round().byte().numpy()).save(path)
    print(f"  wrote {path}: clean, noisy, total variation, first critic, TTC", flush=True)


# ---------------------------------------------------------------------- Fashion-MNIST, against a generator

TRAINED, EPOCHS = 5000, 20


def fashion(seed: int) -> Figures:
    """TTC and WGAN-GP on the same 5000 images for equally many epochs, in the features of a classifier of the other 55 000."""
    data, test = pf.load_data("fashion-mnist"), pf.load_data("fashion-mnist:test")
    values, labels = np.asarray(data.values), np.asarray(data.labels)
    order = np.random.default_rng(seed).permutation(len(values))
    train, rest = values[order[:TRAINED]], order[TRAINED:]
    schema = fit_schema(train)
    judge = metrics.train_classifier(schema.encode(values[rest]), labels[rest], dim=128, n_steps=1500)
    held, found = schema.encode(np.asarray(test.values)), {}
    print(
        f"classifier of {len(rest)} other images: {judge.accuracy:.1%} right on images it has not seen; {EPOCHS} epochs"
    )
    copies = schema.encode(train[:2000])
    print(f"  copies of training images: {quality(copies, held, judge)[0]}", flush=True)
    for model in (pf.TTC(critics=12), pf.WGANGP()):
        began = time.process_time()
        run = pf.Run(seed=seed, validation=0, device="cpu", progress=False)
        model.fit(train, budget=f"{EPOCHS} epochs", run=run)
        spent, began = time.process_time() - began, time.process_time()
        samples, name = model.sample(2000, seed=seed), type(model).__name__
        pace, size = 2000 / (time.process_time() - began), sum(t.nbytes for t in model.law_.state_dict().values()) / 1e6
        told, figures = quality(schema.encode(samples), held, judge)
        print(
            f"  {name}: {told}, {spent:.0f} s, {run.steps} steps, {size:.1f} MB kept, {pace:.0f} samples a second",
            flush=True,
        )
        found |= {f"{name}: {key}": value for key, value in figures.items()}
        save_grid(f"docs/pictures/ttc-fashion-{name.lower()}.png", schema.as_images(schema.encode(samples[:64])))
    return found


def quality(samples: Tensor, held: Tensor, judge: Any) -> tuple[str, Figures]:
    """Frechet and kernel distance to held-out pictures in the classifier's features, precision and recall in pixels."""
    frechet = metrics.frechet_distance(samples, held, features=judge, min_rows=2).value
    kid = metrics.kid(samples, held[:2000], features=judge).value
    precision, recall = (part.value for part in metrics.precision_recall(samples[:1000], held[:1000]))
    told = f"Frechet {frechet:.3f}, KID {kid:.4f}, precision {precision:.2f}, recall {recall:.2f}"
    return told, {"Frechet": frechet, "KID": kid, "precision": precision, "recall": recall}


# ---------------------------------------------------------------------- congestion


def congestion(seed: int) -> None:
    began = time.process_time()
    torch.manual_seed(seed)
    net, draw = nets.mlp_critic((2,), activation=torch.nn.SiLU), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    test = [scale * torch.randn(100_000, 2, generator=torch.Generator().manual_seed(9)) for scale in (0.5, 2.0)]
    print("weight 1, standard deviations 0.5 and 2: dual 3.135, F 1.880, C 1.255 in closed form")
    for k in range(1001):
        if k in (0, 10, 100, 1000):
            show_congestion(f"after {k:4d} iterations", pf.diagnostics.congestion(net, *test, 1.0))
        adam.param_groups[0]["lr"] = 5e-4 * (1 + math.cos(math.pi * k / 1001))
        x, y = (scale * torch.randn(512, 2, generator=draw) for scale in (0.5, 2.0))
        gap, gradient = critics.dual_terms(net, x, y, penalties.interpolates(x, y, generator=draw))
        adam.zero_grad()
        (penalties.one_sided_penalty(penalties.slopes(gradient)) - gap).backward()
        adam.step()
    for wrong in (0.5, 2.0):
        show_congestion(f"read with weight {wrong}", pf.diagnostics.congestion(net, *test, wrong))
    print(f"{time.process_time() - began:.0f} s")


def show_congestion(name: str, found: pf.diagnostics.Congestion) -> None:
    print(
        f"  {name}: dual {found.dual:.3f}, F {found.flux:.3f}, C {found.congestion:.3f}, raw {found.raw:.3f}, gap {found.gap:.3f}, "
        f"residual {found.residual:.3f}, scale {found.scale:.3f}",
        flush=True,
    )


def repeat(task: Callable[[int], Figures | None], seeds: int) -> None:
    """The task with seeds 0, 1, ..., and for several of them each figure with its mean."""
    found = []
    for seed in range(seeds):
        print(f"seed {seed}", flush=True)
        found.append(task(seed) or {})
    for name in found[0] if seeds > 1 else ():
        values = [figures[name] for figures in found]
        print(f"{name}: {np.mean(values):.3f}  ({'  '.join(f'{value:.3f}' for value in values)})", flush=True)


TASKS: dict[str, Callable[[int], Figures | None]] = {
    "modes": modes,
    "density": density,
    "circle": circle,
    "pictures": pictures,
    "fashion": fashion,
    "congestion": congestion,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--seeds", type=int, default=1, help="repetitions with seeds 0, 1, ...; then means are printed")
    chosen = parser.parse_args()
    repeat(TASKS[chosen.task], chosen.seeds)
