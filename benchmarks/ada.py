"""What adaptive discriminator augmentation (2006.06676) does for a Wasserstein GAN on few images.

``overfit``: 120 of scikit-learn's digits. By fifths of the run: how far the critic tells training images from 60 held-out ones
(``r_auc``, 0 to 1), without augmentation and with it, at the same steps; and the probability ``p`` of a change.

``fashion``: 500 images of Fashion-MNIST, with a weak penalty and five steps of the critic for one of the generator, so that the critic
overfits within minutes. KID and recall of samples against test images, without augmentation and with it, at the same steps, in
features of a classifier of the 59 500 other images, trained for nothing else; how far the last critic tells the 500 from 500 others.
Without augmentation all 500 are trained on; with it the method keeps a tenth of them for its controller. ``--validate`` leaves the
test images alone: 400 of the 500 are taken as the data, and samples compared with the other 100. ``--half`` takes images of half the
size, four times as fast. ``score`` prints the table of the runs in ``--out``; it needs the same ``--half`` and ``--validate``.

    python benchmarks/ada.py overfit
    PUSHFORWARD_DATA=... python benchmarks/ada.py fashion --seed 0 --out runs/ada        # 20 CPU minutes; and seeds 1, 2
    PUSHFORWARD_DATA=... python benchmarks/ada.py score --out runs/ada --pictures docs/pictures
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward import metrics, nets
from pushforward.augmentation import AdaptiveAugmentation
from pushforward.data import fit_schema
from pushforward.objectives.critics import dual_terms
from pushforward.objectives.overfitting import r_auc
from pushforward.objectives.penalties import interpolates, slopes, two_sided_penalty
from pushforward.report.grids import save_grid

N_FASHION = 500


@dataclass
class Course:
    """What a run goes through."""

    law: nn.Module
    seconds: float = 0.0
    r: list[float] = field(default_factory=list)
    p: list[float] = field(default_factory=list)


def fifths(of: list[float]) -> str:
    """Means over each fifth of a run."""
    return " ".join(f"{np.mean(part):.2f}" for part in np.array_split(of, 5))


def play(x: Tensor, held: Tensor, *, augment: bool, a: argparse.Namespace, seed: int) -> Course:
    """WGAN-GP; the critic is shown both kinds of images through the augmentation, which has ``p = 0`` where it is not wanted."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    shape = tuple(x.shape[1:])
    net = nets.gan_generator(32, shape, width=a.width)
    critic = nets.critic(shape, width=a.width)
    average = nets.EMA(net, 0.995)
    players = [torch.optim.Adam(m.parameters(), a.rate, (0.0, 0.9), fused=True) for m in (net, critic)]
    change = AdaptiveAugmentation(shape, transforms=a.transforms, target=a.target, total_images=a.steps * a.batch)
    course, began = Course(average.module), time.process_time()
    for step in range(a.steps):
        for player in players:
            player.param_groups[0]["lr"] = a.rate * 0.5 * (1 + np.cos(np.pi * step / a.steps))
        for turn in range(a.critic_steps):
            with torch.no_grad():
                real = change(x[torch.randint(len(x), (a.batch,), generator=rng)], generator=rng)
                made = change(net(torch.randn(a.batch, 32, generator=rng)), generator=rng)
            gap, gradient = dual_terms(critic, real, made, interpolates(real, made, generator=rng))
            loss = 10 * two_sided_penalty(slopes(gradient)) - gap
            players[1].zero_grad()
            loss.backward()
            players[1].step()
            if turn == 0:
                watch(critic, change, real, held, rng, course, augment)
        critic.requires_grad_(False)
        fooling = -critic(change(net(torch.randn(a.batch, 32, generator=rng)), generator=rng)).mean()
        players[0].zero_grad()
        fooling.backward()
        players[0].step()
        critic.requires_grad_(True)
        average.update(net)
    course.seconds = time.process_time() - began
    return course


def watch(
    critic: nn.Module,
    change: AdaptiveAugmentation,
    real: Tensor,
    held: Tensor,
    rng: torch.Generator,
    course: Course,
    augment: bool,
) -> None:
    """The controller's look at one minibatch, and the record of it."""
    with torch.no_grad():
        unseen = change(held[torch.randint(len(held), (len(real),), generator=rng)], generator=rng)
        on_train, on_held = critic(torch.cat([real, unseen])).split(len(real))
    if augment:
        change.observe(on_train, on_held)
    course.r.append(float(r_auc(on_train, on_held)))
    course.p.append(float(change.p))


def digits(a: argparse.Namespace) -> None:
    """The critic's overfitting on 120 digits, by fifths of the run."""
    a.steps, a.batch, a.width = a.steps or 1200, a.batch or 64, a.width or 32
    values = np.asarray(pf.load_data("digits").values)
    order = np.random.default_rng(0).permutation(len(values))
    x = fit_schema(values).encode(values[order])
    print("| | r_auc, by fifths | p, by fifths | KID | recall | CPU s |\n|---|---|---|---|---|---|")
    for arm in a.arms:
        course = play(x[:120], x[120:180], augment=arm == "ada", a=a, seed=a.seed)
        with torch.no_grad():
            made = course.law(torch.randn(1000, 32, generator=torch.Generator().manual_seed(1)))
        features = metrics.PCAFeatures.fit(x[180:1180], 32)
        kid = metrics.kid(made, x[1180:], features=features).value
        recall = metrics.precision_recall(made[:600], x[1180:1780], features=features)[1].value
        told = f"{fifths(course.r)} | {fifths(course.p)} | {kid:.4f} | {recall:.2f} | {course.seconds:.0f}"
        print(f"| {arm} | {told} |", flush=True)


