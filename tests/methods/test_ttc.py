"""Trust the Critics: the engine with exact potentials, learned critics, translation, density, more critics, bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import pushforward as pf
from oracles.discrete import discrete
from pushforward.cli import main
from pushforward.critic_law import CriticLaw
from pushforward.laws import Gaussian
from pushforward.maps import GradientStep
from pushforward.methods.ttc import TTC, step_sizes

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
SMALL: dict[str, Any] = {"critics": 3, "width": 16}


def shifted(n: int = 300, by: float = 3.0, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, 2))
    return (rows + [by, 0.0]).astype(np.float32)


def moved_model(budget: str = "300 steps", **more: Any) -> TTC:
    model = TTC(**{**SMALL, **more})
    return model.fit(shifted(), source=shifted(by=0.0, seed=1), budget=budget, run=pf.Run(**QUIET))


# ---------------------------------------------------------------------- the engine


def octagon() -> tuple[torch.Tensor, torch.Tensor]:
    angle = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, 4 * torch.stack([angle.cos(), angle.sin()], 1)


def after_steps(steps: int, theta: float, step: float | None) -> list[tuple[float, float, float]]:
    """W1, size of the step and share of the plan that is shorter than it, with exact potentials."""
    x, atoms = octagon()
    trace = []
    for _ in range(steps + 1):
        exact = discrete(x, atoms)
        size = float(step_sizes(torch.tensor([exact.w1]), torch.zeros(1), theta, step))
        trace.append((exact.w1, size, exact.share_nearer_than(size)))
        with torch.no_grad():
            x = GradientStep(exact.potential, size)(x)
    return trace


def test_a_constant_step_with_the_exact_potential_lowers_w1_by_its_length() -> None:
    trace = after_steps(8, theta=1.0, step=0.1)
    for (before, size, _), (now, _, _) in zip(trace, trace[1:], strict=False):
        assert before - now == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize("theta", [0.5, 0.9])
def test_the_distance_falls_at_least_as_fast_as_the_bound(theta: float) -> None:
    trace = after_steps(4, theta, None)
    for (before, _, near), (now, _, _) in zip(trace, trace[1:], strict=False):
        assert now / before <= 1 - theta * (1 - 2 * near) + 1e-6


def test_a_step_is_never_negative_and_none_where_the_estimate_is_noise() -> None:
    w1, error = torch.tensor([2.0, 0.1, -1.0]), torch.tensor([0.1, 0.2, 0.1])
    assert torch.equal(step_sizes(w1, error, 0.5), torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(step_sizes(w1, error, 0.5, 0.25), torch.tensor([0.25, 0.0, 0.0]))


# ---------------------------------------------------------------------- learned critics


def test_a_translation_is_found_with_its_distance(tmp_path: Path) -> None:
    model = moved_model(width=24, activation="silu")
    assert model.distance() == pytest.approx(3.0, abs=0.2)  # both coordinates have a standard deviation of 1
    new = shifted(500, by=0.0, seed=5)
    there = model.translate(new)
    assert there.mean(0) == pytest.approx([3.0, 0.0], abs=0.3)
    assert np.array_equal(model.reconstruct(new), there)
    assert model.translate(new[:1]) == pytest.approx(there[:1], abs=1e-4)
    records = [record for record in model.history_ if "w1" in record]
    assert records[0]["size"] == pytest.approx(0.9 * records[0]["w1"], rel=1e-4)
    assert {"error", "congestion", "critic"} <= set(records[0])

    model.save(tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text()
    assert f"{len(model.law_.steps)} critics are kept" in card
    again = pf.load(tmp_path / "m")
    assert np.array_equal(again.translate(new), there)
    assert again.distance() == model.distance()
    assert len(again.law_.w1) == len(again.law_.steps) == len(model.law_.steps)
    assert len(model.sample(20, seed=0)) == 20  # the source is at hand where the model was fitted, and never saved
    with pytest.raises(pf.NotSupported, match=r"cannot sample.*translate\(rows\)"):
        again.sample(20)
    again.save(tmp_path / "again")
    with pytest.raises(pf.NotSupported, match="cannot log prob.*Gaussian source"):
        again.log_prob(new)


def test_equal_laws_need_no_step() -> None:
    rows = shifted(400, by=0.0)
    model = TTC(critics=3, width=8).fit(rows, source=rows.copy(), budget="60 steps", run=pf.Run(**QUIET))
    assert model.distance() < 0.2
    assert np.abs(model.translate(rows) - rows).mean() < 0.2


def test_images_are_restored() -> None:
    rng = np.random.default_rng(0)
    clean = np.repeat(rng.uniform(60, 200, size=(200, 1, 1)), 6, 1).repeat(6, 2)
    noisy = clean + 25 * rng.normal(size=clean.shape)
    clean, noisy = (np.clip(x, 0, 255).astype(np.uint8) for x in (clean, noisy))
    model = TTC(critics=3, width=8, penalty=10.0, batch_size=64).fit(
        clean, source=noisy, budget="200 steps", run=pf.Run(**QUIET)
    )
    restored = model.reconstruct(noisy)
    assert restored.dtype == np.uint8
    truth = clean.astype(float)
    assert ((restored - truth) ** 2).mean() < 0.85 * ((noisy - truth) ** 2).mean()


@pytest.mark.parametrize("labels", [None, np.arange(300) % 2], ids=["plain", "classes"])
def test_several_steps_go_down_one_critic_while_it_sees_a_difference(labels: Any, tmp_path: Path) -> None:
    """One critic and short steps: theta 0.4 leaves 0.6 of the distance after one step, and 0.6^4 after four."""
    data, source = shifted(), shifted(by=0.0, seed=1)

    def fitted(steps: int) -> TTC:
        model = TTC(critics=1, width=24, theta=0.4, activation="silu", steps_per_critic=steps)
        return model.fit(data, source=source, condition=labels, budget="150 steps", run=pf.Run(**QUIET))

    def left(model: TTC) -> float:
        return 3.0 - float((model.translate(source, condition=labels) - source).mean(0)[0])

    one, four = fitted(1), fitted(4)
    assert left(one) == pytest.approx(1.8, abs=0.3)
    assert left(four) == pytest.approx(0.4, abs=0.3)
    assert len(four.law_.steps) == len(four.law_.w1) == 1
    assert four.law_.steps[0].size.shape == ((4,) if labels is None else (4, 2))
    assert four.distance() == one.distance()
    records = [record["w1"] for record in four.history_ if "w1" in record]
    assert len(records) == 4
    assert sorted(records, reverse=True) == records
    four.save(tmp_path / "m")
    again = pf.load(tmp_path / "m")
    assert np.array_equal(again.translate(source, condition=labels), four.translate(source, condition=labels))


def test_more_critics_are_added_to_a_saved_sequence(tmp_path: Path) -> None:
    data = shifted()
    model = TTC(**SMALL).fit(data, source=data - [3, 0], budget="120 steps", run=pf.Run(**QUIET))
    model.save(tmp_path / "m")
    longer = pf.load(tmp_path / "m").set_params(critics=5, warm_start=True)
    had = len(longer.law_.steps)
    longer.fit(data, source=data - [3, 0], budget="60 steps", run=pf.Run(**QUIET))
    assert had <= len(longer.law_.steps) <= 5
    assert len(longer.law_.w1) == len(longer.law_.steps)
    for old, new in zip(model.law_.steps, longer.law_.steps, strict=False):
        assert torch.equal(old.size, new.size)
        assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    with pytest.raises(ValueError, match="critics: the model has"):
        longer.set_params(critics=1).fit(data, source=data, run=pf.Run(**QUIET))
    with pytest.raises(ValueError, match="warm_start: the critics were trained on other data"):
        longer.set_params(critics=9).fit(data + 1, source=data, run=pf.Run(**QUIET))


# ---------------------------------------------------------------------- density


class Bowl(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x.square().sum(1) + 0.2 * x[:, 0]


def test_the_density_of_quadratic_critics_is_that_of_a_gaussian() -> None:
    once = [GradientStep(Bowl(), 0.5), GradientStep(Bowl(), 0.5)]
    twice = [GradientStep(Bowl(), torch.tensor([0.5, 0.5]))]
    for steps in (once, twice):
        check_density(CriticLaw(steps, Gaussian((3,)), (3,), smooth=True))


def check_density(law: CriticLaw) -> None:
    centre, spread = torch.tensor([-0.15, 0.0, 0.0]), 0.25  # x -> (x - 0.1 e_1 ...) / 2, twice
    x, log_prob, folded = law.sample_with_log_prob(500, generator=torch.Generator().manual_seed(0))
    truth = torch.distributions.Normal(centre, spread).log_prob(x).sum(1)
    torch.testing.assert_close(log_prob, truth, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(law.log_prob(x), truth, atol=1e-3, rtol=1e-4)
    assert not folded.any()


def test_a_learned_density_is_that_of_its_samples_and_folds_are_told() -> None:
    ring = np.random.default_rng(0).normal(size=(400, 2))
    ring = (ring / np.linalg.norm(ring, axis=1, keepdims=True)).astype(np.float32)
    model = TTC(critics=2, theta=0.5, penalty=10.0, width=16, activation="silu").fit(
        ring, budget="250 steps", run=pf.Run(**QUIET)
    )
    assert "folded" in model.history_[-1]
    x, log_prob, folded = model.law_.sample_with_log_prob(400, generator=torch.Generator().manual_seed(1))
    back = model.law_.log_prob(x)
    plain = ~folded
    assert (back[plain] - log_prob[plain]).abs().median() < 1e-3
    side = torch.linspace(-4, 4, 81)
    grid = torch.cartesian_prod(side, side)
    total = model.law_.log_prob(grid).exp().sum() * 0.01
    assert total.item() == pytest.approx(1, abs=0.08)


def test_critics_with_kinks_and_many_dimensions_have_no_density() -> None:
    data = shifted(60)
    model = TTC(**SMALL).fit(data, budget="10 steps", run=pf.Run(**QUIET))
    with pytest.raises(pf.NotSupported, match="activation='silu'"):
        model.log_prob(data)
    wide = np.random.default_rng(0).normal(size=(60, 40))
    model = TTC(**SMALL, activation="silu").fit(wide, budget="10 steps", run=pf.Run(**QUIET))
    with pytest.raises(pf.NotSupported, match="the most is 32"):
        model.log_prob(wide)


# ---------------------------------------------------------------------- bad input


class Plain(nn.Module):
    """The sum of a row's numbers; with weights, times one, but cut off from the row."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(())) if weights else 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * (x.detach() if isinstance(self.scale, nn.Parameter) else x).sum(1)


