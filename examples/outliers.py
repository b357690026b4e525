"""Outlier scores: a model of ordinary rows gives rows of another law a higher score."""

import numpy as np

import pushforward as pf


def main(budget: str = "10s") -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, (1200, 1))
    ring = np.hstack([np.cos(angle), np.sin(angle), np.cos(2 * angle)]) + 0.05 * rng.normal(size=(1200, 3))
    odd = rng.uniform(-1.2, 1.2, (200, 3))

    model = pf.NeuroSQL(latent_dim=2).fit(ring[:1000], budget=budget)
    usual, unusual = model.outlier_score(ring[1000:]), model.outlier_score(odd)
    ranks = (unusual[:, None] > usual[None]).mean()
    print(f"an odd point scores higher than an ordinary one in {100 * ranks:.0f} % of pairs")


if __name__ == "__main__":
    main()
