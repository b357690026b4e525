"""Time and peak memory of KID between 50 000 and 10 000 rows of 2048 features, in a process of its own.

python benchmarks/kid_memory.py [--rows 50000] [--reference 10000] [--features 2048]
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from pushforward import metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--reference", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=2048)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.empty(n, options.features).normal_(generator=rng) for n in (options.rows, options.reference))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started = time.process_time()
    found = metrics.kid(x, y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"KID {found}")
    print(
        f"{time.process_time() - started:.1f} CPU s; peak memory {peak:.2f} GiB, {before:.2f} GiB of them before the call"
    )


if __name__ == "__main__":
    main()
