"""WGAN, WGANGP, SNGAN, GraN (and GAN): Gaussians, classes, resume, bad input, what each refuses."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward import nets
from pushforward.augmentation import AdaptiveAugmentation
from pushforward.methods import GraN
from pushforward.time_scales import SCHEDULES
from pushforward.two_player import Game, _Watch, adam, own_values

QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}
SMALL: dict[str, Any] = {"latent_dim": 4, "width": 16, "learning_rate": 1e-3}
PLAYERS = ["GAN", "WGAN", "WGANGP", "SNGAN", "GraN"]
NEW = PLAYERS[1:]
QUICK: dict[str, dict[str, Any]] = {
    "GAN": {},
    "WGAN": {"critic_steps": 2, "clip": 0.1},
    "WGANGP": {
        "critic_steps": 2,
        "one_sided": True,
    },  # two-sided it is not steady where the laws nearly coincide: docs/gans.md
    "SNGAN": {"critic_steps": 2},
    "GraN": {"eps": 1e-4},
}


def make(name: str, **settings: Any) -> Any:
    return pf.registry()[name](**{**SMALL, **QUICK[name], **settings})


def fit(name: str, data: Any, steps: int, condition: Any = None, run: pf.Run | None = None, **settings: Any) -> Any:
    run = run if run is not None else pf.Run(validation=0, **QUIET)
    return make(name, **settings).fit(data, condition=condition, budget=f"{steps} steps", run=run)


def correlated(n: int = 2000) -> np.ndarray:
    """Rows of a Gaussian in the plane with correlation 0.8."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]]) + 5.0


def pictures(n: int = 60, shape: tuple[int, ...] = (9, 7)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, *shape), dtype=np.uint8)


# ---------------------------------------------------------------------- laws that are known


@pytest.mark.parametrize("name", NEW)
def test_a_correlated_gaussian_in_the_plane(name: str) -> None:
    x = correlated()
    new = fit(name, x, 500).sample(4000, seed=0)
    assert np.allclose(new.mean(0), x.mean(0), atol=0.25)
    assert np.allclose(np.cov(new.T), np.cov(x.T), atol=0.3)


@pytest.mark.parametrize("name", NEW)
def test_labels_choose_the_mode_and_have_their_frequencies(name: str) -> None:
    rng = np.random.default_rng(0)
    k = (rng.random(1000) < 0.25).astype(int)
    x = np.array([-4.0, 4.0])[k][:, None] + 0.5 * rng.normal(size=(1000, 1))
    model = fit(name, x, 400, condition=k)
    for label, centre in enumerate((-4.0, 4.0)):
        assert model.sample(500, seed=0, condition=label).mean() == pytest.approx(centre, abs=1.0)
    assert float(model.law_.frequencies[1]) == pytest.approx(k.mean(), abs=1e-6)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("shape", [(8, 8), (9, 7), (20, 17, 3)], ids=str)
def test_pictures_of_any_size_with_classes(name: str, shape: tuple[int, ...]) -> None:
    x = pictures(40, shape)
    model = fit(name, x, 2, condition=np.arange(40) % 3, width=8)
    assert model.sample(3, seed=0, condition=1).shape == (3, *shape)
    assert all(np.isfinite(list(record.values())[3:]).all() for record in model.history_)


@pytest.mark.parametrize("name", NEW)
def test_the_critic_is_kept_and_is_high_on_data(name: str) -> None:
    """A generator that hardly moves is told from the data."""
    x = correlated(600)
    model = fit(name, x, 60, learning_rate=1e-6, critic_learning_rate=2e-3)
    rows, made = model.schema_.encode(x), model.schema_.encode(model.sample(600, seed=0))
    assert model.critic_(rows).shape == (600,)
    assert model.critic_(rows).mean() > model.critic_(made).mean()
    assert not any(p.requires_grad for p in model.critic_.parameters())


# ---------------------------------------------------------------------- the contract of a run


class Stopped(Exception):
    pass