def test_critics_are_added_only_to_a_fit_of_the_same_kind() -> None:
    source = shifted(by=0.0, seed=1)
    model = moved_model("20 steps").set_params(critics=5, warm_start=True)
    before = model.law_
    for change, given, message in (
        ({}, {}, "warm_start: a source and labels"),
        ({}, {"source": source, "condition": np.arange(300) % 2}, "warm_start: a source and labels"),
        ({"width": 24}, {"source": source}, "warm_start: the critics of the model have other layers"),
    ):
        with pytest.raises(ValueError, match=message):
            model.set_params(**{"width": 16, **change}).fit(shifted(), **given, budget="9 steps", run=pf.Run(**QUIET))
        assert model.law_ is before


def test_few_rows_odd_pictures_and_classes() -> None:
    with pytest.raises(pf.DataError, match="source: at least 2 rows"):
        TTC(**SMALL).fit(shifted(), source=shifted(1), budget="2 steps", run=pf.Run(**QUIET))
    labels = np.arange(300) % 3
    model = TTC(**SMALL).fit(shifted(), source=shifted(40), condition=labels, budget="6 steps", run=pf.Run(**QUIET))
    assert model.translate(shifted(4), condition=[0, 1, 2, 0]).shape == (4, 2)
    assert model.translate(shifted(4)[:0], condition=[]).shape == (0, 2)
    assert moved_model("5 steps").translate(shifted(4)[:0]).shape == (0, 2)
    pictures = np.random.default_rng(0).integers(0, 255, (20, 5, 9)).astype(np.uint8)
    model = TTC(critics=2, width=4).fit(pictures, source=pictures[::-1].copy(), budget="3 steps", run=pf.Run(**QUIET))
    assert model.translate(pictures[:1]).shape == (1, 5, 9)