def fashion_images(a: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The training images, those to compare with, and images and labels for the classifier."""
    data, sized = pf.load_data("fashion-mnist"), halved if a.half else np.asarray
    values, labels = sized(data.values), np.asarray(data.labels)
    order = np.random.default_rng(0).permutation(len(values))
    few, rest = values[order[:N_FASHION]], order[N_FASHION:]
    if a.validate:
        return few[:400], few[400:], values[rest], labels[rest]
    return few, sized(pf.load_data("fashion-mnist:test").values), values[rest], labels[rest]


def halved(images: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: ``[n, h, w]`` to ``[n, h / 2, w / 2]``, as whole numbers."""
    n, h, w = images.shape
    return np.rint(images.reshape(n, h // 2, 2, w // 2, 2).mean((2, 4))).astype(np.uint8)


def fashion(a: argparse.Namespace) -> None:
    """Trains one seed of each arm, and writes samples to ``--out``."""
    few, _, others, _ = fashion_images(a)
    steps, width = a.steps or 2400, a.width or 16
    for arm in a.arms:
        run, began = pf.Run(seed=a.seed, validation=0, device="cpu", progress=False), time.process_time()
        torch.manual_seed(a.seed)
        critic = nets.critic((1, *few.shape[1:]), width=3 * width // 2)
        model = pf.WGANGP(
            width=width, critic=critic, critic_steps=a.critic_steps, penalty=1.0, batch_size=a.batch or 32, augment=arm
        )
        model.fit(few, budget=f"{steps} steps", run=run)
        spent = time.process_time() - began
        p = [record.get("augment_p", 0.0) for record in model.history_]
        a.out.mkdir(parents=True, exist_ok=True)
        told = overfitting(model, few, others[:N_FASHION])
        np.savez_compressed(
            a.out / f"{arm}-{a.seed}.npz", samples=model.sample(5000, seed=a.seed), p=p, seconds=spent, r=told
        )
        print(f"{arm}, seed {a.seed}: {steps} steps, {spent:.0f} CPU s, r_auc {told:.2f}, p {fifths(p)}", flush=True)


@torch.no_grad()
def overfitting(model: pf.WGANGP, few: np.ndarray, unseen: np.ndarray) -> float:
    """How far the critic tells its images from others that it has not seen, both unchanged; the others are no test images."""
    on_few, on_unseen = (model.critic_(model.schema_.encode(x)) for x in (few, unseen))
    return float(r_auc(on_few, on_unseen))


def score(a: argparse.Namespace) -> None:
    """The table of all runs in ``--out``."""
    few, held, others, labels = fashion_images(a)
    schema = fit_schema(few)
    x, unseen = schema.encode(few), schema.encode(held)
    classifier = metrics.train_classifier(schema.encode(others), labels, dim=128, n_steps=3000)
    print(
        f"classifier of {len(others)} other images: {100 * classifier.accuracy:.1f} % right on images it has not seen"
    )
    print("| arm, seed | KID x 1000 | recall | precision | nearest | r_auc | p, by fifths | CPU s |\n|" + "---|" * 8)
    for path in sorted(a.out.glob("*.npz")):
        with np.load(path) as file:
            made, p, spent, r = schema.encode(file["samples"]), file["p"], float(file["seconds"]), float(file["r"])
        m = min(len(unseen), 2000)
        kid = metrics.kid(made, unseen[:5000], features=classifier)
        precision, recall = metrics.precision_recall(made[:m], unseen[:m], features=classifier)
        near = metrics.nearest_ratio(made[: min(m, 1000)], x, unseen[:1000], quantile=0.5)
        half = 500 * (kid.high - kid.low)
        told = f"{1000 * kid.value:.1f} +- {half:.1f} | {recall.value:.3f} | {precision.value:.3f} | {near.value:.2f}"
        print(f"| {path.stem} | {told} | {r:.2f} | {fifths(p)} | {spent:.0f} |", flush=True)
        if a.pictures:
            save_grid(a.pictures / f"ada-{path.stem}.png", schema.as_images(made[:64]))


COMMANDS = {"overfit": digits, "fashion": fashion, "score": score}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("--arms", nargs="*", default=["none", "ada"], choices=["none", "ada"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of the generator: 1200 for digits, 2400 for fashion")
    parser.add_argument("--critic-steps", type=int, default=5)
    parser.add_argument("--batch", type=int, help="64 for digits, 32 for fashion")
    parser.add_argument(
        "--width",
        type=int,
        help="of the generator: 32 for digits, 16 for fashion; of the critic there half as much again",
    )
    parser.add_argument("--rate", type=float, default=1e-3, help="of the digits")
    parser.add_argument("--transforms", choices=["bgc", "mild"], help="of the digits")
    parser.add_argument("--target", type=float, default=0.3, help="of the digits")
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--half", action="store_true", help="fashion: images of half the size")
    parser.add_argument("--out", type=Path, default=Path("runs/ada"))
    parser.add_argument("--pictures", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    COMMANDS[chosen.command](chosen)


if __name__ == "__main__":
    main()
