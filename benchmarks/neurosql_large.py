"""NeuroSQL on all 60 000 Fashion-MNIST images: end to end in bounded memory, every assignment over all rows.

Prints the peak memory of the process, the time of each stage, the number of assignments and their share of the time, and the
Frechet distance of samples from the test images in the features of a classifier (trained on the same images; the row of training
images beside it says what equal laws give).

    PUSHFORWARD_DATA=... python benchmarks/neurosql_large.py [--budget 5min]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

import pushforward as pf
from pushforward import metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="5min")
    budget = parser.parse_args().budget
    torch.set_num_threads(2)
    data, test = pf.load_data("fashion-mnist"), pf.load_data("fashion-mnist:test")
    images = np.asarray(data.values)
    before, began = peak(), time.process_time()
    model = pf.NeuroSQL().fit(images, budget=budget, run=pf.Run(validation=0, device="cpu"))
    print(f"{len(images)} images, budget {budget}: {time.process_time() - began:.0f} CPU s")
    print(f"peak memory {peak():.2f} GiB, of which {before:.2f} GiB were there before the fit")
    assigned = [record for record in model.history_ if "objective" in record]
    share = model.seconds_.get("assign", 0.0) / sum(model.seconds_.values())
    print(f"{len(assigned)} assignments after the first, each over all {len(images)} rows: {100 * share:.0f} % of the time")
    print("objective after each:", " ".join(f"{record['objective']:.3f}" for record in assigned))
    print("stages, wall s:", ", ".join(f"{name} {seconds:.1f}" for name, seconds in model.seconds_.items()))
    x, held = model.schema_.encode(images), model.schema_.encode(np.asarray(test.values))
    classifier = metrics.train_classifier(x, np.asarray(data.labels), dim=128, n_steps=2000)
    made = model.schema_.encode(model.sample(10_000, seed=0))
    for name, rows in (("training images", x[:10_000]), ("samples", made)):
        print(f"{name}: Frechet {metrics.frechet_distance(rows, held, features=classifier).value:.3f}")


def peak() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