def test_a_spent_budget_trains_no_more_critics() -> None:
    model = TTC(critics=12, width=8).fit(shifted(), budget="0.001s", run=pf.Run(**QUIET))
    assert len([record for record in model.history_ if "w1" in record]) == 1
    assert len(model.sample(5)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"theta": 0.0}, "theta: must be in"),
        ({"theta": 1.5}, "theta: must be in"),
        ({"penalty": -1.0}, "penalty: must be positive"),
        ({"penalty": 0.0}, "penalty: must be positive"),
        ({"step": -0.1}, "step: must be positive"),
        ({"critics": 0}, "critics: must be positive"),
        ({"steps_per_critic": 0}, "steps_per_critic: must be positive"),
        ({"critic": nn.Linear(2, 1)}, r"critic: for 2 rows values of shape \[2\] are needed, got \[2, 1\]"),
        ({"critic": nn.Sequential(nn.Linear(5, 1), nn.Flatten(0))}, r"critic: it cannot take rows of shape \[2, 2\]"),
        ({"critic": nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1), nn.Flatten(0))}, "critic: batch normalisation"),
        ({"critic": Plain(weights=False)}, "critic: it has no weights"),
        ({"critic": Plain(weights=True)}, "critic: its values have no gradient"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TTC(**arguments).fit(shifted(), budget="2 steps", run=pf.Run(**QUIET))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((50, 3)) + np.arange(3) + np.arange(50)[:, None], "source: vector data of the target's shape"),
        (np.random.default_rng(0).integers(0, 255, (50, 4, 4)).astype(np.uint8), "source: vector data"),
        (pd.DataFrame({"a": range(50), "b": range(50)}), "source: vector data"),
        (np.full((50, 2), np.nan), "source: .*NaN"),
    ],
    ids=["width", "images", "table", "NaN"],
)
def test_a_source_of_another_kind_or_shape_is_refused(source: Any, message: str) -> None:
    with pytest.raises(pf.DataError, match=message):
        TTC(**SMALL).fit(shifted(), source=source, budget="2 steps", run=pf.Run(**QUIET))


