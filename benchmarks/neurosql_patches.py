"""Global against mini-batch assignment on 16 384 patches of photographs, at equal CPU time.

8x8 grey patches of scikit-learn's two sample images, as many others to test; a perceptron
8-256-256-64 for everybody, without residuals. NeuroSQL assigns all patches at once to a fresh lattice; mini-batch transport assigns
fresh latents to the 128 patches of every batch. Printed: energy distance of as many samples from the test patches, and the floor, that
of training patches. Gate: NeuroSQL at most .7 of mini-batch transport.

    python benchmarks/neurosql_patches.py [--seconds 20] [--seeds 2]
"""

from __future__ import annotations

import argparse
import math
import time
import warnings

import numpy as np
import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward import nets
from pushforward.metrics import energy_distance
from pushforward.solvers import assign

COUNT, SIDE, LATENT, BATCH, RATE, JUDGED = 16_384, 8, 8, 128, 2e-3, 4096


def patches(seed: int) -> tuple[Tensor, Tensor]:
    """Training and test patches ``[16384, 64]`` from different places of both photographs, standardised as one."""
    from sklearn.datasets import load_sample_images

    rng, found = np.random.default_rng(seed), []
    for image in load_sample_images().images:
        windows = np.lib.stride_tricks.sliding_window_view(image.mean(2) / 255, (SIDE, SIDE)).reshape(-1, SIDE * SIDE)
        found.append(windows[rng.choice(len(windows), COUNT, replace=False)])
    rows = torch.as_tensor(rng.permutation(np.concatenate(found)), dtype=torch.float32)
    train, test = rows.split(COUNT)
    centre, scale = train.mean(), train.std()
    return (train - centre) / scale, (test - centre) / scale


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nets.mlp(LATENT, (256, 256), SIDE * SIDE)


def neurosql(train: Tensor, seconds: float, seed: int) -> tuple[Tensor, float, str]:
    """Samples, CPU seconds, and what was done. The budget is wall time: ``seconds`` times what a CPU second takes right now."""

    def fitted(budget: str) -> tuple[pf.NeuroSQL, int]:
        run = pf.Run(seed=seed, validation=0, device="cpu", progress=False)
        method = pf.NeuroSQL(latent_dim=LATENT, generator=network(seed), space="data", noise="none", learning_rate=RATE)
        return method.fit(train.numpy(), budget=budget, run=run), run.steps

    began, wall = time.process_time(), time.perf_counter()
    fitted("1 steps")
    slowness = (time.perf_counter() - wall) / (time.process_time() - began)
    began = time.process_time()
    model, steps = fitted(f"{seconds * slowness:.1f}s")
    spent = time.process_time() - began
    made = sum("objective" in record for record in model.history_)
    told = f"{steps} steps, {made + 1} assignments of all rows"
    return torch.as_tensor(np.asarray(model.sample(COUNT, seed=seed))), spent, told


def minibatch_ot(train: Tensor, seconds: float, seed: int) -> tuple[Tensor, float, str]:
    """Fresh latents for every batch, assigned to it alone; the cosine follows the CPU time that is spent."""
    generator, net = torch.Generator().manual_seed(seed), network(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
    began, steps = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * spent / seconds))
        x = train[torch.randint(len(train), (BATCH,), generator=generator)]
        made = net(torch.randn(BATCH, LATENT, generator=generator))
        loss = (made[assign(x, made.detach()).permutation] - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    with torch.no_grad():
        samples = net(torch.randn(COUNT, LATENT, generator=generator))
    return samples, spent, f"{steps} steps, {steps} assignments of {BATCH} rows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU seconds a fit")
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found: dict[str, list[float]] = {"floor": [], "NeuroSQL": [], "mini-batch OT": []}
    for seed in range(given.seeds):
        train, test = patches(seed)
        found["floor"].append(energy_distance(train[:JUDGED], test[:JUDGED]).value)
        spent = given.seconds
        for name, method in (("NeuroSQL", neurosql), ("mini-batch OT", minibatch_ot)):
            samples, spent, told = method(train, spent, seed)  # what NeuroSQL took, mini-batch transport gets
            found[name].append(energy_distance(samples[:JUDGED], test[:JUDGED]).value)
            print(
                f"seed {seed} {name:<14} energy distance {found[name][-1]:.4f}, {spent:.1f} CPU s, {told}", flush=True
            )
    means = {name: float(np.mean(values)) for name, values in found.items()}
    ratio = means["NeuroSQL"] / means["mini-batch OT"]
    print("means: " + ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
    print(f"NeuroSQL / mini-batch OT: {ratio:.2f}, {'passes' if ratio <= 0.7 else 'FAILS'} (0.7)")


if __name__ == "__main__":
    main()
