"""A table with numbers, whole numbers, categories and missing values: DataFrame in, DataFrame out, conditional on a column."""

import numpy as np
import pandas as pd

import pushforward as pf


def customers(n: int = 1500) -> pd.DataFrame:
    """A made-up table in which income follows age and job, and some incomes are missing."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 75, n)
    job = rng.choice(["clerk", "nurse", "engineer"], n, p=[0.5, 0.3, 0.2])
    base = pd.Series(job).map({"clerk": 28.0, "nurse": 34.0, "engineer": 52.0}).to_numpy()
    income = (base * (1 + 0.012 * (age - 18)) * rng.lognormal(0, 0.15, n)).round(1)
    income[rng.random(n) < 0.05] = np.nan
    return pd.DataFrame({"age": age, "job": job, "income": income})


def main(budget: str = "15s") -> None:
    data = customers()
    print(pf.describe(data))
    model = pf.NeuroSQL(latent_dim=3).fit(data, condition="job", budget=budget)
    print(model.sample(5, seed=0))
    for job in ("clerk", "engineer"):
        made, real = model.sample(2000, seed=0, condition=job), data[data["job"] == job]
        print(f"{job}: mean income {made['income'].mean():.1f} generated, {real['income'].mean():.1f} real")


if __name__ == "__main__":
    main()