@pytest.mark.parametrize("name", PLAYERS)
def test_resume_is_bitwise(name: str, tmp_path: Path) -> None:
    """Stopped between two checkpoints, in the middle of a fit with labels and an even schedule of the rates."""
    x, labels = correlated(200), np.arange(200) % 2

    def stop(record: dict[str, Any]) -> None:
        if record["step"] >= 40:
            raise Stopped

    whole = fit(name, x, 70, labels, pf.Run(out=tmp_path / "whole", validation=0, **QUIET))
    with pytest.raises(Stopped):
        fit(name, x, 70, labels, pf.Run(out=tmp_path / "cut", validation=0, checkpoint_every=0, callback=stop, **QUIET))
    resumed = pf.resume(tmp_path / "cut", x, condition=labels, progress=False)
    assert np.array_equal(whole.sample(50, seed=0), resumed.sample(50, seed=0))
    plain = [{key: value for key, value in record.items() if key != "seconds"} for record in whole.history_]
    again = [{key: value for key, value in record.items() if key != "seconds"} for record in resumed.history_]
    assert [record.keys() for record in plain] == [record.keys() for record in again]
    for one, two in zip(plain, again, strict=True):
        assert [one[key] for key in one if key != "stage"] == pytest.approx([two[key] for key in one if key != "stage"])


@pytest.mark.parametrize("name", PLAYERS)
def test_what_was_fitted_before_stays_when_a_fit_diverges(name: str) -> None:
    model = fit(name, correlated(200), 5)
    before = model.sample(5, seed=0)
    model.set_params(learning_rate=1e37, **({"clip": 1e30} if name == "WGAN" else {}))
    with pytest.raises(pf.Diverged, match="not finite"):
        model.fit(correlated(200), budget="200 steps", run=pf.Run(validation=0, **QUIET))
    assert np.array_equal(model.sample(5, seed=0), before)


@pytest.mark.parametrize("name", PLAYERS)
def test_a_record_has_the_mean_of_each_players_own_losses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of the critic's steps for one of the generator, from the first step on."""
    told: dict[str, list[float]] = {"critic": [], "generator": []}
    of_critic, of_generator = Game.step_critic, Game.step_generator

    def step_critic(game: Game, loss: torch.Tensor, **metrics: torch.Tensor) -> None:
        told["critic"].append(float(loss.detach()))
        of_critic(game, loss, **metrics)

    def step_generator(game: Game, loss: torch.Tensor) -> None:
        told["generator"].append(float(loss.detach()))
        of_generator(game, loss)

    monkeypatch.setattr(Game, "step_critic", step_critic)
    monkeypatch.setattr(Game, "step_generator", step_generator)
    for steps in (1, 3):
        told["critic"], told["generator"] = [], []
        record = fit(name, correlated(60), steps).history_[-1]
        for player, losses in told.items():
            assert record[player] == pytest.approx(np.mean(losses), rel=1e-5)


def test_records_have_both_players_and_epochs_are_those_of_the_critic() -> None:
    model = make("WGANGP", critic_steps=3, batch_size=10).fit(
        correlated(90), budget="4 epochs", run=pf.Run(validation=0, **QUIET)
    )
    assert model.history_[-1]["step"] == 4 * 3  # an epoch is 9 batches, 3 a step
    assert {"critic", "generator", "penalty"} <= set(model.history_[-1])
    assert not any("gap" in key or "w1" in key for key in model.history_[-1])


# ---------------------------------------------------------------------- adaptive augmentation


@pytest.mark.parametrize("name", PLAYERS)
def test_augmented_games_resume_bitwise_and_record_the_probability(name: str, tmp_path: Path) -> None:
    x, labels = pictures(60, (8, 8)), np.arange(60) % 2

    def stop(record: dict[str, Any]) -> None:
        if record["step"] >= 40:
            raise Stopped

    more = {"width": 8, "augment": "ada", "batch_size": 16, "learning_rate": 1e-3}
    whole = fit(name, x, 45, labels, **more)
    assert 0 <= whole.history_[-1]["augment_p"] <= 0.8
    with pytest.raises(Stopped):
        fit(
            name,
            x,
            45,
            labels,
            pf.Run(out=tmp_path / "r", validation=0, checkpoint_every=0, callback=stop, **QUIET),
            **more,
        )
    resumed = pf.resume(tmp_path / "r", x, condition=labels, progress=False)
    assert np.array_equal(whole.sample(20, seed=0), resumed.sample(20, seed=0))


