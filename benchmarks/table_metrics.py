"""What the table metrics say of samples whose faults are known.

Real training rows and a bootstrap of them are copies: they look best and must be caught by the records. Shuffled columns have the
right columns and no dependence. A Gaussian mixture per class is an honest small generator. All are compared with held-out rows.
Breast cancer (30 numbers and a class): 370 training and 199 held-out rows. Adult (6 numbers, 9 categories, gaps), where
PUSHFORWARD_DATA names its folder: 10 000 training and 5 000 held-out rows. As many samples as training rows.

    python benchmarks/table_metrics.py [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pushforward import metrics
from pushforward.data import fit_schema, load_data

COLUMNS = (
    "shapes", "pairs", "overall", "gaps", "logistic", "forest", "TSTR linear", "TSTR forest", "to train", "to held",
    "closer", "NNDR", "copies",
)  # fmt: skip
NOTES = """shapes, pairs, overall: 1 is best, but two sets of one law stay below it: see the row "one law".
gaps: likeness of the patterns of missing values, 1 is best. logistic, forest: areas under the ROC curve of telling samples from
held-out rows, .5 is best. TSTR: area under the curve on held-out rows after training on the samples; TRTR, after training on the
real rows, is the first row. to train, to held: median distance to the nearest record. closer: share nearer to a
training record, with the expected share in the row "one law". NNDR: median nearest over second nearest; copies: equal rows.
A star: the interval misses the value of the row "one law"."""


def breast_cancer(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    bunch = load_breast_cancer(as_frame=True)
    frame = bunch.data.assign(tumour=np.asarray(bunch.target_names)[bunch.target])
    train, held = train_test_split(frame, test_size=199, random_state=seed, stratify=frame["tumour"])
    return train.reset_index(drop=True), held.reset_index(drop=True), "tumour"


def adult(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    frame = load_data(Path(os.environ["PUSHFORWARD_DATA"]) / "adult" / "adult-train.csv.gz").values
    target = str(frame.columns[-1])
    rows = np.random.default_rng(seed).permutation(len(frame))
    return (
        frame.iloc[rows[:10_000]].reset_index(drop=True),
        frame.iloc[rows[10_000:15_000]].reset_index(drop=True),
        target,
    )


def real(train: pd.DataFrame, target: str, seed: int) -> pd.DataFrame:
    return train


def bootstrap(train: pd.DataFrame, target: str, seed: int) -> pd.DataFrame:
    return train.sample(len(train), replace=True, random_state=seed, ignore_index=True)


def shuffled(train: pd.DataFrame, target: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: column.to_numpy()[rng.permutation(len(train))] for name, column in train.items()})


def mixture(train: pd.DataFrame, target: str, seed: int) -> pd.DataFrame:
    """Four Gaussians with full covariances for each class, on the encoded columns."""
    parts = (mixture_of(rows, target, value, seed) for value, rows in train.groupby(target))
    return pd.concat(parts, ignore_index=True)[train.columns]


def mixture_of(rows: pd.DataFrame, target: str, value: str, seed: int) -> pd.DataFrame:
    from sklearn.mixture import GaussianMixture

    inputs = rows.drop(columns=target)
    schema = fit_schema(inputs)
    law = GaussianMixture(4, reg_covar=1e-3, random_state=seed).fit(schema.encode(inputs).numpy())
    drawn = schema.decode(torch.from_numpy(law.sample(len(rows))[0].astype(np.float32)))
    return pd.DataFrame(drawn).assign(**{target: value})


GENERATORS: dict[str, Callable[[pd.DataFrame, str, int], pd.DataFrame]] = {
    "training rows": real,
    "bootstrap of them": bootstrap,
    "shuffled columns": shuffled,
    "Gaussian mixtures": mixture,
}


def measurements(
    samples: pd.DataFrame, train: pd.DataFrame, held: pd.DataFrame, target: str
) -> list[metrics.Measurement]:
    """One for each of COLUMNS."""
    quality, gaps = metrics.table_quality(samples, held), metrics.missing_values(samples, held)
    found = metrics.detection_auc(samples, held)
    use = metrics.train_synthetic_test_real(samples, train, held, target)
    near = metrics.nearest_records(samples, train, held)
    scores = [quality.shapes.mean, quality.pairs.mean, quality.overall, gaps.patterns, found.logistic, found.forest]
    scores += [use.linear.synthetic, use.forest.synthetic]
    return [*scores, near.to_train, near.to_held, near.closer_to_train, near.ratio, near.copies]


def one_law(train: pd.DataFrame, held: pd.DataFrame, target: str) -> list[float]:
    """What fresh rows score, from the training rows themselves and from the held-out rows; for distances, of held-out rows."""
    told = [metrics.table_quality(train, held), metrics.missing_values(train, held)]
    floors = [floor_of(m) for m in (told[0].shapes.mean, told[0].pairs.mean, told[0].overall, told[1].patterns)]
    use = metrics.train_synthetic_test_real(train, train, held, target)
    near = metrics.nearest_records(train, train, held)
    distance = near.held_to_train.value
    ends = [use.linear.real.value, use.forest.real.value, distance, np.nan, near.expected]
    return [*floors, 0.5, 0.5, *ends, near.held_ratio.value, near.held_copies.value]


def floor_of(measurement: metrics.Measurement) -> float:
    return float(measurement.note.split("two sets of one law score ")[1].split()[0])


def lines(train: pd.DataFrame, held: pd.DataFrame, target: str, seed: int) -> Iterator[str]:
    expected = one_law(train, held, target)
    yield f"{'':<20}" + "".join(f"{name:>13}" for name in COLUMNS) + f"{'CPU s':>9}"
    yield f"{'one law':<20}" + "".join(f"{value:>12.3f} " for value in expected)
    for name, generator in GENERATORS.items():
        samples = generator(train, target, seed)
        began = time.process_time()
        found = measurements(samples, train, held, target)
        spent = time.process_time() - began
        cells = (
            f"{m.value:>12.3f}{'*' if not m.low <= e <= m.high else ' '}" for m, e in zip(found, expected, strict=True)
        )
        yield f"{name:<20}" + "".join(cells) + f"{spent:>9.1f}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seed", type=int, default=0)
    seed = arguments.parse_args().seed
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sets = {"breast cancer": breast_cancer} | ({"Adult": adult} if os.environ.get("PUSHFORWARD_DATA") else {})
    for name, read in sets.items():
        train, held, target = read(seed)
        print(f"{name}: {len(train)} training and {len(held)} held-out rows, target {target}")
        for line in lines(train, held, target, seed):
            print(line, flush=True)
        print()
    print(NOTES)


if __name__ == "__main__":
    main()
