"""Which method suits these data? The same rows and the same budget for each, one process at a time, ranked by held-out numbers."""

from pathlib import Path

import pushforward as pf


def main(folder: str | Path = "runs/compare-wine", budget: str = "10s") -> None:
    methods = ["GaussianMixture", "NeuroSQL", pf.VAE(latent_dim=4)]  # names, or configured methods
    board = pf.compare("wine", methods=methods, budget=budget, seeds=1, out=folder)
    print(board)  # the advice, then the ranked table with intervals
    print(f"samples, charts and all numbers: {folder}/report.html; the same call continues after an interruption")


if __name__ == "__main__":
    main()
