"""Make the pictures of the README and the docs with the library itself: ``make docs``.

Digits come with scikit-learn; the pictures that need real data are left out, with a word, where PUSHFORWARD_DATA is not set.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import pushforward as pf
from pushforward.data import Data, load_data
from pushforward.report import grid_with_rows
from pushforward.report.grids import png_bytes

HERE = Path(__file__).parent / "pictures"


def panel(name: str, data: Data, model: pf.Method, columns: int) -> None:
    """Real pictures, samples, and an interpolation, under one another."""
    held = np.asarray(data.values)[model.held_rows_]
    path = model.interpolate(held[:1], held[1:2], steps=columns)
    shown = [held[2 : columns + 2], held[columns + 2 : 2 * columns + 2], *np.split(np.asarray(model.sample(2 * columns, seed=1)), 2), path]
    labels = ("real", "", "generated", "", "between two")
    rows = [model.schema_.as_images(model.schema_.encode(row)) for row in shown]
    (HERE / f"{name}.png").write_bytes(png_bytes(grid_with_rows(rows, labels)))
    print(f"{name}: {model.run_['seconds']} s, {model.validation_}")


def main() -> None:
    """Digits always, Fashion-MNIST where the data are."""
    HERE.mkdir(exist_ok=True)
    digits = load_data("digits")
    panel("digits", digits, pf.NeuroSQL().fit(digits), 12)
    folder = os.environ.get("PUSHFORWARD_DATA")
    if not folder:
        print("PUSHFORWARD_DATA is not set: the pictures of real data are left as they are")
        return
    fashion = load_data("fashion-mnist")
    some = Data(np.asarray(fashion.values)[:2000], None, "fashion-mnist, 2000 images")
    panel("fashion", some, pf.NeuroSQL().fit(some, budget="4000 steps"), 10)


if __name__ == "__main__":
    main()