def test_methods_without_a_source_say_which_have_one() -> None:
    with pytest.raises(pf.NotSupported, match=r"GAN cannot translate; methods that can:.*TTC"):
        pf.GAN().fit(shifted(), source=shifted())
    model = TTC(**SMALL).fit(shifted(), budget="5 steps", run=pf.Run(**QUIET))
    with pytest.raises(pf.NotSupported, match=r"cannot translate: it was fitted without a source"):
        model.translate(shifted())


class Trap(nn.Module):
    """Breaks when it has been asked that many times in training."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.net, self.after = nn.Linear(2, 1), after
        self.register_buffer("asked", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled():
            self.asked += 1
        return self.net(x)[:, 0] * (float("nan") if self.asked > self.after else 1.0)


def test_what_was_learned_before_a_divergence_stays_usable(tmp_path: Path) -> None:
    model = TTC(critics=4, critic=Trap(55), batch_size=32, learning_rate=0.05)
    with pytest.raises(pf.Diverged):
        model.fit(shifted(), source=shifted(by=0.0), budget="80 steps", run=pf.Run(out=tmp_path / "run", **QUIET))
    assert len(model.law_.steps) == 1
    assert model.translate(shifted(by=0.0))[:, 0].mean() > 0.3
    saved = pf.load(tmp_path / "run", critic=Trap(55))
    assert len(saved.law_.steps) == 1


# ---------------------------------------------------------------------- resume and the command line


class Stopped(Exception):
    pass


@pytest.mark.parametrize("tick", [3, 31, 45])
def test_kill_and_resume_is_bitwise(tick: int, tmp_path: Path) -> None:
    data, source = shifted(), shifted(by=0.0, seed=1)

    def model() -> TTC:
        return TTC(critics=3, width=8, batch_size=8, steps_per_critic=2)

    def stop(record: dict[str, Any]) -> None:
        if record["step"] >= tick:
            raise Stopped

    whole = model().fit(data, source=source, budget="60 steps", run=pf.Run(out=tmp_path / "a", **QUIET))
    cut = pf.Run(out=tmp_path / "b", checkpoint_every=0, callback=stop, **QUIET)
    with pytest.raises(Stopped):
        model().fit(data, source=source, budget="60 steps", run=cut)
    with pytest.raises(pf.ModelError, match="source in memory"):
        pf.resume(tmp_path / "b", data)
    with pytest.raises(pf.ModelError, match="data differ"):
        pf.resume(tmp_path / "b", data, source=source + 1)
    resumed = pf.resume(tmp_path / "b", data, source=source, progress=False)
    assert np.array_equal(resumed.translate(source), whole.translate(source))


def test_the_command_line_fits_and_translates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "target.npy", shifted())
    np.save(tmp_path / "source.npy", shifted(by=0.0, seed=1))
    files = [str(tmp_path / name) for name in ("target.npy", "source.npy", "run", "out.csv")]
    flags = ["--source", files[1], "--out", files[2], "--budget", "30 steps", "--critics", "2", "--width", "8"]
    assert main(["fit", "ttc", files[0], *flags]) == 0
    assert main(["translate", files[2], files[1], "--out", files[3]]) == 0
    assert len(pd.read_csv(files[3])) == 300
    assert main(["sample", files[2], "-n", "3", "--out", files[3]]) == 2
    assert "use translate(rows)" in capsys.readouterr().err
