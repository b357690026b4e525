"""Every promise of the contract, over every registered method, on tiny data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import yaml

import pushforward as pf
from pushforward.cli import flags_of, settings_of
from pushforward.method import ABILITIES, Method

# Arguments that make a method small enough for a test.
SMALL: dict[str, dict[str, Any]] = {
    "DDPM": {"steps": 5, "width": 8, "batch_size": 32},
    "FlowMatching": {"steps": 3, "width": 8, "batch_size": 32},
    "GAN": {"latent_dim": 3, "width": 8, "batch_size": 32},
    "GIS": {"patience": 3},
    "GaussianMixture": {"latent_dim": 2},
    "GraN": {"latent_dim": 3, "width": 8, "batch_size": 32},
    "NeuroSQL": {"latent_dim": 3, "width": 8, "batch_size": 32},
    "SNGAN": {"latent_dim": 3, "width": 8, "batch_size": 32, "critic_steps": 2},
    "SIG": {"knots": 20, "iterations": 3},
    "TTC": {"critics": 3, "width": 8, "activation": "silu"},
    "UnivariateWGAN": {},
    "VAE": {"latent_dim": 3, "width": 8, "batch_size": 32},
    "VDAE": {"latent_dim": 3, "neighbours": 16, "local": 8, "width": 8, "batch_size": 32},
    "WGAN": {"latent_dim": 3, "width": 8, "batch_size": 32, "critic_steps": 2},
    "WGANGP": {"latent_dim": 3, "width": 8, "batch_size": 32, "critic_steps": 2},
    "SQL": {"latent_dim": 2, "basis": 4},
}
METHODS = sorted(pf.registry())
QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}


def vectors(n: int = 120) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, 2)) @ rng.normal(size=(2, 5)) + 3.0).astype(np.float32)


def images(n: int = 60) -> np.ndarray:
    ramp = np.linspace(0, 1, n)[:, None, None] * np.ones((1, 9, 7))
    noise = np.random.default_rng(1).random((n, 9, 7))
    return (255 * (0.7 * ramp + 0.3 * noise)).astype(np.uint8)


def table(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    age = rng.integers(18, 80, n)
    gain = np.where(rng.random(n) < 0.8, 0.0, rng.gamma(2.0, 500.0, n))
    gain[::10] = np.nan
    return pd.DataFrame({"age": age, "gain": gain, "job": rng.choice(["clerk", "cook", "nurse"], n)})


DATA = {"vector": vectors, "image": images, "table": table}


def requires(name: str, kind: str) -> None:
    if kind not in pf.registry()[name].kinds:
        pytest.skip(f"{name} does not take {kind} data; it refuses them by name, which another test reads")


def small(name: str, **more: Any) -> Method:
    return pf.registry()[name](**{**SMALL.get(name, {}), **more})


def fitted(name: str, data: Any = None, steps: int = 30, **run: Any) -> Method:
    data = vectors() if data is None else data
    return small(name).fit(data, budget=f"{steps} steps", run=pf.Run(**QUIET, **run))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", sorted(DATA))
def test_samples_have_the_kind_of_the_data(name: str, kind: str) -> None:
    data = DATA[kind]()
    if kind not in pf.registry()[name].kinds:
        with pytest.raises(pf.NotSupported, match="methods that do"):
            fitted(name, data)
        return
    new = fitted(name, data).sample(7, seed=0)
    assert type(new) is type(data)
    assert len(new) == 7
    if kind == "table":
        assert list(new.columns) == list(data.columns)
        assert list(new.dtypes) == list(data.dtypes)
        assert new["age"].between(data["age"].min(), data["age"].max()).all()
        assert set(new["job"]) <= set(data["job"])
    else:
        assert new.dtype == data.dtype
        assert new.shape[1:] == data.shape[1:]


@pytest.mark.parametrize("name", METHODS)
def test_tensor_in_tensor_out(name: str) -> None:
    new = fitted(name, torch.from_numpy(vectors())).sample(3, seed=0)
    assert isinstance(new, torch.Tensor)
    assert new.shape == (3, 5)


@pytest.mark.parametrize("name", METHODS)
def test_equal_seeds_give_equal_samples(name: str) -> None:
    one, two, other = fitted(name, seed=1), fitted(name, seed=1), fitted(name, seed=2)
    assert np.array_equal(one.sample(20, seed=5), two.sample(20, seed=5))
    assert not np.array_equal(one.sample(20, seed=5), other.sample(20, seed=5))
    assert not np.array_equal(one.sample(20), one.sample(20))


@pytest.mark.parametrize("name", METHODS)
def test_the_global_generators_are_left_alone(name: str) -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    model = fitted(name)
    model.sample(5)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])


@pytest.mark.parametrize("name", METHODS)
def test_a_wall_budget_is_kept(name: str) -> None:
    began = time.monotonic()
    model = small(name).fit(vectors(), budget="2s", run=pf.Run(**QUIET, validation=0))
    spent = time.monotonic() - began
    assert 1.7 < model.run_["seconds"] < 2.2
    assert spent < 4.0  # reading and splitting are not counted, but they are not long either
    assert len(model.sample(4, seed=0)) == 4


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", sorted(DATA))
def test_a_saved_model_samples_the_same(name: str, kind: str, tmp_path: Path) -> None:
    requires(name, kind)
    model = fitted(name, DATA[kind]())
    model.save(tmp_path / "model")
    again = pf.load(tmp_path / "model")
    one, two = model.sample(100, seed=0), again.sample(100, seed=0)
    assert one.equals(two) if kind == "table" else np.array_equal(one, two)
    assert again.get_params() == model.get_params()
    names = {entry.name for entry in (tmp_path / "model").iterdir()}
    assert {"config.yaml", "model.safetensors", "README.md", "history.jsonl"} <= names
    assert ("samples.png" in names) == (kind == "image")
    assert not any(entry.endswith((".pkl", ".pickle", ".pt", ".tmp")) for entry in names)


@pytest.mark.parametrize("name", METHODS)
def test_no_training_row_is_in_the_saved_file(name: str, tmp_path: Path) -> None:
    if pf.registry()[name].stores_training_rows:
        pytest.skip("this method keeps training rows and says so")
    data = vectors()
    model = fitted(name, data, steps=60)
    model.save(tmp_path / "m")
    x = model.schema_.encode(data[model.train_rows_]).flatten(1)
    for key, tensor in safetensors.torch.load_file(tmp_path / "m" / "model.safetensors").items():
        if tensor.dim() < 1 or tensor.numel() < x.shape[1] or not tensor.is_floating_point():
            continue
        stored = tensor.float().flatten()[: tensor.numel() // x.shape[1] * x.shape[1]].reshape(-1, x.shape[1])
        gap = torch.cdist(stored, x).min()
        assert gap > 1e-3, f"{key} holds a training row"


@pytest.mark.parametrize("name", METHODS)
def test_parameters_survive_yaml_and_the_command_line(name: str) -> None:
    import tyro

    model = small(name)
    assert pf.registry()[name](**yaml.safe_load(yaml.safe_dump(model.get_params()))).get_params() == model.get_params()
    settings = tyro.cli(settings_of(type(model)), args=flags_of(model))
    plain = {key: value for key, value in model.get_params().items() if hasattr(settings, key)}
    assert {key: getattr(settings, key) for key in plain} == plain


@pytest.mark.parametrize("name", METHODS)
def test_sklearn_can_clone_it(name: str) -> None:
    from sklearn.base import clone

    model = small(name)
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(ValueError, match="has no parameter"):
        model.set_params(nonsense=1)


@pytest.mark.parametrize("name", METHODS)
def test_abilities_answer_or_refuse(name: str) -> None:
    data = vectors()
    model = fitted(name, data)
    calls = {
        "sample": lambda: model.sample(2),
        "log_prob": lambda: model.log_prob(data[:3]),
        "encode": lambda: model.encode(data[:3]),
        "decode": lambda: model.decode(np.zeros((3, *getattr(model.law_, "latent_shape", data.shape[1:])))),
        "reconstruct": lambda: model.reconstruct(data[:3]),
        "interpolate": lambda: model.interpolate(data[:2], data[2:4], steps=5),
        "outlier_score": lambda: model.outlier_score(data[:3]),
        "translate": lambda: model.translate(data[:3]),
        "distance": lambda: [model.distance()] * 2,
    }
    assert model.can() <= set(ABILITIES)
    for ability, call in calls.items():
        if ability in model.can() and not model.law_.refusal(ability):
            assert len(call()) in (2, 3, 10)
        else:
            with pytest.raises(pf.NotSupported, match="methods that can|no method can|this .* model cannot"):
                call()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", sorted(DATA))
def test_labels_condition_the_samples(name: str, kind: str, tmp_path: Path) -> None:
    requires(name, kind)
    data = DATA[kind]()
    condition: Any = "job" if kind == "table" else np.array(["a", "b"])[np.arange(len(data)) % 2]
    model = small(name).fit(data, condition=condition, budget="20 steps", run=pf.Run(**QUIET))
    wanted = "cook" if kind == "table" else "b"
    model.save(tmp_path / "m")
    for one in (model, pf.load(tmp_path / "m")):
        new = one.sample(6, seed=0, condition=wanted)
        assert len(new) == 6
        if kind == "table":
            assert list(new.columns) == list(data.columns)
            assert set(new["job"]) == {"cook"}
    with pytest.raises(pf.DataError, match="is not a class of this model"):
        model.sample(2, condition="zebra")


@pytest.mark.parametrize("name", METHODS)
def test_unfitted_models_say_so(name: str) -> None:
    with pytest.raises(pf.NotFitted, match="call fit"):
        small(name).sample(3)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((0, 3)), "row"),
        (np.ones((1, 3)), "row"),
        (np.arange(5.0), "reshape"),
        (np.where(np.eye(20) > 0, np.nan, 1.0), "NaN"),
        (np.full((20, 3), np.inf), "infinite|inf"),
    ],
    ids=["empty", "one row", "one axis", "NaN", "infinite"],
)
def test_bad_data_are_refused(name: str, data: np.ndarray, message: str) -> None:
    with pytest.raises(pf.DataError, match=message):
        fitted(name, data)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n", [0, -3, 2.5])
def test_a_number_of_samples_that_makes_no_sense(name: str, n: float) -> None:
    with pytest.raises(ValueError, match="positive whole number"):
        fitted(name, steps=3).sample(n)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_reports_held_out_numbers(name: str) -> None:
    data = vectors(400)
    model = fitted(name, data)
    assert set(model.train_rows_) & set(model.held_rows_) == set()
    assert len(model.train_rows_) + len(model.held_rows_) == len(data)
    assert {"w2_ratio", "recall", "nearest_ratio"} <= set(model.validation_)
    assert model.history_
    assert {"stage", "step", "seconds", "loss"} <= set(model.history_[0])


@pytest.mark.parametrize("name", METHODS)
def test_the_paper_is_named(name: str) -> None:
    entry = pf.cite(name)
    assert entry.startswith("@misc{")
    assert pf.registry()[name].paper.arxiv in entry
