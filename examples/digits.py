"""Pictures: fit, look at the held-out numbers, sample, interpolate, save, load."""

from pathlib import Path

import pushforward as pf
from pushforward.data import load_data
from pushforward.report import save_grid, write_report


def main(out: Path = Path("runs/example-digits"), budget: str = "20s") -> None:
    data = load_data("digits")
    model = pf.NeuroSQL(latent_dim=16).fit(data, budget=budget)
    print({name: round(value, 3) for name, value in model.validation_.items()})

    model.save(out, overwrite=True)
    write_report(out / "report.html", method=model, data=data)
    path = pf.load(out).interpolate(data.values[:4], data.values[4:8], steps=8)
    save_grid(out / "interpolations.png", model.schema_.as_images(model.schema_.encode(path)), columns=8)
    print(f"open {out}/report.html")


if __name__ == "__main__":
    main()