@pytest.mark.parametrize(("on_seen", "rises"), [(1.0, True), (-1.0, False)])
def test_an_overfitting_critic_is_shown_more_changes(on_seen: float, rises: bool) -> None:
    """A critic that values the rows it was trained on above those kept from it raises the probability, the other way it stays 0."""
    x = torch.zeros(100, 1, 8, 8)
    watch = _Watch(AdaptiveAugmentation((1, 8, 8), total_images=16 * 40), x, None, torch.arange(100), 16)
    seen = x[watch.seen[:16]]
    for _ in range(12):
        watch.look(
            lambda rows, _: torch.full((len(rows),), on_seen if rows is seen else 0.0), (seen, None), pf.Run(**QUIET)
        )
    assert float(watch.augmentation.p) == (0.8 if rises else 0.0)


def test_augmented_rows_are_kept_from_the_critic() -> None:
    x = torch.arange(100.0).reshape(100, 1, 1, 1)
    watch = _Watch(torch.nn.Identity(), x, None, torch.randperm(100), 16)  # type: ignore[arg-type]
    kept = {int(v) for v in watch._held.flatten()}
    assert len(kept) == 10
    assert kept | set(watch.seen.tolist()) == set(range(100))
    assert not kept & set(watch.seen.tolist())


def spied(name: str, monkeypatch: pytest.MonkeyPatch, *given: Any, **settings: Any) -> Game:
    """The game of a fit, as it is at its end."""
    games: list[Game] = []
    finished = Game.finished
    monkeypatch.setattr(Game, "finished", lambda game: games.append(game) or finished(game))
    fit(name, *given, **settings)
    return games[0]


