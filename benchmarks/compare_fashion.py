"""``pf.compare`` on 1000 Fashion-MNIST images: every method, the same images, the same wall budget.

2000 of the test images are held out. Features are the 128 of a classifier that is trained on the other 59 000 training images and used
for nothing else, so that no method has seen what it is judged by. Give every fit a core of its own: budgets are wall time.

    PUSHFORWARD_DATA=... OMP_NUM_THREADS=1 python benchmarks/compare_fashion.py [--budget 5min] [--out runs/compare-fashion]

The other tables of docs/compare.md are made by the command alone, see there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import pushforward as pf
from pushforward import metrics
from pushforward.data import fit_schema

TRAIN, HELD, SEED = 1000, 2000, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="5min")
    parser.add_argument("--methods", nargs="*", metavar="METHOD", help="by default all that take pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/compare-fashion"))
    chosen = parser.parse_args()
    data, test = pf.load_data("fashion-mnist"), pf.load_data("fashion-mnist:test")
    images, labels = np.asarray(data.values), np.asarray(data.labels)
    order = np.random.default_rng(SEED).permutation(len(images))
    rest = order[TRAIN:]
    schema = fit_schema(images[order[:TRAIN]])
    classifier = metrics.train_classifier(schema.encode(images[rest]), labels[rest], dim=128, n_steps=3000)
    sys.stdout.write(f"classifier of {len(rest)} other images: {classifier.accuracy:.1%} right on images it has not seen\n")
    held = np.asarray(test.values)[np.sort(np.random.default_rng(SEED).permutation(len(test.values))[:HELD])]
    board = pf.compare(
        pf.Data(images[order[:TRAIN]], name="fashion-1000"),
        holdout=held,
        methods=chosen.methods or None,
        budget=chosen.budget,
        seeds=1,
        features=classifier,
        out=chosen.out,
        progress=True,
    )
    sys.stdout.write(f"{board}\n{board.told()}\n")


if __name__ == "__main__":
    main()