@pytest.mark.parametrize("seed", range(6))
def test_a_class_of_one_picture_is_not_kept_from_the_critic(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the generator would never hear of the class, and be asked for it all the same."""
    labels = np.r_[np.arange(12), np.zeros(28, int)]
    run = pf.Run(validation=0, seed=seed, **QUIET)
    game = spied("GAN", monkeypatch, pictures(40, (4, 4)), 1, labels, run, augment="ada", width=8)
    assert game._labels is not None
    assert game._watch is not None
    assert game._labels.unique().tolist() == list(range(12))
    assert len(game._labels) == 40 - 8
    assert sorted([*game._labels.tolist(), *game._watch._labels.tolist()]) == sorted(labels)


def test_in_a_run_of_few_pictures_the_images_that_are_counted_are_those_of_its_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch is not larger than what the critic may see."""
    game = spied("GAN", monkeypatch, pictures(40, (4, 4)), 12, augment="ada", width=8, batch_size=64)
    assert game._watch is not None
    assert int(game._watch.augmentation.images) == game._watch.augmentation.total_images == 12 * 32


@pytest.mark.parametrize("name", PLAYERS)
def test_augmentation_is_for_enough_pictures(name: str) -> None:
    with pytest.raises(ValueError, match="augment: 'ada' changes pictures"):
        fit(name, correlated(50), 1, augment="ada")
    with pytest.raises(ValueError, match="needs 32, got 20"):
        fit(name, pictures(20), 1, augment="ada")
    with pytest.raises(ValueError, match="keeps 8 of 40 training pictures back, too many for 40 classes"):
        fit(name, pictures(40), 1, np.arange(40), augment="ada")


# ---------------------------------------------------------------------- two time scales


def test_power_laws_meet_the_conditions_of_the_theorem() -> None:
    """a(n) / b(n) falls to 0; sums of both diverge and sums of squares converge: exponents in (1/2, 1], that of a the larger."""
    scales = SCHEDULES["power"]
    for factor, exponent in ((scales.generator, 0.9), (scales.critic, 0.6)):
        assert factor(0.0, 0) == 1
        ratio = factor(0.0, 10**9) / factor(0.0, 10**8)
        assert np.log10(ratio) == pytest.approx(-exponent, abs=1e-4)
        assert 0.5 < exponent <= 1
    cosine, constant = SCHEDULES["cosine"], SCHEDULES["constant"]
    assert [round(cosine.critic(spent, 7), 6) for spent in (0.0, 0.5, 1.0)] == [1.0, 0.5, 0.0]
    assert constant.generator(0.7, 99) == constant.critic(0.7, 99) == 1


@pytest.mark.parametrize("name", PLAYERS)
def test_each_player_has_its_rate(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    finished = Game.finished

    def spy(game: Game) -> Any:
        seen.append([optimizer.param_groups[0]["lr"] for optimizer in game._optimizers])
        return finished(game)

    monkeypatch.setattr(Game, "finished", spy)
    fit(name, correlated(100), 2, learning_rate=1e-4, critic_learning_rate=4e-4, schedule="constant")
    fit(name, correlated(100), 2, learning_rate=3e-4, schedule="constant")
    assert seen == [[1e-4, 4e-4], [3e-4, 3e-4]]


def test_a_game_follows_the_schedule_of_each_player(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of 31 steps is made at the rates of 30 steps before it."""
    settings = {"learning_rate": 1e-3, "critic_learning_rate": 2e-3, "schedule": "power"}
    rates = [o.param_groups[0]["lr"] for o in spied("GAN", monkeypatch, correlated(60), 31, **settings)._optimizers]
    assert rates == pytest.approx([1e-3 * 1.03**-0.9, 2e-3 * 1.03**-0.6])


# ---------------------------------------------------------------------- what each does


def test_clipped_weights_stay_in_their_box() -> None:
    model = fit("WGAN", correlated(200), 10, clip=0.02)
    largest = max(float(p.abs().max()) for p in model.critic_.parameters())
    assert largest == pytest.approx(0.02)


def test_layers_of_the_spectral_critic_have_norm_one() -> None:
    model = fit("SNGAN", pictures(80), 60, width=8, critic_steps=1, learning_rate=1e-3)
    norms = [
        float(torch.linalg.matrix_norm(layer.weight.flatten(1), 2))
        for layer in model.critic_.modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    ]
    assert np.allclose(norms, 1, atol=0.1)


def test_the_normalised_critic_has_slopes_below_its_bound() -> None:
    model = fit("GraN", correlated(400), 40, bound=2.0)
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    step = 1e-4 * torch.randn(500, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        moved = (model.critic_(x + step) - model.critic_(x)).abs() / step.norm(dim=1)
    assert (moved <= 2.0 + 0.02).float().mean() > 0.95  # but for the few that step into another linear piece


@pytest.mark.parametrize("loss", ["hinge", "non_saturating", "wasserstein"])
def test_the_spectral_game_takes_every_loss(loss: Any) -> None:
    assert np.isfinite(fit("SNGAN", correlated(100), 3, loss=loss).sample(3, seed=0)).all()


@pytest.mark.parametrize(
    ("name", "settings"), [("WGAN", {}), ("WGANGP", {}), ("SNGAN", {"loss": "wasserstein"}), ("TTC", {})]
)
def test_no_wasserstein_loss_takes_a_gradient_normalised_critic(name: str, settings: dict[str, Any]) -> None:
    critic = nets.GradientNormalised(perceptron())
    with pytest.raises(ValueError, match="Wasserstein loss has no bound"):
        pf.registry()[name](critic=critic, **settings).fit(correlated(50), budget="1 steps", run=pf.Run(**QUIET))


def test_gran_refuses_what_its_bound_does_not_hold_for() -> None:
    with pytest.raises(ValueError, match="Wasserstein loss has no bound"):
        fit("GraN", correlated(50), 1, loss="wasserstein")
    smooth = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
    with pytest.raises(ValueError, match="SiLU is not piecewise linear"):
        GraN(critic=smooth).fit(correlated(50), budget="1 steps", run=pf.Run(**QUIET))
    with pytest.raises(ValueError, match="its gradient changes along a row"):
        GraN(critic=Hidden()).fit(correlated(50), budget="1 steps", run=pf.Run(**QUIET))


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        *[(name, {"critic_steps": 0}, "critic_steps") for name in NEW],
        *[(name, {"learning_rate": 0.0}, "learning_rate") for name in PLAYERS],
        *[(name, {"critic_learning_rate": -1e-3}, "critic_learning_rate") for name in PLAYERS],
        *[(name, {"schedule": "linear"}, "schedule") for name in PLAYERS],
        *[(name, {"ema_decay": 1.0}, "ema_decay") for name in PLAYERS],
        *[(name, {"critic": nn.Linear(2, 1)}, r"critic: for 2 rows values of shape \[2\]") for name in NEW],
        ("WGAN", {"clip": 0.0}, "clip"),
        ("WGANGP", {"penalty": -1.0}, "penalty"),
        ("SNGAN", {"loss": "least_squares"}, "loss"),
        ("SNGAN", {"critic": nn.Flatten(0)}, "critic"),
        ("GraN", {"bound": 0.0}, "bound"),
        ("GraN", {"eps": -0.1}, "eps"),
    ],
)
def test_arguments_out_of_range_are_named(name: str, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        fit(name, correlated(50), 1, **settings)


@pytest.mark.parametrize("name", NEW)
def test_a_critic_of_ones_own(name: str, tmp_path: Path) -> None:
    critic = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Flatten(0))
    before = critic[0].weight.clone()
    model = fit(name, correlated(100), 3, critic=critic)
    assert torch.equal(critic[0].weight, before)
    assert model.critic_(torch.zeros(4, 2)).shape == (4,)
    model.save(tmp_path / "m")
    assert np.array_equal(pf.load(tmp_path / "m").sample(5, seed=0), model.sample(5, seed=0))  # a sample needs no critic
    assert pf.load(tmp_path / "m", critic=critic).get_params()["critic"] is critic


class Hidden(nn.Module):
    """All of its layers are linear, but not what comes between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)))[:, 0]


class Pair(nn.Module):
    """Gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(x), x


def perceptron(*between: nn.Module, inputs: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 8), *between, nn.LeakyReLU(0.2), nn.Linear(8, 1), nn.Flatten(0))


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize(
    ("critic", "named"),
    [
        (perceptron(inputs=3), r"critic: it cannot take rows of shape \[2, 2\]"),
        (perceptron().double(), r"critic: it cannot take rows .* dtype"),
        (perceptron(nn.BatchNorm1d(8)), "critic: batch normalisation"),
        (perceptron(nn.Dropout(0.5)), "critic: it draws random numbers"),
        (nn.Flatten(0), "critic: it has no weights"),
        (Pair(), r"critic: for 2 rows values of shape \[2\] are needed, got \['tuple'\]"),
    ],
    ids=["columns", "float64", "batch norm", "dropout", "no weights", "tuple"],
)
def test_a_critic_that_cannot_be_trained_is_named(name: str, critic: nn.Module, named: str) -> None:
    before = torch.random.get_rng_state()
    with pytest.raises(ValueError, match=named):
        fit(name, correlated(50), 1, critic=critic)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", NEW)
def test_a_critic_for_labels_has_a_value_for_each_class(name: str) -> None:
    rows, labels = correlated(60), np.arange(60) % 3
    with pytest.raises(ValueError, match=r"shape \[2, 3\] are needed, got \[2\]; give a value for each class"):
        fit(name, rows, 1, labels, critic=perceptron())
    critic = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3))
    assert fit(name, rows, 3, labels, critic=critic).sample(2, seed=0, condition=2).shape == (2, 2)


@pytest.mark.parametrize("name", NEW)
def test_a_critic_at_rest_is_trained_like_any_other(name: str) -> None:
    """Such as that of an earlier fit, which is frozen and in evaluation mode (where power iterations would rest as well)."""
    critic = perceptron()
    resting = deepcopy(critic).requires_grad_(False).eval()
    samples = [fit(name, correlated(100), 20, critic=given).sample(20, seed=0) for given in (critic, resting)]
    assert np.array_equal(*samples)
    assert not any(p.requires_grad for p in resting.parameters())


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"critic: one value a row, shape \[4\].*\[4, 3\]"):
        own_values(nn.Linear(2, 3), torch.zeros(4, 2), None)
    assert own_values(nn.Linear(2, 3), torch.zeros(4, 2), torch.tensor([0, 1, 2, 0])).shape == (4,)
    assert adam((0.0, 0.9))(nn.Linear(2, 2), 0.1).defaults["betas"] == (0.0, 0.9)
